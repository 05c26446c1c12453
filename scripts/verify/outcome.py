"""How a check ends when it does not pass, and the exit status that says so."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of `python -m scripts.verify`."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    NEVER_READY = 3
    INTERRUPTED = 130


class Failure(Exception):
    """A check failed.

    `expected` and `seen` say what should have come and what came; `next_step` says what to look
    at. `never_ready` marks that the server died or that waiting for it ran out; `log_tail` holds
    the last lines of its log where they may tell why.
    """

    def __init__(
        self,
        expected: str,
        seen: str,
        next_step: str,
        *,
        never_ready: bool = False,
        log_tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected = expected
        self.seen = seen
        self.next_step = next_step
        self.never_ready = never_ready
        self.log_tail = log_tail


class Unreachable(Failure):
    """No HTTP answer came.

    `passing`: it may pass by itself while a machine or a server starts. `patience_seconds` bounds
    the wait for what seldom does; None leaves it to the whole wait's bound. `silent`: nothing came
    back at all, as when a firewall drops what is sent.
    """

    def __init__(
        self,
        seen: str,
        next_step: str,
        *,
        passing: bool,
        patience_seconds: float | None = None,
        silent: bool = False,
    ) -> None:
        super().__init__("an HTTP answer", seen, next_step)
        self.passing = passing
        self.patience_seconds = patience_seconds
        self.silent = silent


class TimedOut(Failure):
    """A check's time ran out."""

    def __init__(self, seconds: float, note: str) -> None:
        super().__init__(
            f"an end within {seconds:g} s",
            f"{note} when the time was up",
            "look whether the server is overloaded or hangs; a slow one needs more --check-seconds",
        )


class Skipped(Exception):
    """A check does not apply. The message says why."""
