# pyright: basic, reportMissingImports=false
"""The pack as the engine starts it, in an environment of its own (requirements/policy.in).

pulumi-policy asks for an older protobuf than the clients of the stacks do: no test imports this.
"""

import sys
from pathlib import Path

# The engine starts this in the pack's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ResourceValidationPolicy,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policy.configuration import LEVEL, SHIPPED, of_rule, read
from policy.pack import Pack, properties
from policy.rule import AnyRule, StackRule


class _NotKnownYet(UnknownValueError):
    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def _policy(pack: Pack, rule: AnyRule) -> ResourceValidationPolicy | StackValidationPolicy:
    common = {
        "name": rule.name,
        "description": rule.description,
        "enforcement_level": EnforcementLevel(rule.level),
        "config_schema": PolicyConfigSchema(properties=properties(rule)),
    }
    if isinstance(rule, StackRule):
        return StackValidationPolicy(validate=pack.of_stack(rule), **common)
    return ResourceValidationPolicy(validate=pack.of_resource(rule), **common)


def _shipped(rules: tuple[AnyRule, ...]) -> dict[str, dict[str, object]]:
    """Return the configuration that ships, each rule with its level: without one it is advisory."""
    given = read(SHIPPED, rules)
    said = {rule.name: {LEVEL: rule.level, **of_rule(given, rule.name)} for rule in rules}
    return {name: {**one, LEVEL: EnforcementLevel(one[LEVEL])} for name, one in said.items()}


if __name__ == "__main__":
    judged = Pack(UnknownValueError, _NotKnownYet)
    # It serves the engine, and does not return.
    PolicyPack(
        name="llm-endpoint",
        policies=[_policy(judged, rule) for rule in judged.rules()],
        # Replaced, rule by rule, by what --policy-pack-config says.
        initial_config=_shipped(judged.rules()),
    )
