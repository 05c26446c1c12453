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

    `ready_since` and `last_request` (Unix seconds) outlive a restart of this process. With `wakes`,
    for servers that are parked and woken while this process runs on, `ready_since` counts from the
    last time that they came up, and is null until they do.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, *, wakes: bool = False
    ) -> None:
        self._path = path
        self._clock = clock
        self._wakes = wakes
        self._active = 0
        self._began = clock()
        self._ready_since, self._last_request = _earlier(path)
        self._write()

    def is_ready(self) -> None:
        """Note that the endpoint is ready now; further calls change nothing."""
        if self._ready_since is None:
            self._ready_since = self._clock()
            self._write_or_tell()

    def is_not_ready(self) -> None:
        """Note that the endpoint is not ready now, which counts only where it wakes."""
        if self._wakes and self._ready_since is not None:
            self._ready_since = None
            self._write_or_tell()

    def told(self) -> dict[str, float | None]:
        """Return what is known, since when this process looks, and the time by the same clock."""
        return {**self._content(), "began": self._began, "now": self._clock()}

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
        write_whole(self._path, json.dumps(self._content()) + "\n")

    def _content(self) -> dict[str, float | None]:
        return {
            "ready_since": self._ready_since,
            "last_request": self._last_request,
            "active": self._active,
        }


def _earlier(path: Path) -> tuple[float | None, float | None]:
    try:
        content: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None, None
    entries = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    return _time(entries.get("ready_since")), _time(entries.get("last_request"))


def _time(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
