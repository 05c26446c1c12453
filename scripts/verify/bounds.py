"""Bounds in time: a deadline, and work that is given up when it is reached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from scripts.verify.outcome import TimedOut

Result = TypeVar("Result")

GRACE_SECONDS = 0.25
"""What work gets beyond its deadline, so that a socket's own timeout, which knows more, wins."""


class Deadline:
    """The end of the time that a piece of work has.

    `seconds` is what it was given at the start. `note` says how far the work has come, for the
    message when the time is up.
    """

    UNANSWERED = "no answer had come"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.note = self.UNANSWERED
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; 0 when the time is up."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise `TimedOut` when the time is up."""
        if self.remaining() == 0.0:
            raise TimedOut(self.seconds, self.note)


class Task(Generic[Result]):
    """Work in a thread of its own.

    A thread, because nothing else ends a name lookup that hangs or headers that drip in byte by
    byte. One that is given up goes on in the background until its own timeouts end it, and never
    keeps the program from ending.
    """

    def __init__(self, deadline: Deadline, work: Callable[[], Result]) -> None:
        self._deadline = deadline
        self._work = work
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # raised again by `result`, in the thread that waits
            self._error = error

    def ends_within(self, seconds: float) -> bool:
        """Wait for the work to end, for `seconds` at most; whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """Return what the work returned or raise what it raised.

        Raises `TimedOut` when the deadline comes first.
        """
        self._thread.join(self._deadline.remaining() + GRACE_SECONDS)
        if self._error is not None:
            raise self._error
        if self._result:
            return self._result[0]
        raise TimedOut(self._deadline.seconds, self._deadline.note)


def bounded(deadline: Deadline, work: Callable[[], Result]) -> Result:
    """Return `work()`, or raise `TimedOut` at the deadline."""
    return Task(deadline, work).result()
