"""Tries that are repeated: how often, after which pauses, and what is said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from scripts.model_registry.bucket import RegistryFault, Report

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How often a fault that may pass is met in a row, and how long the pauses are.

    `lock_seconds` is how long another process is waited for.
    """

    retries: int = 6
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    lock_seconds: float = 3600.0
    sleep: Callable[[float], None] = time.sleep


class Attempts:
    """The tries at one job: counts the faults in a row, pauses between them, gives up."""

    def __init__(self, patience: Patience, report: Report) -> None:
        self._patience = patience
        self._report = report
        self._faults = 0

    def progressed(self) -> None:
        """Forget the faults: the last try brought something."""
        self._faults = 0

    def failed(self, fault: RegistryFault) -> None:
        """Pause before the next try; raises the fault where it is lasting, or there is none."""
        if fault.lasting:
            raise fault
        self._faults += 1
        what, _, rest = fault.message.partition("\n")
        if self._faults > self._patience.retries:
            raise RegistryFault(f"{what} (tried {self._faults} times)\n{rest}", lasting=False)
        pause = min(
            self._patience.first_pause_seconds * 2 ** (self._faults - 1),
            self._patience.longest_pause_seconds,
        )
        self._report(
            f"{what}; trying again in {pause:.0f} s ({self._faults} of {self._patience.retries})"
        )
        self._patience.sleep(pause)


def patiently(job: Callable[[], T], patience: Patience, report: Report) -> T:
    """Return what `job` does, which is tried again after faults that may pass."""
    attempts = Attempts(patience, report)
    while True:
        try:
            return job()
        except RegistryFault as fault:
            attempts.failed(fault)
