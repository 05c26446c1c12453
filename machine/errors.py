"""How a stage ends that did not succeed."""

from __future__ import annotations

from collections.abc import Sequence


class StageError(Exception):
    """Why a stage stopped: one message with the next step, and the end of a log where there is one.

    Neither holds a secret: both are shown on the console.
    """

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.log = tuple(log)


class Temporary(StageError):
    """What another try may not meet: a network, a server, a permission that has yet to spread."""


class Permanent(StageError):
    """What stays as it is until a person changes something."""
