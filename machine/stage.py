"""One stage of the boot: `python3 -m machine.stage NAME`.

Exit status 0: done. 75 (EX_TEMPFAIL): systemd starts it again after a pause. 78 (EX_CONFIG): it is
not started again, since the same would come of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from machine.config import Config
from machine.errors import Permanent, StageError, described
from machine.paths import Paths
from machine.status import State, Status
from machine.world import World, this_machine

DONE, TEMPORARY, PERMANENT = 0, 75, 78

MOST_UNFORESEEN = 3
"""Tries in a row that may end in an error that no stage knows. What a machine can meet for a while
(networks, permissions, locks, full tables) stages do know, and those tries have no bound. An error
beyond is most likely ours, so that more tries would only hide it: the deployment should fail."""

StageFunction = Callable[[Config, World], str]


def stage_named(name: str) -> StageFunction | None:
    """Return the stage called `name`, imported alone: only some have what `model` imports."""
    match name:
        case "packages":
            from machine.stages import packages as stage
        case "disk":
            from machine.stages import disk as stage
        case "tools":
            from machine.stages import tools as stage
        case "caddy":
            from machine.stages import caddy as stage
        case "engine":
            from machine.stages import engine as stage
        case "gpu":
            from machine.stages import gpu as stage
        case "keys":
            from machine.stages import keys as stage
        case "model":
            from machine.stages import model as stage
        case _:
            return None
    return stage.run


def run(name: str, stage: StageFunction, world: World, status: Status) -> int:
    """Run the stage, report how it goes, and return the exit status."""
    earlier = status.read(name)
    status.report(name, State.RUNNING, "has begun")
    try:
        message = stage(Config.load(world.paths.config), world)
    except StageError as error:
        state = State.FAILED if isinstance(error, Permanent) else State.RETRYING
        status.report(name, state, error.message, error.log)
        return _ended(state, (*error.log, error.message))
    except Exception as error:
        count = 1 + (earlier.unforeseen if earlier is not None else 0)
        state = State.FAILED if count >= MOST_UNFORESEEN else State.RETRYING
        message = f"an error that no stage expects: {type(error).__name__} (try {count})"
        log = described(error)
        status.report(name, state, message, log, unforeseen=count)
        return _ended(state, (*log, message))
    status.report(name, State.DONE, message)
    print(message)
    return DONE


def _ended(state: State, lines: tuple[str, ...]) -> int:
    print("\n".join(lines), file=sys.stderr)
    return PERMANENT if state is State.FAILED else TEMPORARY


def main(arguments: list[str]) -> int:
    """Run the stage that is named."""
    stage = stage_named(arguments[0]) if len(arguments) == 1 else None
    if stage is None:
        print("usage: python3 -m machine.stage NAME", file=sys.stderr)
        return PERMANENT
    os.umask(0o022)
    paths = Paths()
    status = Status(paths.run, paths.console, boot_id=paths.boot_id)

    def say(line: str) -> None:
        if status.report(arguments[0], State.RUNNING, line):
            print(line, flush=True)

    return run(arguments[0], stage, this_machine(say), status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
