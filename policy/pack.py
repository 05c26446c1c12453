"""The rules as pulumi-policy asks them, without importing it: its classes come in by protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from policy import exceptions
from policy.judging import Judge, not_known
from policy.resources import Resource, known
from policy.rule import AnyRule, Rule, StackRule


class AskedOptions(Protocol):
    """`pulumi_policy.PolicyResourceOptions`, as far as it is read."""

    protect: bool


class Asked(Protocol):
    """A resource as pulumi-policy shows it, alone or among a stack's.

    Its properties raise where one that is not known is looked at.
    """

    resource_type: str
    props: Mapping[str, object]
    urn: str
    name: str
    opts: AskedOptions


class AskedAlone(Asked, Protocol):
    """`pulumi_policy.ResourceValidationArgs`."""

    def get_config(self) -> Mapping[str, object]:
        """Return what the pack's configuration says to the rule that asks."""
        ...


class AskedTogether(Protocol):
    """`pulumi_policy.StackValidationArgs`."""

    resources: Sequence[Asked]

    def get_config(self) -> Mapping[str, object]:
        """Return what the pack's configuration says to the rule that asks."""
        ...


Report = Callable[..., None]
"""How pulumi-policy is told of a violation: its message, and its resource's URN where needed."""


class Pack:
    """All rules for one run of the engine.

    `unknown` is what reading a value that is not known raises, and `unsure` makes of a message what
    pulumi-policy shows as advisory, whatever the rule's level.
    """

    def __init__(self, unknown: type[Exception], unsure: Callable[[str], Exception]) -> None:
        self._unknown = unknown
        self._unsure = unsure
        self._judge = Judge()
        self._registered: dict[str, Resource] = {}

    def rules(self) -> tuple[AnyRule, ...]:
        """Return the rules in the order in which they are asked."""
        return self._judge.rules()

    def of_resource(self, rule: Rule) -> Callable[[AskedAlone, Report], None]:
        """Return what judges one resource by `rule`."""

        def validate(asked: AskedAlone, report: Report) -> None:
            resource = self._resource(asked)
            self._registered[resource.urn] = resource
            judged = self._judge.resource(rule, resource, _said(asked))
            for violation in judged.violations:
                report(violation.message)
            if judged.not_known:
                raise self._unsure(not_known(resource.name, judged.not_known))

        return validate

    def of_stack(self, rule: StackRule) -> Callable[[AskedTogether, Report], None]:
        """Return what judges all resources of a stack by `rule`."""

        def validate(asked: AskedTogether, report: Report) -> None:
            # Here pulumi-policy shows outputs. In a preview what a provider that is not configured
            # yet would make has none at all: a cluster's objects, before there is the cluster.
            resources = [
                self._registered.get(one.urn) or self._resource(one) for one in asked.resources
            ]
            judged = self._judge.stack(rule, resources, _said(asked))
            for violation in judged.violations:
                report(violation.message, violation.resource.urn or None)
            if judged.not_known:
                raise self._unsure(not_known("the stack", judged.not_known))

        return validate

    def _resource(self, asked: Asked) -> Resource:
        # urn:pulumi:STACK::PROJECT::TYPES::NAME
        stack = asked.urn.removeprefix("urn:pulumi:").partition("::")[0]
        props = cast("Mapping[str, object]", known(asked.props, self._unknown))
        return Resource(
            asked.resource_type, asked.name, stack, props, asked.opts.protect, asked.urn
        )


def properties(rule: AnyRule) -> dict[str, object]:
    """Return the JSON schema of each thing that the configuration of `rule` may hold."""
    return {exceptions.KEY: exceptions.SCHEMA, **rule.options}


def _said(asked: AskedAlone | AskedTogether) -> Mapping[str, object]:
    # Plain dictionaries, where pulumi-policy shows mappings of its own.
    return cast("Mapping[str, object]", known(asked.get_config()))
