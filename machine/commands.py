"""Other programs, started with a bound of time, and what they said."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from machine.errors import StageError, Temporary

_SAY_EVERY_SECONDS = 10.0
_MOST_OUTPUT_BYTES = 1024 * 1024
_NOT_FOUND = 127


@dataclass(frozen=True)
class Command:
    """One program to run.

    `what` is what it does, in words, for progress and errors. `seconds` bounds it. `environment`
    joins this process's own; `user` is whom it runs as, with that user's group alone. `progress`
    says in words how far it is, from what it has written so far.
    """

    what: str
    words: tuple[str, ...]
    seconds: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    folder: Path | None = None
    user: str | None = None
    progress: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Result:
    """How a program ended: exit status (127: it is not there), and the ends of its two outputs."""

    code: int
    output: str = ""
    errors: str = ""

    @property
    def log(self) -> tuple[str, ...]:
        """The lines that it wrote, errors last."""
        return tuple(line for line in (self.output + "\n" + self.errors).splitlines() if line)


Run = Callable[[Command], Result]


def runner(say: Callable[[str], None]) -> Run:
    """Return what runs commands, telling `say` every 10 s how long one has taken.

    It raises `Temporary` for a command that takes longer than its bound, whose whole process group
    is then killed.
    """

    def run(command: Command) -> Result:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    command.words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env={**os.environ, **command.environment},
                    cwd=command.folder,
                    user=command.user,
                    group=command.user and pwd.getpwnam(command.user).pw_gid,
                    extra_groups=[] if command.user else None,
                    start_new_session=True,
                )
            except FileNotFoundError:
                return Result(_NOT_FOUND, errors=f"{command.words[0]}: not found")
            try:
                in_time = _wait(process, command, say, lambda: _end_of(output) + _end_of(errors))
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            result = Result(process.returncode, _end_of(output), _end_of(errors))
        if not in_time:
            raise Temporary(f"{command.what} took more than {command.seconds:.0f} s", result.log)
        return result

    return run


def must(run: Run, command: Command, error: type[StageError] = Temporary) -> Result:
    """Run a command that has to succeed; raises `error` with the end of what it wrote."""
    result = run(command)
    if result.code != 0:
        raise error(
            f"{command.what} failed: {command.words[0]} ended with {result.code}", result.log
        )
    return result


def _wait(
    process: subprocess.Popen[bytes],
    command: Command,
    say: Callable[[str], None],
    written: Callable[[], str],
) -> bool:
    started = time.monotonic()
    while (passed := time.monotonic() - started) < command.seconds:
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(_SAY_EVERY_SECONDS, command.seconds - passed))
            return True
        far = command.progress(written()) if command.progress else ""
        so_far = f"{command.what}, {time.monotonic() - started:.0f} s so far"
        say(f"{so_far}: {far}" if far else so_far)
    return False


def _end_of(file: IO[bytes]) -> str:
    # The program writes at the offset that this process has too: reading must not move it.
    descriptor = file.fileno()
    size = os.fstat(descriptor).st_size
    read = os.pread(descriptor, _MOST_OUTPUT_BYTES, max(0, size - _MOST_OUTPUT_BYTES))
    return read.decode(errors="replace")
