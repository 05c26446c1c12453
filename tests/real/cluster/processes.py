"""Programs of the control plane that run until they are stopped."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

_STOP_SECONDS = 15.0
_LOG_LINES = 30
_PAUSE = 0.1

T = TypeVar("T")


class Program:
    """A process, and the file that it logs to. `name` stands in messages."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise an `AssertionError` with the log's end if it no longer runs."""
        status = self._process.poll()
        assert status is None, f"{self.name} ended with status {status}:\n{self.log_end()}"

    def log_end(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])

    def wait_until(self, what: str, holds: Callable[[], T | None], seconds: float) -> T:
        """Return what `holds` returns once that is true; it is asked while the process runs.

        Raises an `AssertionError` with the log's end after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.check()
            if found := holds():
                return found
            assert time.monotonic() < deadline, (
                f"{self.name}: {what} has not come in {seconds:.0f} s:\n{self.log_end()}"
            )
            time.sleep(_PAUSE)

    def kill(self) -> None:
        """End it at once, as a machine that is lost does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, by force after 15 s."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
