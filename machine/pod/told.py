"""The records of a pod's stages, told in its log as a machine tells them on its console."""

from __future__ import annotations

import time
from collections.abc import Callable

from machine.status import Record, Reporter, console_line


class Told(Reporter):
    """Keeps the last record of each stage, and tells each one. `write` takes one line."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, monotonic)
        self._write = write
        self._records: dict[str, Record] = {}

    def read(self, stage: str) -> Record | None:
        """Return the last record of `stage`; None where there is none."""
        return self._records.get(stage)

    def _keep(self, record: Record) -> None:
        self._records[record.stage] = record
        self._write(console_line(record))


def to_log(line: str) -> None:
    """Write a line to the container's log at once."""
    print(line, flush=True)
