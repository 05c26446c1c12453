"""How a stage of a pod is run, told, and ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

from machine.errors import Permanent, StageError, described
from machine.pod.told import Told
from machine.status import State

DONE, TEMPORARY, PERMANENT = 0, 75, 78
"""Exit statuses, as stages of a machine have them. Kubernetes starts a container again after any
but 0, each time after a longer pause: the record tells whether that can help."""


class Stopped(BaseException):
    """The pod is to end now. No `Exception`, so that nothing takes it for a fault."""


def stop_on_sigterm() -> None:
    """Have SIGTERM and SIGINT raise `Stopped`: a container's first process ignores them."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def run_stage(name: str, stage: Callable[[Callable[[str], None]], str], told: Told) -> int:
    """Run the stage, which is given what takes its progress; tell how it goes, and return a status.

    Whatever it raises ends here: no text of an error that no stage knows is shown.
    """

    def say(line: str) -> None:
        told.report(name, State.RUNNING, line)

    say("has begun")
    try:
        message = stage(say)
    except StageError as error:
        lasting = isinstance(error, Permanent)
        state = State.FAILED if lasting else State.RETRYING
        told.report(name, state, error.message, error.log)
        return PERMANENT if lasting else TEMPORARY
    except Stopped:
        told.report(
            name, State.RETRYING, "was told to end; the next try goes on from what is there"
        )
        return TEMPORARY
    except Exception as error:
        what = f"an error that no stage expects: {type(error).__name__}"
        told.report(name, State.RETRYING, what, described(error))
        return TEMPORARY
    told.report(name, State.DONE, message)
    return DONE


def fail(name: str, message: str, told: Told) -> int:
    """Tell that the stage can't be run at all, and return the exit status."""
    told.report(name, State.FAILED, message)
    print(message, file=sys.stderr)
    return PERMANENT
