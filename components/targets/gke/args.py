"""What `Cluster`, `SpotNodePool` and `Exposure` take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import pulumi

from components.rendering.kubernetes.plan import Expose, Taint


@dataclass(frozen=True)
class ClusterPath:
    """Which cluster: `location` is its zone, or its region."""

    project: str
    location: str
    name: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/clusters/{self.name}"


class ClusterArgs(TypedDict):
    """What `Cluster` takes."""

    base_name: str
    """Name of the cluster, and the beginning of the names of its network's parts: at most 40
    characters, which is what GKE takes."""
    project: str
    """Id of the project."""
    region: str
    """Region of the network's parts, such as `europe-west4`; `zone` lies in it."""
    zone: str
    """Zone of the cluster and its nodes, such as `europe-west4-a`."""
    existing: NotRequired[ClusterPath | None]
    """A cluster to use as it is. Nothing of it is changed, and of what follows only `gateway_api`
    and `labels` count."""
    network: NotRequired[str | None]
    """Name or self link of a network to stand in; unset, one is made."""
    subnetwork: NotRequired[str | None]
    """Name or self link of a subnetwork of `network` in `region`."""
    nat: NotRequired[bool]
    """Make a Cloud NAT: nodes have no address of their own, and pull images and models by it."""
    control_plane_cidrs: NotRequired[Sequence[str]]
    """Who may come to the control plane's IP address. Empty: it has none, and whom IAM lets in
    comes by its DNS name."""
    release_channel: NotRequired[Literal["rapid", "regular", "stable"]]
    """Which versions of Kubernetes the cluster gets; `regular` unless it is said."""
    system_machine_type: NotRequired[str]
    """Machine type of the one node that holds the gateway and the cluster's own pods, such as
    `e2-standard-2`."""
    gateway_api: NotRequired[bool]
    """Refuse an existing cluster that lacks GKE's Gateway controller; one that is made has it."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of everything that bills."""
    keep_data: NotRequired[bool]
    """Refuse to delete the cluster, and its volumes with it, until this is unset again."""


class SpotNodePoolArgs(TypedDict):
    """What `SpotNodePool` takes. The cluster has to have Workload Identity."""

    base_name: str
    """Name of the pool, and the value of its nodes' label `llm-endpoint/pool`: at most 40
    characters, which is what GKE takes."""
    project: str
    """Id of the cluster's project."""
    location: str
    """The cluster's zone or region."""
    zone: str
    """The zone of all nodes: a volume can't follow its pod into another one."""
    cluster: pulumi.Input[str]
    """The cluster's name."""
    account: pulumi.Input[str]
    """The address of the service account that nodes run as."""
    machine_type: str
    """Machine type of the nodes, such as `c3-standard-22`."""
    disk_type: NotRequired[str | None]
    """Type of their boot disks; unset, GKE takes one that the machine type takes."""
    disk_gb: int
    """Size of their boot disks in GB."""
    taint: Taint | None
    """What keeps all pods away that don't tolerate it; None lets all of them in."""
    spot: NotRequired[bool]
    """Take Spot VMs: cheaper, and Google may take them away at any time. True unless it is said."""
    max_nodes: int
    """The most nodes; without pods for them there is none."""
    max_run_seconds: NotRequired[int | None]
    """Seconds after which Google takes a node away."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of everything that bills."""
    parked: NotRequired[bool]
    """Have no node, whatever pods there are."""


class ExposureArgs(TypedDict):
    """What `Exposure` takes. Every name in the cloud is `base_name`: manifests name it too."""

    base_name: str
    project: str
    """Id of the cluster's project."""
    region: str
    """The region of the address of a load balancer; the cluster lies in it."""
    compute: pulumi.Output[str]
    """The project, known once Compute Engine's API is on."""
    expose: Expose
    domain: NotRequired[str | None]
    """The endpoint's name, which a Gateway has to have."""
    dns_zone: NotRequired[str | None]
    """Name of the project's Cloud DNS zone that gets the domain's records."""
    allowed_cidrs: Sequence[str]
    """Who may connect; for an endpoint inside the cluster, nobody is named."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of everything that bills."""
