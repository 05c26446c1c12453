"""Rules applied to resources, with what the pack's configuration lets through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from policy.configuration import LEVEL, Configuration, of_rule
from policy.exceptions import KEY, Exemption, exemptions
from policy.resources import NotKnownError, Resource, the_stack
from policy.rule import AnyRule, Level, Options, Rule, StackRule, Violation
from policy.rules import RULES

UNUSED = "unused-exceptions"
_SET = "scripts/pulumi config set "


@dataclass(frozen=True)
class Judged:
    """What one rule said. `not_known` names the value that it needs and that is not known yet."""

    violations: tuple[Violation, ...] = ()
    not_known: str = ""


@dataclass(frozen=True)
class Finding:
    """What is told of a resource. What can't be told yet is advisory, whatever the rule's level."""

    rule: str
    level: Level
    resource: str
    message: str


@dataclass
class Judge:
    """Judges one run of a stack, and remembers which exceptions it needed."""

    _seen: set[Exemption] = field(default_factory=set[Exemption])
    _used: set[Exemption] = field(default_factory=set[Exemption])

    def resource(self, rule: Rule, resource: Resource, said: Mapping[str, object]) -> Judged:
        """Judge one resource by `rule`, to which the configuration says `said`."""
        return self._judge(rule, [resource], lambda options: rule.check(resource, options), said)

    def stack(
        self, rule: StackRule, resources: Sequence[Resource], said: Mapping[str, object]
    ) -> Judged:
        """Judge all resources of the stack by `rule`, to which the configuration says `said`."""
        return self._judge(rule, resources, lambda options: rule.check(resources, options), said)

    def rules(self) -> tuple[AnyRule, ...]:
        """Return all rules, the one about the exceptions last: it has to hear of all others."""
        unused = StackRule(
            UNUSED,
            "An exception that lets nothing through any more is taken out",
            "advisory",
            self._unused,
        )
        return (*RULES, unused)

    def _judge(
        self,
        rule: AnyRule,
        resources: Sequence[Resource],
        check: Callable[[Options], Iterable[Violation]],
        said: Mapping[str, object],
    ) -> Judged:
        allowed = exemptions(rule.name, said.get(KEY))
        stacks = {resource.stack for resource in resources}
        self._seen.update(one for one in allowed if any(map(one.is_of, stacks)))
        kept: list[Violation] = []
        try:
            for violation in check(said):
                covering = [one for one in allowed if one.covers(violation)]
                self._used.update(covering)
                if not covering:
                    kept.append(_of_its_stack(violation))
        except NotKnownError as unknown:
            return Judged(tuple(kept), unknown.path)
        return Judged(tuple(kept))

    def _unused(self, resources: Sequence[Resource], _: Options) -> Iterator[Violation]:
        if not resources:
            return
        for one in sorted(self._seen - self._used, key=lambda one: (one.rule, one.resource)):
            # One for any stack may be another stack's.
            if one.stack != "*":
                yield Violation(
                    the_stack(resources),
                    one.rule,
                    f"the exception of {one.rule} for {one.resource} in {one.stack} lets nothing "
                    "through: take it out of policy/config.json",
                )


def examine(resources: Sequence[Resource], configuration: Configuration) -> list[Finding]:
    """Return what all rules say to `resources`, a whole stack, as the engine would ask them."""
    judge = Judge()
    found: list[Finding] = []
    for rule in judge.rules():
        said = of_rule(configuration, rule.name)
        level = said.get(LEVEL, rule.level)
        if level == "disabled":
            continue
        level = cast("Level", level)
        if isinstance(rule, StackRule):
            found += _findings(rule, level, "the stack", judge.stack(rule, resources, said))
            continue
        for resource in resources:
            found += _findings(rule, level, resource.name, judge.resource(rule, resource, said))
    return found


def _of_its_stack(violation: Violation) -> Violation:
    """Return it with the stack in the commands of its message, which fail without one."""
    named = f"{_SET}--stack {violation.resource.stack} "
    return replace(violation, message=violation.message.replace(_SET, named))


def not_known(about: str, path: str) -> str:
    """Return what is told where a rule can't be judged yet."""
    return f"{about}: {path} is not known before it is made; up judges it then"


def _findings(rule: AnyRule, level: Level, about: str, judged: Judged) -> Iterator[Finding]:
    for violation in judged.violations:
        yield Finding(rule.name, level, violation.resource.name, violation.message)
    if judged.not_known:
        yield Finding(rule.name, "advisory", about, not_known(about, judged.not_known))
