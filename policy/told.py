"""What a stack's own configuration says to the rules: `python -m policy.told STACK` prints it.

It runs in the stacks' environment, before the engine starts the pack: the pack itself never reads
a stack's configuration, where secrets stand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from components.settings import ConfigurationError, Settings
from policy.rules import deletion, labels, spending, spot, told
from scripts.made_up import made_up
from scripts.stack_file import file_of, raw_values
from stacks import choose


def said(settings: Settings) -> dict[str, dict[str, object]]:
    """Return rule -> its options, for those rules that the program's keys say something to."""
    keys = type(settings).model_fields
    found: dict[str, dict[str, object]] = {told.RULE.name: {told.TOLD: True}}
    for rule, key in ((spot.RULE, "spot"), (deletion.RULE, "keep_data"), (labels.RULE, "labels")):
        if key in keys:
            found[rule.name] = {key: getattr(settings, key)}
    if spending.SCHEDULE in keys:
        found[spending.RULE.name] = {spending.SCHEDULE: getattr(settings, spending.SCHEDULE) or ""}
    return found


def of_stack(stack: str) -> dict[str, dict[str, object]]:
    """Return what `stack` says by its own file. Raises `ConfigurationError`."""
    return of_values(raw_values(file_of(stack)), stack.rsplit("/", 1)[-1])


def of_values(raw: Mapping[str, str], short: str) -> dict[str, dict[str, object]]:
    """Return what the stack named `short` says with `raw` alone. Raises `ConfigurationError`."""
    program = choose(raw, short)
    return said(program.settings({**raw, **made_up(program, raw)}))


def main(arguments: Sequence[str]) -> int:
    """Print what one stack says; its exit status is 1 where its configuration can't be read."""
    if len(arguments) != 1:
        print("usage: python -m policy.told STACK", file=sys.stderr)
        return 2
    try:
        print(json.dumps(of_stack(arguments[0])))
    except ConfigurationError as error:
        # The program refuses it too, with every problem.
        print(str(error).splitlines()[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
