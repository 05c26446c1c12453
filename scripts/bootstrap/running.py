"""Running Pulumi before the person's eyes, with its signals and its exit status."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

INTERRUPTED = 130


def run_live(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], *, stdout: bool = True
) -> int:
    """Run `command` with this process's streams and return its exit status.

    Without `stdout` what it writes there is dropped.

    130 where it was interrupted (Ctrl-C), 143 where it was told to end. The signal reaches it
    once: a second one would make Pulumi give up what it is doing half-way.
    """
    received: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        if not (number == signal.SIGINT and terminal_signals_us()):
            process.send_signal(number)

    process = subprocess.Popen(
        command, cwd=folder, env=dict(variables), stdout=None if stdout else subprocess.DEVNULL
    )
    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        return 128 + received[0]
    return status if status >= 0 else 128 - status


def terminal_signals_us() -> bool:
    """Whether Ctrl-C reaches this process and its children alike, from their terminal."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
