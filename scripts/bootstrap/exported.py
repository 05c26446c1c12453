"""What of a stack's state decides how it is taken up or down: what is protected, what is unsure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

from scripts.bootstrap import stack
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli

_NAMES = ("name", "secretId", "accountId", "roleId")
"""Inputs that name a resource in its cloud."""
_OF_OTHERS = ("Version", "Member", "Attachment", "Service")
"""Ends of types that go with another resource, or that may stay."""

_STACK = "pulumi:pulumi:Stack"

_BUCKET = "gcp:storage/bucket:Bucket"

INSTANCE = "gcp:compute/instance:Instance"
GROUP = "gcp:compute/instanceGroupManager:InstanceGroupManager"
GROUP_MEMBER = "gcp:compute/perInstanceConfig:PerInstanceConfig"
"""Types of a machine in Google Cloud: plain, a group of machines, and one machine of a group."""


@dataclass(frozen=True)
class Exported:
    """Of a stack's state: resources by name.

    `protected` are those that Pulumi refuses to delete; `keeps_bucket`: a bucket is among them, and
    unprotected it would be deleted only when empty. `unfinished` are those of the cloud that a
    pulumi was creating when it was killed, and that the state does not have: nobody knows whether
    they are there, and neither `up` nor `destroy` finds them.
    """

    protected: tuple[str, ...]
    unfinished: tuple[str, ...]
    keeps_bucket: bool = False


class Resource(TypedDict):
    """What is read of a resource in a state."""

    urn: str
    type: NotRequired[str]
    parent: NotRequired[str]
    provider: NotRequired[str]
    protect: NotRequired[bool]
    pendingReplacement: NotRequired[bool]
    id: NotRequired[str]
    inputs: NotRequired[Mapping[str, object]]
    outputs: NotRequired[Mapping[str, object]]


class Operation(TypedDict):
    """Something that an update had begun; `type` is `creating`, `updating`, …"""

    type: str
    resource: Resource


class Deployment(TypedDict):
    """A state, as far as it is read here."""

    resources: NotRequired[list[Resource] | None]
    pending_operations: NotRequired[list[Operation] | None]


class Export(TypedDict):
    """What `stack export` prints; there is more in it."""

    deployment: NotRequired[Deployment | None]


def export(checkout: Checkout, name: str, cli: Cli, environment: Mapping[str, str]) -> Export:
    """Return all of the state of the stack `name`; `BootstrapError` where it can't be read."""
    done = stack.run(checkout, cli, environment, ["stack", "export", "--stack", name])
    if done.returncode != 0:
        raise BootstrapError(
            f"the state of {name} can't be read: {stack.complaint(done)}", "see that message"
        )
    return cast("Export", json.loads(done.stdout))


def resources(exported: Export) -> list[Resource]:
    """Return every resource of a state."""
    deployment = exported.get("deployment") or Deployment()
    return deployment.get("resources") or []


def is_empty(exported: Export) -> bool:
    """Whether a state has nothing, and nothing that was begun either."""
    deployment = exported.get("deployment") or Deployment()
    return not resources(exported) and not deployment.get("pending_operations")


def needs_plugins(exported: Export) -> bool:
    """Whether a state has more than the stack itself, which an up that failed early leaves."""
    deployment = exported.get("deployment") or Deployment()
    kinds = {resource.get("type") for resource in resources(exported)}
    return bool(kinds - {_STACK} or deployment.get("pending_operations"))


def read(exported: Export, settled: Collection[str] = ()) -> Exported:
    """Return what a state says; `settled` are URNs of which it is known how they stand."""
    deployment = exported.get("deployment") or Deployment()
    known = {resource["urn"] for resource in resources(exported)}.union(settled)
    pending = (
        operation["resource"]
        for operation in deployment.get("pending_operations") or []
        if operation["type"] == "creating" and operation["resource"]["urn"] not in known
    )
    protected = [one for one in resources(exported) if one.get("protect")]
    return Exported(
        protected=tuple(_name(one["urn"]) for one in protected),
        unfinished=tuple(dict.fromkeys(_in_a_cloud(pending))),
        keeps_bucket=any(
            one.get("type") == _BUCKET or _bucket_of(one) is not None for one in protected
        ),
    )


def _in_a_cloud(resources: Iterator[Resource]) -> Iterator[str]:
    for resource in resources:
        kind = resource.get("type", "")
        bucket = _bucket_of(resource)
        if bucket is not None:
            yield f"bucket {bucket}"
            continue
        if kind.startswith("command:") or kind.endswith(_OF_OTHERS):
            continue
        inputs = resource.get("inputs", {})
        names = (inputs.get(key) for key in _NAMES)
        name = next((given for given in names if isinstance(given, str)), _name(resource["urn"]))
        yield f"{kind.rsplit(':', 1)[-1]} {name}"


def _bucket_of(resource: Resource) -> str | None:
    """Return the URL of the bucket that a command makes; None where it makes none."""
    inputs = resource.get("inputs", {})
    environment = inputs.get("environment")
    if "delete" not in inputs or not isinstance(environment, Mapping):
        return None
    url = cast("Mapping[str, object]", environment).get("LLM_ENDPOINT_REGISTRY")
    return url if isinstance(url, str) else None


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]
