"""`gke-ovms`: a verified endpoint on a pool of Spot nodes of a GKE cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from components.catalogue.gcp import region_of
from components.container_images import support_images
from components.endpoint import Billed
from components.rendering.kubernetes.names import REGISTRY_KEY_ID, REGISTRY_SECRET_KEY, SERVERS
from components.rendering.kubernetes.plan import (
    POOL_LABEL,
    SPOT_LABEL,
    Deploy,
    Expose,
    PodPlan,
    RegistryAccess,
    Taint,
)
from components.serving.pod_servers import embedding_model, pod_registry, pod_servers
from components.settings import GkeOvmsSettings, Settings
from components.settings.secrets import as_output
from components.targets.gke.args import ClusterArgs, ClusterPath, SpotNodePoolArgs
from components.targets.gke.place import GKE_POOL
from stacks.interpreter import python
from stacks.planning import base_name, gateway_limits

if TYPE_CHECKING:
    from components.targets.gke.cluster import Cluster
    from components.targets.gke.node_pool import SpotNodePool
    from components.targets.kubernetes.endpoint import PodEndpoint

NAME = "gke-ovms"


@dataclass(frozen=True)
class Deployed:
    """What was registered, for a program that has more in the same cluster."""

    planned: PodPlan
    cluster: Cluster
    pool: SpotNodePool
    endpoint: PodEndpoint

    def exports(self) -> dict[str, object]:
        """Return the stack's outputs; `models_url` only where there are classic models."""
        outputs = self.endpoint.outputs
        found = {**outputs.exports(), "cluster": self.cluster.access}
        if any(server.models for server in self.planned.servers):
            url = pulumi.Output.from_input(outputs.endpoint_url)
            found["models_url"] = url.apply(lambda known: known and f"{known}/models")
        return found


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the cluster and what serves in it, and return the stack's outputs.

    `cluster` is how its control plane is reached. Asks the cluster when its servers were parked.
    """
    return deployed(_gke_ovms(settings)).exports()


def deployed(
    given: GkeOvmsSettings, also_billed: Sequence[Billed] = (), shares_nodes: str | None = None
) -> Deployed:
    """Register the cluster and what serves in it.

    `also_billed` is what the stack has besides, and `shares_nodes` what of it runs on the same
    nodes, in words.
    """
    # Only a deployment loads the providers, and asks: the plan is also rendered without.
    from components.targets.gke.billing import billed
    from components.targets.gke.cluster import Cluster
    from components.targets.gke.exposure import Exposure
    from components.targets.gke.node_pool import SpotNodePool
    from components.targets.kubernetes.endpoint import PodEndpoint

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
    readers, secret = _registry(given, planned, cluster)
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
            "front": [*front.resources, *readers],
            "registry": secret,
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
            "billing": [*billed(planned, made, pool_args, shares_nodes), *also_billed],
        },
    )
    return Deployed(planned, cluster, pool, endpoint)


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
        taint=None if given.shares_the_pool else _taint(given, name),
        storage_class=given.volume_class,
        spot=given.spot,
        domain=given.domain,
        allowed_cidrs=tuple(given.allowed_cidrs),
        idle_minutes=(given.idle_minutes or None) if given.parks_itself else None,
        keep_data=given.keep_data,
        parked=given.parked,
        registry=pod_registry(given),
        deploy=Deploy(given.deploy),
        operator_subscription=given.operator_subscription,
    )


def _taint(settings: GkeOvmsSettings, name: str) -> Taint:
    """Return Google's own label for Spot as a taint; a pool of ordinary nodes has ours."""
    return Taint(SPOT_LABEL, "true") if settings.spot else Taint(POOL_LABEL, name)


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
        "parked": settings.parks_nodes,
    }


def _registry(
    given: GkeOvmsSettings, planned: PodPlan, cluster: Cluster
) -> tuple[Sequence[pulumi.Resource], pulumi.Output[Mapping[str, str]] | None]:
    """Let pods read their registry: return what they wait for, and the data of their Secret."""
    from components.targets.gke.registry import RegistryReader

    registry = planned.registry
    if registry is None:
        return (), None
    if registry.access is RegistryAccess.SECRET:
        asked = {
            REGISTRY_KEY_ID: given.registry_key_id,
            REGISTRY_SECRET_KEY: given.registry_secret_key,
        }
        data = {name: as_output(value) for name, value in asked.items() if value is not None}
        return (), pulumi.Output.all(**data)
    zone = _zone(given)
    reader = RegistryReader(
        NAME,
        {
            "registry": registry,
            "base_name": planned.base_name,
            "project": cluster.path.project,
            "region": region_of(zone),
            "zone": zone,
            "cluster": [cluster.identifier, cluster.account],
            "namespace": planned.namespace,
            "account": SERVERS,
        },
    )
    return reader.resources, reader.secret


def _zone(settings: GkeOvmsSettings) -> str:
    """Return the zone of the nodes: that of a zonal cluster, else the configured one."""
    path = settings.cluster_path()
    location = settings.zone if path is None else path[1]
    is_region = location.count("-") == 1
    return settings.zone if is_region else location


def _parked_at(planned: PodPlan, cluster: ClusterPath) -> str:
    """Return when the idle job last parked a server; "" for never, and for a parked stack."""
    from scripts.gke.parked import last_parked

    if planned.parked or planned.deploy is not Deploy.DEPLOYMENT:
        return ""
    names = [server.name for server in planned.servers]
    return last_parked(
        cluster.project, cluster.location, cluster.name, planned.namespace, names, os.environ
    )


def _gke_ovms(settings: Settings) -> GkeOvmsSettings:
    if not isinstance(settings, GkeOvmsSettings):
        raise TypeError(f"gke-ovms takes GkeOvmsSettings, not {type(settings).__name__}")
    return settings
