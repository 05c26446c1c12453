"""The network of a cluster whose nodes have no address of their own."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.network import Standing
from components.targets.gcp.site import Site

NODES_RANGE = "10.77.0.0/22"
PODS_RANGE = "10.80.0.0/15"
"""GKE takes a /24 of it for each node: 512 nodes."""
SERVICES_RANGE = "10.82.0.0/20"
PODS, SERVICES = "pods", "services"
"""Names of the ranges beside the nodes' own."""
DELETE_TIMEOUT = "20m"
"""GKE collects firewall rules and endpoint groups some time after what needed them is gone, and a
network that has any can't be deleted: where Google refuses it at once, another destroy goes on."""


@dataclass(frozen=True)
class Ranges:
    """Names of a subnetwork's ranges for pods and for Services."""

    pods: str
    services: str


@dataclass(frozen=True)
class ClusterStanding:
    """Where a cluster stands; `ranges` is None where GKE chooses them in a given network.

    `ready` is known once its nodes can reach what they start from.
    """

    at: Standing
    ranges: Ranges | None
    ready: tuple[pulumi.Output[str], ...]


def standing(
    site: Site,
    compute: pulumi.Output[str],
    network: str | None,
    subnetwork: str | None,
    *,
    nat: bool,
) -> ClusterStanding:
    """Return the given network, or one of the cluster's own, with a Cloud NAT where one is wanted.

    Raises ValueError for a subnetwork without its network.
    """
    ranges: Ranges | None = None
    if network is not None:
        at = Standing(network, subnetwork)
    elif subnetwork is not None:
        raise ValueError(f"subnetwork {subnetwork!r} is given without its network: set network too")
    else:
        at = _own(site, compute)
        ranges = Ranges(PODS, SERVICES)
    ready = (_nat(site, compute, at),) if nat else ()
    return ClusterStanding(at, ranges, ready)


def _own(site: Site, compute: pulumi.Output[str]) -> Standing:
    network = gcp.compute.Network(
        f"{site.name}-network",
        name=site.base_name,
        project=compute,
        auto_create_subnetworks=False,
        routing_mode="REGIONAL",
        opts=_slow_to_go(site),
    )
    subnetwork = gcp.compute.Subnetwork(
        f"{site.name}-subnetwork",
        name=site.base_name,
        project=compute,
        region=site.region,
        network=network.self_link,
        ip_cidr_range=NODES_RANGE,
        secondary_ip_ranges=[
            {"range_name": PODS, "ip_cidr_range": PODS_RANGE},
            {"range_name": SERVICES, "ip_cidr_range": SERVICES_RANGE},
        ],
        # Nodes reach Google's APIs without the NAT.
        private_ip_google_access=True,
        opts=_slow_to_go(site),
    )
    return Standing(network.self_link, subnetwork.self_link)


def _nat(site: Site, compute: pulumi.Output[str], at: Standing) -> pulumi.Output[str]:
    """Make a NAT for the cluster's subnetwork, or for all of the network where it names none."""
    router = gcp.compute.Router(
        f"{site.name}-router",
        name=site.base_name,
        project=compute,
        region=site.region,
        network=at.network,
        opts=site.named(),
    )
    own = at.subnetwork
    nat = gcp.compute.RouterNat(
        f"{site.name}-nat",
        name=site.base_name,
        project=compute,
        region=site.region,
        router=router.name,
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat=(
            "ALL_SUBNETWORKS_ALL_IP_RANGES" if own is None else "LIST_OF_SUBNETWORKS"
        ),
        subnetworks=(
            None if own is None else [{"name": own, "source_ip_ranges_to_nats": ["ALL_IP_RANGES"]}]
        ),
        log_config={"enable": True, "filter": "ERRORS_ONLY"},
        opts=site.named(),
    )
    return nat.id


def _slow_to_go(site: Site) -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions.merge(
        site.named(),
        pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete=DELETE_TIMEOUT)),
    )
