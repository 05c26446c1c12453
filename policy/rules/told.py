"""The rules know what the stack is configured for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policy.resources import Resource, the_stack
from policy.rule import AnyRule, Options, StackRule, Violation

TOLD = "told"


def _told(resources: Sequence[Resource], options: Options) -> Iterator[Violation]:
    # On this machine there is nothing that they would judge by it.
    in_a_cloud = any(one.type.startswith("gcp:") for one in resources)
    if in_a_cloud and options.get(TOLD) is not True:
        yield Violation(
            the_stack(resources),
            TOLD,
            "the rules do not know what the configuration says of spot, keep_data and labels, and "
            "judge nothing by it: scripts/preview, and scripts/up --policy, tell them",
        )


RULE = StackRule(
    "told-the-configuration",
    "The rules know the stack's configuration",
    "advisory",
    _told,
    {TOLD: {"type": "boolean"}},
)
RULES: tuple[AnyRule, ...] = (RULE,)
