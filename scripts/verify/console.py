"""Where the boot of a machine can be read from outside of it: its console, and whether it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

FIRST_READ_BYTES = 1024 * 1024
"""What is read of a file's end at first: as much as Google keeps of a serial console."""


class ConsoleError(Exception):
    """The console can't be read. `passing`: asking again may do."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Machine:
    """What the cloud says of a machine.

    `is_stopped`: it stays so until somebody starts it. `started` is when it was last started.
    """

    name: str
    status: str
    is_stopped: bool
    started: datetime | None = None


@dataclass(frozen=True)
class Piece:
    """Text that came on a console since the last time; `afresh` where it begins anew."""

    text: str
    afresh: bool = False


class Console(Protocol):
    """A console that is read piece by piece. Both methods raise `ConsoleError`."""

    @property
    def command(self) -> str:
        """The shell command that shows all of it."""
        ...

    def machine(self) -> Machine | None:
        """Return what is known of the machine; None where nobody can be asked."""
        ...

    def read(self) -> Piece:
        """Return what came since."""
        ...


class FileConsole:
    """A console that is written to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: int | None = None

    @property
    def command(self) -> str:
        """The shell command that shows all of it."""
        return f"cat {self._path}"

    def machine(self) -> None:
        """Return None: a file says nothing of the machine."""

    def read(self) -> Piece:
        """Return what was appended since, of a long file at first its end."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                begin = max(0, size - FIRST_READ_BYTES)
                afresh = self._at is not None and size < self._at
                file.seek(begin if self._at is None or afresh else self._at)
                data = file.read(FIRST_READ_BYTES)
                self._at = file.tell()
        except OSError as error:
            raise ConsoleError(f"{self._path}: {error.strerror}", passing=True) from None
        return Piece(data.decode(errors="replace"), afresh)
