"""The server's process and its log, where both are on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.verify.outcome import Failure
from scripts.verify.shape import excerpt

LOG_LINES = 20
_LOG_BYTES = 64 * 1024
_LINE_CHARACTERS = 300


def log_tail(path: Path | None, scrub: Callable[[str], str]) -> tuple[str, ...]:
    """Return the last `LOG_LINES` lines of the log at `path` that say something, scrubbed."""
    if path is None:
        return ()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read(_LOG_BYTES).decode(errors="replace")
    except OSError as error:
        return (f"(the log {path} can't be read: {error.strerror})",)
    lines = [line for line in scrub(text).splitlines() if line.strip()]
    return tuple(excerpt(line, _LINE_CHARACTERS) for line in lines[-LOG_LINES:])


@dataclass(frozen=True)
class LocalServer:
    """What is known of a server on this machine: a record of its process, a log, both or neither.

    `record` is a file as `scripts.serve.identity` reads it.
    """

    record: Path | None
    log: Path | None
    scrub: Callable[[str], str]

    def tail(self) -> tuple[str, ...]:
        """The end of its log."""
        return log_tail(self.log, self.scrub)

    def death(self) -> Failure | None:
        """Return the failure that the process's death means; None while it lives or is unknown."""
        if self.record is None:
            return None
        # psutil takes a moment to load, and only a local server needs it
        from scripts.serve.identity import is_alive, read_record

        record = read_record(self.record)
        if record is not None and is_alive(record):
            return None
        seen = (
            f"no server is recorded in {self.record}"
            if record is None
            else f"the server's process ({record.pid}) has died"
        )
        tail = self.tail()
        return Failure(
            "the server's process to live",
            seen,
            f"look at the end of its log, {self.log}"
            if tail
            else "start the server, and look at its log",
            never_ready=True,
            log_tail=tail,
        )
