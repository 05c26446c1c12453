"""`python -m scripts.versions`: every pinned thing, and what ours relies on of it, as Markdown.

`--check` prints what of `relied.toml` does not fit the pins and their records, each with what to do
next, and exits with 1 where there is something. It needs no network.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bootstrap.places import this_checkout
from scripts.versions.pinned import Pinned, VersionsError, pinned
from scripts.versions.relied import Relied, drift, read

_COMMIT_DIGITS = 12


def table(pins: Sequence[Pinned], things: Sequence[Relied]) -> str:
    """Return a Markdown table of all pins: the thing, its pin, version and file."""
    rows = ["| Thing | Pin | Version | In |", "|---|---|---|---|"]
    for one in things:
        for pin in pins:
            if one.covers(pin.name):
                rows.append(f"| {one.name} | `{pin.name}` | {_shown(pin.version)} | `{pin.file}` |")
    return "\n".join(rows)


def _shown(version: str) -> str:
    is_commit = len(version) == 40 and set(version) <= set("0123456789abcdef")
    return version[:_COMMIT_DIGITS] if is_commit else version


def main(arguments: Sequence[str], checkout: Path | None = None) -> int:
    """Print the table, or what has drifted; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.versions", description=__doc__)
    parser.add_argument("--check", action="store_true", help="print what has drifted instead")
    options = parser.parse_args(arguments)
    root = this_checkout().root if checkout is None else checkout
    try:
        pins, things = pinned(root), read(root)
        found = list(drift(root, pins, things)) if options.check else []
    except VersionsError as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        print(table(pins, things))
        return 0
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"all {len(pins)} pins are those that {len(things)} tables were written for")
    return 1 if found else 0


if __name__ == "__main__":
    # `| head` ends it quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
