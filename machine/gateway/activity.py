"""When the endpoint was last used: what the idle watchdog goes by."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from machine.files import write_whole


class Activity:
    """The requests with a right key, told in a file at each one's beginning and end.

    `ready_since` and `last_request` (Unix seconds) outlive a restart of this process.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._active = 0
        self._ready_since, self._last_request = _earlier(path)
        self._write()

    def is_ready(self) -> None:
        """Note when the endpoint was first ready; later calls change nothing."""
        if self._ready_since is None:
            self._ready_since = self._clock()
            self._write_or_tell()

    @property
    def active(self) -> int:
        """How many requests are being answered."""
        return self._active

    @contextmanager
    def request(self) -> Generator[None]:
        """Count one request for as long as the block runs."""
        self._active += 1
        self._note()
        try:
            yield
        finally:
            self._active -= 1
            self._note()

    def _note(self) -> None:
        self._last_request = self._clock()
        self._write_or_tell()

    def _write_or_tell(self) -> None:
        try:
            self._write()
        except OSError as error:
            # A request is worth more than its note; who reads the journal is told.
            print(f"the file of the activity can't be written: {error}", file=sys.stderr)

    def _write(self) -> None:
        content = {
            "ready_since": self._ready_since,
            "last_request": self._last_request,
            "active": self._active,
        }
        write_whole(self._path, json.dumps(content) + "\n")


def _earlier(path: Path) -> tuple[float | None, float | None]:
    try:
        content: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None, None
    entries = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    return _time(entries.get("ready_since")), _time(entries.get("last_request"))


def _time(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
