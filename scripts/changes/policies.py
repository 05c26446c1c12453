"""What the policies (`policy/`) say to a mocked run: the pack itself runs in an engine alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from policy.configuration import SHIPPED, ConfigurationProblemError, read, with_told
from policy.judging import Judge, examine
from policy.resources import Resource, known
from policy.told import of_stack
from scripts.changes.mocked import Mocked
from scripts.changes.model import Violation


class PolicyError(Exception):
    """The pack's configuration is wrong; the message says how."""


def judged(found: Mocked, stack: str) -> tuple[Violation, ...]:
    """Return what the rules say to the resources of a mocked run. Raises `PolicyError`."""
    short = stack.rsplit("/", 1)[-1]
    resources = [
        Resource(
            one.token,
            one.name,
            short,
            cast("Mapping[str, object]", known(one.plain())),
            one.protect,
        )
        for one in found.run.registrations.values()
    ]
    try:
        configuration = read(SHIPPED, Judge().rules())
    except ConfigurationProblemError as wrong:
        raise PolicyError(str(wrong)) from None
    findings = examine(resources, with_told(configuration, of_stack(stack)))
    return tuple(
        Violation(one.rule, one.level == "mandatory", one.resource, one.message) for one in findings
    )
