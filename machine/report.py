"""A unit that systemd gave up, told as its stage's failure: `python3 -m machine.report UNIT STAGE`.

Started by the unit's `OnFailure=`.
"""

from __future__ import annotations

import sys

from machine.commands import Command
from machine.paths import Paths
from machine.stage import PERMANENT
from machine.status import STAGES, State, Status
from machine.world import World, this_machine

_LINES = 20
_NEVER_RUN = "success"
_REASONS = {
    "oom-kill": "ran out of memory",
    "timeout": "did not start in time",
    "watchdog": "hung",
    "resources": "could not be started at all",
    "start-limit-hit": "ended again and again",
    "protocol": "said that it is up in a way that it is not",
    "signal": "was ended by a signal",
    "core-dump": "crashed",
    "exit-code": "ended with an error",
}
"""Values of a unit's property `Result` (systemd.exec(5), SERVICE_RESULT)."""


def report(unit: str, stage: str, world: World, status: Status) -> None:
    """Mark the stage as failed, with the end of the unit's journal.

    A stage that has said itself why it failed is left as it is. So is one whose unit was not even
    started because what it waits for failed (systemd runs `OnFailure=` then, too): that one tells.
    """
    known = status.read(stage)
    if known is not None and known.state is State.FAILED:
        return
    show = ("systemctl", "show", "--property=Result", "--value", unit)
    result = world.run(Command("asking how the unit ended", show)).output.strip()
    if result == _NEVER_RUN:
        return
    read = ("journalctl", f"--unit={unit}", f"--lines={_LINES}", "--output=cat", "--no-pager")
    journal = world.run(Command("reading the unit's journal", read)).output.splitlines()
    why = _REASONS.get(result, f"failed ({result or 'systemd does not say how'})")
    status.report(
        stage,
        State.FAILED,
        f"{unit} {why}, and is not started again\nnext: see the end of its journal",
        journal,
    )


def main(arguments: list[str]) -> int:
    """Report the unit and stage that are named."""
    if len(arguments) != 2 or arguments[1] not in STAGES:
        print("usage: python3 -m machine.report UNIT STAGE", file=sys.stderr)
        return PERMANENT
    unit, stage = arguments
    paths = Paths()
    status = Status(paths.run, paths.console, boot_id=paths.boot_id)
    report(unit, stage, this_machine(print), status)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
