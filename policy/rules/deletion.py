"""What holds data is protected where the configuration keeps it."""

from __future__ import annotations

from collections.abc import Iterator

from policy.resources import Resource, at, each, pairs, text
from policy.rule import AnyRule, Options, Rule, Violation

KEY = "keep_data"
_FIX = (
    "keep_data is true, so the program has to protect it; scripts/pulumi config set keep_data "
    "false lets it go"
)


def _protected(resource: Resource, options: Options) -> Iterator[Violation]:
    if options.get(KEY) is not True:
        return
    if _holds_data(resource):
        if not resource.protect:
            yield Violation(
                resource,
                "protect",
                f"{resource.name} holds data and a destroy would take it: {_FIX}",
            )
        if resource.is_of("gcp", "Bucket") and at(resource.props, "forceDestroy") is True:
            yield Violation(
                resource,
                "forceDestroy",
                f"{resource.name} would be deleted with all that is in it (forceDestroy): {_FIX}",
            )
    elif resource.is_of("gcp", "Cluster"):
        if at(resource.props, "deletionProtection") is not True:
            yield Violation(
                resource,
                "deletionProtection",
                f"{resource.name} could be deleted, with the disks in it: {_FIX}",
            )
    elif resource.is_of("kubernetes", "StatefulSet"):
        claims = list(each(resource.props, "spec", "volumeClaimTemplates"))
        kept = text(resource.props, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
        if claims and kept == "Delete":
            yield Violation(
                resource, "whenDeleted", f"the disks of {resource.name} would go with it: {_FIX}"
            )


def _holds_data(resource: Resource) -> bool:
    return (
        resource.is_of("gcp", "Disk", "Bucket", "CryptoKey")
        or resource.is_of("kubernetes", "PersistentVolumeClaim", "Namespace")
        or (
            resource.is_of("command", "Command")
            and "LLM_ENDPOINT_FORCE_DESTROY" in pairs(resource.props, "environment")
        )
    )


RULE = Rule(
    "deletion-protection",
    "What holds data is protected from a destroy where keep_data says so",
    "mandatory",
    _protected,
    {KEY: {"type": "boolean"}},
)
RULES: tuple[AnyRule, ...] = (RULE,)
