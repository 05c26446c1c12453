"""Machines are Spot ones where the configuration says so, and only there."""

from __future__ import annotations

from collections.abc import Iterator

from policy.resources import Resource, at, pairs, text
from policy.rule import AnyRule, Options, Rule, Violation
from policy.rules.machines import is_machine
from policy.rules.node_pools import serves

KEY = "spot"


def _as_configured(resource: Resource, options: Options) -> Iterator[Violation]:
    wanted = options.get(KEY)
    if not isinstance(wanted, bool):
        return
    if is_machine(resource):
        said = pairs(resource.props, "scheduling")
        # Preemptible: what Spot machines were before, taken away in the same way.
        spot = text(said, "provisioningModel") == "SPOT" or at(said, "preemptible") is True
    elif resource.is_of("gcp", "NodePool") and serves(resource):
        nodes = pairs(resource.props, "nodeConfig")
        spot = at(nodes, "spot") is True or at(nodes, "preemptible") is True
    else:
        return
    if spot != wanted:
        found = "Spot, which Google takes away whenever it needs it" if spot else "not Spot"
        said, other = ("true", "false") if wanted else ("false", "true")
        yield Violation(
            resource,
            "spot" if spot else "standard",
            f"{resource.name} is {found}, and the configuration says spot {said}: the program "
            f"does not follow it, or scripts/pulumi config set spot {other}",
        )


RULE = Rule(
    "spot-as-configured",
    "Machines that serve are Spot ones exactly where the configuration says so",
    "mandatory",
    _as_configured,
    {KEY: {"type": "boolean"}},
)
RULES: tuple[AnyRule, ...] = (RULE,)
