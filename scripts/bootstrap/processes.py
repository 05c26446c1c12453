"""Starting other programs: long ones with progress, and one at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.bootstrap.console import BootstrapError, note

SHOWN_EVERY_SECONDS = 10.0
LOCK_SECONDS = 1800.0
_TAIL_LINES = 15


@contextmanager
def one_at_a_time(lock: Path, what: str) -> Generator[int]:
    """Hold the file `lock` while doing `what`; yields its descriptor.

    Programs that are given the descriptor keep the lock when this process dies before them.
    Raises `BootstrapError` after 30 min in which another process held it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a", encoding="utf-8") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BootstrapError(
                        f"another process has been {what} for {LOCK_SECONDS / 60:.0f} min",
                        f"end it (it holds {lock}) and try again",
                    ) from None
                if not waited:
                    note(f"Another process is {what}: waiting for it.")
                    waited = True
                time.sleep(0.2)
        yield file.fileno()


def run_with_progress(
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    lock: int | None = None,
    next_step: str,
) -> None:
    """Run `command`, its output in the file `log`, and say every 10 s how far it is.

    Raises `BootstrapError` with the log's end where it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    note(f"{what} …")
    began = time.monotonic()
    shown = began
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            pass_fds=() if lock is None else (lock,),
        )
        try:
            while (status := _wait(process, 0.2)) is None:
                if time.monotonic() - shown >= SHOWN_EVERY_SECONDS:
                    shown = time.monotonic()
                    last = next(iter(tail(log, 1)), "")
                    note(f"  {shown - began:.0f} s{': ' + last[:90] if last else ''}")
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status != 0:
        end = "\n".join(f"  | {line}" for line in tail(log, _TAIL_LINES))
        raise BootstrapError(
            f"{what}: {os.fspath(command[0])} ended with status {status}"
            f"{f', its last lines:{os.linesep}{end}' if end else ''}",
            f"{next_step} (the whole log: {log})",
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def tail(log: Path, lines: int) -> list[str]:
    """Return the last non-empty `lines` of the file `log`."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        text = file.read().decode("utf-8", "replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
