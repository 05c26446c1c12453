"""`gke-ovms`: a verified endpoint on a pool of Spot nodes of a GKE cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pulumi

from components.catalogue.gcp import region_of
from components.container_images import support_images
from components.rendering.kubernetes.plan import (
    POOL_LABEL,
    SPOT_LABEL,
    Expose,
    PodPlan,
    Taint,
)
from components.serving.pod_servers import embedding_model, pod_servers
from components.settings import GkeOvmsSettings, Settings
from components.targets.gke.args import ClusterArgs, ClusterPath, SpotNodePoolArgs
from components.targets.gke.place import GKE_POOL
from stacks.interpreter import python
from stacks.planning import base_name, gateway_limits

NAME = "gke-ovms"


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the cluster and what serves in it, and return the stack's outputs.

    `cluster` is how its control plane is reached. Asks the cluster when its servers were parked.
    """
    # Only a deployment loads the providers, and asks: the plan is also rendered without.
    from components.targets.gke.billing import billed
    from components.targets.gke.cluster import Cluster
    from components.targets.gke.exposure import Exposure
    from components.targets.gke.node_pool import SpotNodePool
    from components.targets.kubernetes.endpoint import PodEndpoint

    given = _gke_ovms(settings)
    planned = plan(given, pulumi.get_stack())
    made = cluster_args(given, planned)
    cluster = Cluster(NAME, made)
    pool_args = pool_of(given, planned, cluster.path, cluster.name, cluster.account)
    pool = SpotNodePool(NAME, pool_args)
    front = Exposure(
        NAME,
        {
            "base_name": planned.base_name,
            "project": cluster.path.project,
            "region": made["region"],
            "compute": cluster.compute,
            "expose": planned.expose,
            "domain": planned.domain,
            "dns_zone": given.dns_zone,
            "allowed_cidrs": planned.allowed_cidrs,
            "labels": given.labels,
        },
    )
    endpoint = PodEndpoint(
        NAME,
        {
            "plan": planned,
            "place": GKE_POOL,
            "cluster_identifier": cluster.identifier,
            "access": cluster.access,
            "ready": [*cluster.ready, cluster.account, pool.id],
            "host": front.host,
            "address": front.address,
            "front": front.resources,
            "keys": given.key_generations(),
            "python": [python()],
            "parked_at": _parked_at(planned, cluster.path),
            # What serves on other machines is another endpoint.
            "triggers": [pool.id, given.node_machine_type],
            "ready_seconds": given.ready_minutes * 60,
            "streams": given.verify_streams,
            "min_tokens_per_second": given.min_tokens_per_second,
            "embedding_model": embedding_model(given),
            "engine_package": planned.servers[0].image,
            "billing": billed(planned, made, pool_args),
        },
    )
    return {**endpoint.outputs.exports(), "cluster": cluster.access}


def plan(settings: Settings, stack: str) -> PodPlan:
    """Return what the namespace of `stack` holds: a pure function, the same for the same input."""
    given = _gke_ovms(settings)
    name = base_name(stack)
    servers = pod_servers(given, given.machine())
    return PodPlan(
        base_name=name,
        namespace=given.namespace_of(name),
        servers=servers,
        expose=Expose(given.expose),
        limits=gateway_limits(
            sum(
                server.launch.slots * (server.most_replicas or server.replicas)
                for server in servers
            )
        ),
        images=support_images(),
        # Google's own label for Spot; a pool of ordinary nodes has ours.
        taint=Taint(SPOT_LABEL, "true") if given.spot else Taint(POOL_LABEL, name),
        storage_class=given.volume_class,
        spot=given.spot,
        domain=given.domain,
        allowed_cidrs=tuple(given.allowed_cidrs),
        idle_minutes=given.idle_minutes or None,
        keep_data=given.keep_data,
        parked=given.parked,
    )


def files(settings: Settings, stack: str) -> Mapping[str, str]:
    """Return every object that `stack` would send to its cluster: path below a folder -> YAML."""
    from components.rendering.kubernetes.render import render

    return render(plan(settings, stack)).files()


def cluster_args(settings: GkeOvmsSettings, planned: PodPlan) -> ClusterArgs:
    """Return what `Cluster` takes."""
    path = settings.cluster_path()
    zone = _zone(settings)
    return {
        "base_name": planned.base_name,
        "project": settings.project,
        "region": region_of(zone),
        "zone": zone,
        "existing": None if path is None else ClusterPath(*path),
        "network": settings.network,
        "subnetwork": settings.subnetwork,
        "nat": settings.wants_nat,
        "control_plane_cidrs": settings.control_plane_cidrs,
        "release_channel": settings.release_channel,
        "system_machine_type": settings.system_machine_type,
        "gateway_api": planned.expose is Expose.GATEWAY,
        "labels": settings.labels,
        "keep_data": settings.keep_data,
    }


def pool_of(
    settings: GkeOvmsSettings,
    planned: PodPlan,
    cluster: ClusterPath,
    name: pulumi.Input[str],
    account: pulumi.Input[str],
) -> SpotNodePoolArgs:
    """Return what `SpotNodePool` takes; `name` is the cluster's, known once it is there."""
    hours = settings.max_run_hours
    return {
        "base_name": planned.base_name,
        "project": cluster.project,
        "location": cluster.location,
        "zone": _zone(settings),
        "cluster": name,
        "account": account,
        "machine_type": settings.node_machine_type,
        "disk_type": settings.node_disk,
        "disk_gb": settings.node_disk_gb,
        "taint": planned.taint,
        "spot": settings.spot,
        "max_nodes": settings.max_nodes,
        "max_run_seconds": None if hours is None else hours * 3600,
        "labels": settings.labels,
        "parked": settings.parked,
    }


def _zone(settings: GkeOvmsSettings) -> str:
    """Return the zone of the nodes: that of a zonal cluster, else the configured one."""
    path = settings.cluster_path()
    location = settings.zone if path is None else path[1]
    is_region = location.count("-") == 1
    return settings.zone if is_region else location


def _parked_at(planned: PodPlan, cluster: ClusterPath) -> str:
    """Return when the idle job last parked a server; "" for never, and for a parked stack."""
    from scripts.gke.parked import last_parked

    if planned.parked:
        return ""
    names = [server.name for server in planned.servers]
    return last_parked(
        cluster.project, cluster.location, cluster.name, planned.namespace, names, os.environ
    )


def _gke_ovms(settings: Settings) -> GkeOvmsSettings:
    if not isinstance(settings, GkeOvmsSettings):
        raise TypeError(f"gke-ovms takes GkeOvmsSettings, not {type(settings).__name__}")
    return settings
