"""Records that were written by who may not write to the console, told there: for root.

`python3 -m machine.console` runs when one of them changes. The key checker, which reports the
stages of `TOLD_FOR`, has no rights but its own.
"""

from __future__ import annotations

import json
import sys
from typing import cast

from machine.files import write_whole
from machine.paths import Paths
from machine.status import Status, tell

TOLD_FOR = ("server", "gateway", "ready")


def tell_news(paths: Paths, status: Status) -> None:
    """Tell the console each record that it has not been told yet."""
    told = paths.run / "console.json"
    try:
        known = cast("dict[str, str]", json.loads(told.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        known = {}
    now = dict(known)
    for stage in TOLD_FOR:
        record = status.read(stage)
        if record is not None and known.get(stage) != record.as_json():
            tell(paths.console, record)
            now[stage] = record.as_json()
    write_whole(told, json.dumps(now) + "\n")


def main() -> int:
    """Tell what is new."""
    paths = Paths()
    tell_news(paths, Status(paths.run, paths.console, boot_id=paths.boot_id))
    return 0


if __name__ == "__main__":
    sys.exit(main())
