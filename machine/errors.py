"""How a stage ends that did not succeed, and what may be said of an error."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

_FRAMES = 8


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


def described(error: BaseException) -> tuple[str, ...]:
    """Return where an error came from.

    Of its own text only what the system says of a file or a connection: other errors quote the
    values that they met, which may be a secret, or what a client sent.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    lines = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        return (*lines, f"{type(error).__name__}: {error.strerror}{named}")
    return (*lines, type(error).__name__)
