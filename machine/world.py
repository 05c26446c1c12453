"""What stages act on, handed to them as one value."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

from machine.commands import Run, runner
from machine.google import Google
from machine.paths import Paths


@dataclass(frozen=True)
class World:
    """The machine as a stage sees it. `say` takes progress, one line each.

    `sync` returns once all that was written is on the disks.
    """

    paths: Paths
    run: Run
    google: Google
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    architecture: str = platform.machine()
    processors: int = os.cpu_count() or 1
    sync: Callable[[], None] = os.sync

    def memory_bytes(self) -> int:
        """Return all memory that the kernel has."""
        lines = self.paths.memory.read_text(encoding="ascii").splitlines()
        (total,) = (line for line in lines if line.startswith("MemTotal:"))
        return int(total.split()[1]) * 1024


def this_machine(say: Callable[[str], None]) -> World:
    """Return the machine that this process runs on."""
    return World(Paths(), runner(say), Google(), say)
