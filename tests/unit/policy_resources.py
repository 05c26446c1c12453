"""Recorded registrations as the policies see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from emulator.mocks.recording import Run
from policy.configuration import SHIPPED, Configuration, read, with_told
from policy.judging import Finding, Judge, examine
from policy.resources import Resource, known
from policy.rule import AnyRule
from policy.told import of_values
from scripts.changes.mocked import mocked_with

RULES: tuple[AnyRule, ...] = Judge().rules()
SHIPPED_CONFIGURATION = read(SHIPPED, RULES)


def as_resources(run: Run, stack: str) -> list[Resource]:
    """Return what was registered in `stack`, as the engine shows it to the pack."""
    return [
        Resource(
            one.token,
            one.name,
            stack,
            cast("Mapping[str, object]", known(one.plain())),
            one.protect,
        )
        for one in run.registrations.values()
    ]


def told(stack: str, given: Mapping[str, str]) -> Configuration:
    """Return the configuration that ships, with what the stack's own says."""
    return with_told(SHIPPED_CONFIGURATION, of_values(given, stack))


def examined(stack: str, **given: str) -> list[Finding]:
    """Return what the rules say to the program of `stack`, as it would be deployed at first."""
    found = mocked_with(given, stack)
    return examine(as_resources(found.run, stack), told(stack, given))
