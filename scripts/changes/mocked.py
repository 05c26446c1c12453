"""A stack's program run on the recording engine: no plugin, no cloud, no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emulator.mocks import first_up
from emulator.mocks.recording import Run, run
from scripts.made_up import made_up
from scripts.stack_file import file_of, raw_values
from stacks import choose


@dataclass(frozen=True)
class Mocked:
    """What the first `up` of a stack would register and return.

    `made_up` are the keys that must be set and were not, with what stood in for each.
    """

    program: str
    run: Run
    made_up: Mapping[str, str]


def mocked(stack: str, given: Mapping[str, str] | None = None) -> Mocked:
    """Run the program of `stack` as at its first `up`, with its own file's values.

    `given` goes over these, bare key -> raw value. Raises `ConfigurationError`.
    """
    short = stack.rsplit("/", 1)[-1]
    raw = {**raw_values(file_of(stack)), **(given or {})}
    program = choose(raw, short)
    added = made_up(program, raw)
    settings = program.settings({**raw, **added})
    with first_up.no_cloud():
        found = run(lambda: program.deploy(settings), first_up.stdout, short)
    return Mocked(program.name, found, added)
