"""A stack's program run on the recording engine: no plugin, no cloud, no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from emulator.mocks import first_up
from emulator.mocks.recording import Run, run
from scripts.made_up import made_up
from scripts.stack_file import file_of, raw_values
from stacks import choose


@dataclass(frozen=True)
class Mocked:
    """What the first `up` of a stack would register and return.

    `made_up` are the keys that must be set and were not, with what stood in for each, and
    `warnings` what the configuration says that nobody can judge before an `up`.
    """

    program: str
    run: Run
    made_up: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def _no_record(_home: Path) -> str:
    return "no-record"


def mocked(stack: str, given: Mapping[str, str] | None = None) -> Mocked:
    """Run the program of `stack` as at its first `up`, with its own file's values.

    `given` goes over these, bare key -> raw value. Raises `ConfigurationError`.
    """
    short = stack.rsplit("/", 1)[-1]
    return mocked_with({**raw_values(file_of(stack)), **(given or {})}, short)


def mocked_with(raw: Mapping[str, str], short: str) -> Mocked:
    """Run the program of the stack named `short` with `raw` alone: no file of a person's is read.

    Raises `ConfigurationError`.
    """
    program = choose(raw, short)
    added = made_up(program, raw)
    settings = program.settings({**raw, **added})
    # It looks at this machine for a server, and is another text each time where none is.
    with first_up.no_cloud(), patch("stacks.local.replacement_trigger", _no_record):
        found = run(lambda: program.deploy(settings), first_up.stdout, short)
    return Mocked(program.name, found, added, tuple(settings.warnings()))
