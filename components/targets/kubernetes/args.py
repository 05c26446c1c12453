"""What `PodEndpoint` and `OvmsServer` take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from components.compose import Place
from components.endpoint import Billed
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.plan import PodPlan, PodServer
from components.targets.kubernetes.objects import Objects


class PodEndpointArgs(TypedDict):
    """What `PodEndpoint` takes."""

    plan: PodPlan
    """What the namespace holds. The first server is the one that chats."""
    place: Place
    """What the cluster's nodes take."""
    cluster_identifier: pulumi.Input[str]
    """What tells the cluster from any other, made from the cluster itself: with another one, all
    objects are made anew, and those of the old one go before it does."""
    access: pulumi.Input[str]
    """How its control plane is reached: a `ClusterAccess` as JSON. No secret."""
    ready: Sequence[pulumi.Input[str]]
    """Known once pods can start there: pools, a NAT. They go after all objects are gone."""
    host: NotRequired[pulumi.Input[str] | None]
    """The name or address that clients ask for; unset, the plan's own."""
    address: NotRequired[pulumi.Input[str] | None]
    """The IP address that a domain has to point at."""
    front: NotRequired[Sequence[pulumi.Resource]]
    """What objects of the way in name, such as an address, and what lets pods read their registry:
    it goes after them."""
    registry: NotRequired[pulumi.Output[Mapping[str, str]] | None]
    """The data of the Secret by which pods read their registry, where the plan has such a one."""
    keys: Mapping[str, int]
    """Generation of each API key by its name; a new generation makes a new key."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""
    parked_at: NotRequired[pulumi.Input[str]]
    """A text that changes exactly when the idle servers were parked without this deployment, such
    as the moment; empty for never. What was parked is woken, and verified again."""
    triggers: NotRequired[Sequence[pulumi.Input[str]]]
    """Further values of which a change means that the endpoint must be verified anew."""
    ready_seconds: int
    """Seconds that verification waits for nodes to come and models to load."""
    streams: int
    """Streams that verification runs at the same time."""
    min_tokens_per_second: NotRequired[float | None]
    """The floor below which a stream fails verification."""
    embedding_model: NotRequired[str | None]
    """The id that answers `/v1/embeddings`, where one does."""
    engine_package: str
    """The image that the engine comes from, for the receipt."""
    billing: Sequence[Billed]
    """What bills."""


class OvmsServerArgs(TypedDict):
    """What `OvmsServer` takes."""

    server: PodServer
    """What is served."""
    manifests: Sequence[Manifest]
    """Its objects, of which one is the `workload` with its name. A Job among them is done before it
    is made."""
    workload: str
    """The kind of the object that has its pods made: `StatefulSet`, or another controller's."""
    objects: Objects
    """How they are sent to the cluster."""
    first: Sequence[pulumi.Resource]
    """What its pods need, and goes after them: the namespace, and what they mount."""
    keep_data: bool
    """Whether Pulumi refuses to delete a claim among the objects."""
