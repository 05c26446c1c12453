"""What a program registers and returns at its first `up`, without a cloud and without a stack."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping

from emulator.mocks import first_up
from emulator.mocks.recording import Run, run
from scripts.made_up import made_up
from stacks import Program

Given = Mapping[str, str]
PARKED: Given = {"parked": "true"}
NOTHING: Given = {}


def can_park(program: Program) -> bool:
    """Whether the program takes the key `parked`."""
    return PARKED.keys() <= program.schema.model_fields.keys()


class FirstUps:
    """Runs programs on the recording engine, each configuration once.

    A person's own `stacks/Pulumi.*.yaml` is not read: the docs are the same for everybody. Keys
    that must be set and are not given are made up.
    """

    def __init__(self) -> None:
        self._runs: dict[tuple[str, tuple[tuple[str, str], ...]], Run] = {}

    def of(self, program: Program, given: Given = NOTHING) -> Run:
        """Return what `program` does with the values `given`, bare key -> raw value.

        Raises `ConfigurationError` for values that would not do.
        """
        asked = (program.name, tuple(sorted(given.items())))
        if asked not in self._runs:
            settings = program.settings({**given, **made_up(program, given)})
            # What the configuration leaves open is warned of, and is nobody's here.
            with first_up.no_cloud(), contextlib.redirect_stderr(io.StringIO()):
                self._runs[asked] = run(
                    lambda: program.deploy(settings), first_up.stdout, program.name
                )
        return self._runs[asked]
