"""What the gateway tells of its own stages, and is told of those that come before them."""

from __future__ import annotations

from typing import Protocol

from machine.status import Record, State, Status, Summary

_OURS = ("keys", "server", "gateway", "ready")


class Stages(Protocol):
    """Where the records of stages are kept."""

    def before(self) -> Summary | None:
        """Return the stage before the gateway's own that is not done; None where there is none."""
        ...

    def read(self, stage: str) -> Record | None:
        """Return the last record of `stage`; None where there is none."""
        ...

    def report(self, stage: str, state: State, message: str) -> bool:
        """Say that `stage` is in `state` now; returns whether it was said. Raises `OSError`."""
        ...


class MachineStages:
    """The stages of a machine's boot."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def before(self) -> Summary | None:
        """Return the stage that failed, or that the boot is at, where the gateway waits for it."""
        summary = self._status.summary()
        if summary.status == "failed":
            return summary
        return summary if summary.status == "starting" and summary.stage not in _OURS else None

    def read(self, stage: str) -> Record | None:
        """Return the last record of `stage`; None where there is none that can be read."""
        return self._status.read(stage)

    def report(self, stage: str, state: State, message: str) -> bool:
        """Say that `stage` is in `state` now; returns whether it was said. Raises `OSError`."""
        return self._status.report(stage, state, message)
