"""What `ColabRuntime` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from components.rendering.kubernetes.colab.plan import ColabPlan


class ColabRuntimeArgs(TypedDict):
    """What `ColabRuntime` takes."""

    plan: ColabPlan
    """What the namespace holds."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""
    provider: pulumi.ProviderResource
    """The cluster's own provider: what is sent by it goes before the cluster's nodes do."""
    access: pulumi.Input[str]
    """How the control plane is reached: a `ClusterAccess` as JSON. No secret."""
    token_generation: int
    """A new generation makes a new token."""
    backup_secret: NotRequired[Mapping[str, pulumi.Input[str]] | None]
    """The access key of the storage of backups, by the names of its variables. Secret."""
    ca_certificate: NotRequired[pulumi.Input[str] | None]
    """PEM certificate of the authority of the endpoint that the plan names."""
    first: NotRequired[Sequence[pulumi.Resource]]
    """What the runtime's pod needs besides, such as the right to its backup: it goes after it."""
    parked_at: NotRequired[pulumi.Input[str]]
    """A text that changes exactly when the idle runtime was parked without this deployment; empty
    for never."""
    triggers: NotRequired[Sequence[pulumi.Input[str]]]
    """Further values of which a change means that the runtime must be verified anew."""
    ready_seconds: int
    """Seconds that verification waits for a node, the image, and files to be restored."""
