"""What bills carries the stack's labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from policy.resources import Resource, at, each, pairs, the_stack
from policy.rule import AnyRule, Options, Rule, StackRule, Violation

KEY = "labels"
REQUIRED = "required"
_FIX = "scripts/pulumi config set labels"

_LABELS_OF: Mapping[str, tuple[str, ...]] = {
    "Address": ("labels",),
    "Bucket": ("labels",),
    "Cluster": ("resourceLabels",),
    "CryptoKey": ("labels",),
    "Disk": ("labels",),
    "GlobalAddress": ("labels",),
    "Instance": ("labels",),
    "InstanceTemplate": ("labels",),
    "NodePool": ("nodeConfig", "resourceLabels"),
    "Secret": ("labels",),
}
"""Kinds of Google's that bill and take labels: the path to them."""


def _carried(resource: Resource) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield each part of `resource` that bills, in words, with its labels."""
    path = _LABELS_OF.get(resource.kind)
    if path is None or not resource.type.startswith("gcp:"):
        return
    yield resource.name, pairs(resource.props, *path)
    disk = at(resource.props, "bootDisk", "initializeParams")
    if disk is not None:
        yield f"the boot disk of {resource.name}", pairs(disk, "labels")
    for number, one in enumerate(each(resource.props, "disks")):
        yield f"disk {number} of {resource.name}", pairs(one, "labels")


def _labelled(resource: Resource, options: Options) -> Iterator[Violation]:
    wanted = pairs(options, KEY)
    required = cast("Sequence[str]", options.get(REQUIRED, ()))
    for part, carried in _carried(resource):
        for name in required:
            if name not in carried:
                yield Violation(
                    resource,
                    name,
                    f"{part} has no label {name}, which policy/config.json requires: "
                    f"{_FIX} {name}=VALUE",
                )
        lacking = sorted(name for name in wanted if carried.get(name) != wanted[name])
        for name in lacking:
            yield Violation(
                resource,
                name,
                f"{part} does not carry the label {name} of the configuration (labels): the "
                "program has to pass labels on to all that bills",
            )


def _any_label(resources: Sequence[Resource], _: Options) -> Iterator[Violation]:
    bare = [
        resource for resource in resources if any(not carried for _, carried in _carried(resource))
    ]
    if bare:
        yield Violation(
            the_stack(resources),
            KEY,
            f"no label tells on a bill whose these are: {', '.join(one.name for one in bare)}: "
            f"{_FIX} owner=NAME",
        )


RULE = Rule(
    "labels",
    "What bills carries the labels of the configuration, and those that the team requires",
    "mandatory",
    _labelled,
    {
        KEY: {"type": "object"},
        REQUIRED: {"type": "array", "items": {"type": "string"}},
    },
)
RULES: tuple[AnyRule, ...] = (
    RULE,
    StackRule("any-label", "What bills carries some label", "advisory", _any_label),
)
