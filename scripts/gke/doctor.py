"""What a stack in a cluster needs of Google Cloud: the cluster itself, nodes in a zone, quota."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.catalogue.gcp import region_of
from components.serving.colab import storage_class
from components.settings import GkeColabSettings, GkeOvmsSettings, GkeSettings
from scripts.bootstrap.finding import Finding
from scripts.gcp import quota
from scripts.gcp.quota import Need, Quota
from scripts.gcp.rest import COMPUTE, ApiError, GoogleApi
from scripts.gke import clusters, registry
from scripts.verify.shape import Json, dig, dig_count, dig_text

SYSTEM_DISK_GB = 50
_BALANCED = "pd-balanced"
_DISK_OF_CLASS = {
    "standard-rwo": _BALANCED,
    "premium-rwo": "pd-ssd",
    "standard": "pd-standard",
    "hyperdisk-balanced": "hyperdisk-balanced",
}
"""Disk types of GKE's own storage classes (cloud.google.com/kubernetes-engine/docs/concepts/\
persistent-volumes); the last one is what stacks on newer machines name."""
_RUNNING = "RUNNING"


@dataclass(frozen=True)
class Place:
    """Where a stack's cluster is, or is to be: `location` is a zone, or a region."""

    project: str
    location: str
    name: str
    zone: str


def place_of(settings: GkeSettings, base_name: str) -> Place:
    """Return where the cluster of `settings` is, whose name is `base_name` where it is made."""
    path = settings.cluster_path() or (settings.project, settings.zone, base_name)
    project, location, name = path
    is_region = location.count("-") == 1
    return Place(project, location, name, settings.zone if is_region else location)


def configuration(settings: GkeSettings) -> Finding:
    """Return what the configuration makes, in a few words."""
    how = "Spot" if settings.spot else "standard"
    place = place_of(settings, "a new cluster")
    runtime = ""
    if isinstance(settings, GkeColabSettings):
        runtime = "; a notebook runtime" if settings.runs_runtime else "; its runtime parked"
    return Finding(
        "ok",
        f"configuration: at most {settings.max_nodes} of {settings.node_machine_type} ({how}) in "
        f"{place.zone}, {place.name}{runtime}",
    )


def findings(
    api: GoogleApi, settings: GkeSettings, base_name: str, *, container: bool
) -> Iterator[Finding]:
    """Yield what of cluster, machine types and quota was found.

    `container`: GKE's API is enabled, and may be asked.
    """
    place = place_of(settings, base_name)
    exists = False
    if container:
        found, exists = _cluster(api, settings, place)
        yield from found
    else:
        yield Finding("note", "not looked at before the API container is enabled: the cluster")
    kinds = {"node_machine_type": settings.node_machine_type}
    if settings.owns_cluster:
        kinds["system_machine_type"] = settings.system_machine_type
    vcpus: dict[str, int] = {}
    for key, kind in kinds.items():
        found_type, count = _machine_type(api, place, key, kind)
        yield found_type
        vcpus[key] = count
    if all(vcpus.values()):
        yield from _quotas(api, settings, place, vcpus, exists=exists)
    if isinstance(settings, GkeOvmsSettings):
        yield from registry.findings(api, settings)


def _cluster(api: GoogleApi, settings: GkeSettings, place: Place) -> tuple[list[Finding], bool]:
    """Look whether the cluster is there, and whether one that was found will do."""
    path = clusters.path_of(place.project, place.location, place.name)
    try:
        cluster = clusters.describe(api, path)
    except ApiError as error:
        if error.status != 404:
            return [Finding("note", f"cluster {place.name}: Google does not tell ({error})")], False
        if settings.owns_cluster:
            return [Finding("ok", f"cluster {place.name}: up makes it")], False
        step = (
            f"gcloud container clusters list --project {place.project}, then scripts/pulumi config "
            "set cluster NAME (or: config rm cluster, and one is made)"
        )
        text = f"cluster {place.name}: there is none in {place.location}"
        return [Finding("problem", text, step)], False
    status = dig_text(cluster, "status")
    if status != _RUNNING:
        text = f"cluster {place.name} is {status or 'in an unknown state'}"
        return [Finding("note", text)], True
    wrong = [] if settings.owns_cluster else list(_unfit(cluster, settings, place))
    return wrong or [Finding("ok", f"cluster {place.name} is there")], True


def _unfit(cluster: Json, settings: GkeSettings, place: Place) -> Iterator[Finding]:
    """Yield what a cluster that was there lacks."""
    name = f"cluster {place.name}"
    change = (
        f"gcloud container clusters update {place.name} --location {place.location} "
        f"--project {place.project}"
    )
    another = "scripts/pulumi config rm cluster (and one is made), or name another"
    if dig(cluster, "autopilot", "enabled") is True:
        yield Finding("problem", f"{name} is an Autopilot one, which takes no node pools", another)
        return
    if dig(cluster, "ipAllocationPolicy", "useIpAliases") is not True:
        yield Finding("problem", f"{name} is not VPC-native", another)
    if not dig_text(cluster, "workloadIdentityConfig", "workloadPool"):
        yield Finding(
            "problem",
            f"{name} has no Workload Identity, without which pods act as their nodes",
            f"{change} --workload-pool {place.project}.svc.id.goog",
        )
    if clusters.access_of(cluster) is None:
        yield Finding(
            "problem",
            f"{name} has no control plane that can be reached from here",
            f"{change} --enable-dns-access",
        )
    network = dig(cluster, "networkConfig")
    if (
        dig_text(network, "datapathProvider") != "ADVANCED_DATAPATH"
        and dig(cluster, "networkPolicy", "enabled") is not True
    ):
        yield Finding(
            "problem",
            f"{name} does not enforce network policies: any pod of it can ask the models without "
            "a key",
            "enable Dataplane V2 (in a new cluster) or its network policy add-on",
        )
    channel = dig_text(network, "gatewayApiConfig", "channel")
    if settings.expose == "gateway" and channel in ("", "CHANNEL_DISABLED"):
        yield Finding(
            "problem",
            f"{name} has no Gateway API, which expose gateway takes",
            f"{change} --gateway-api standard",
        )


def _machine_type(api: GoogleApi, place: Place, key: str, kind: str) -> tuple[Finding, int]:
    """Look whether the zone has a machine type; its vCPUs beside it, 0 where nobody tells."""
    path = f"projects/{place.project}/zones/{place.zone}/machineTypes/{kind}"
    try:
        found = api.get(COMPUTE, path)
    except ApiError as error:
        what = f"machine type {kind}"
        if error.status != 404:
            text = f"{what} in {place.zone}: Google does not tell ({error})"
            return Finding("note", text), 0
        step = (
            f"gcloud compute machine-types list --project {place.project} --zones {place.zone}, "
            f"then scripts/pulumi config set {key} NAME (or another gcp:zone)"
        )
        return Finding("problem", f"{place.zone} has no {what}: {error}", step), 0
    vcpus = dig_count(found, "guestCpus") or 0
    memory = dig_count(found, "memoryMb") or 0
    text = f"machine type {kind} in {place.zone}: {vcpus} vCPUs, {memory / 1024:g} GB"
    return Finding("ok", text), vcpus


def _quotas(
    api: GoogleApi, settings: GkeSettings, place: Place, vcpus: Mapping[str, int], *, exists: bool
) -> Iterator[Finding]:
    region = region_of(place.zone)
    project = f"projects/{place.project}"
    try:
        quotas = {
            region: quota.read(api.get(COMPUTE, f"{project}/regions/{region}")),
            None: quota.read(api.get(COMPUTE, project)),
        }
    except ApiError as error:
        yield Finding("note", f"quota: Google does not tell ({error})", quota.page(place.project))
        return
    wanted = needs(settings, vcpus, region, quotas[region])
    # A cluster that was there before has none of what this stack takes.
    yield from quota.findings(
        wanted, quotas, place.project, exists=exists and settings.owns_cluster
    )


def needs(
    settings: GkeSettings, vcpus: Mapping[str, int], region: str, regional: Mapping[str, Quota]
) -> list[Need]:
    """Return what a stack takes at most, by its keys' machine types' `vcpus`, one need a quota."""
    spot_quota = regional.get(quota.SPOT_CPUS)
    has_spot_quota = spot_quota is not None and spot_quota.limit > 0
    nodes = settings.max_nodes
    of_nodes = quota.cpu_metric(settings.node_machine_type)
    if settings.spot and has_spot_quota:
        of_nodes = quota.SPOT_CPUS
    cpus = [Need(of_nodes, nodes * vcpus["node_machine_type"], region)]
    disks = [(settings.node_disk, nodes * settings.node_disk_gb), *_volumes(settings)]
    if settings.owns_cluster:
        metric = quota.cpu_metric(settings.system_machine_type)
        cpus.append(Need(metric, vcpus["system_machine_type"], region))
        disks.append((_BALANCED, SYSTEM_DISK_GB))
    every = Need(quota.ALL_REGIONS_CPUS, sum(need.amount for need in cpus), None)
    found = [*cpus, every, *quota.disk_needs(disks, region)]
    if settings.expose == "load_balancer":
        found += [Need("STATIC_ADDRESSES", 1, region), Need("IN_USE_ADDRESSES", 1, region)]
    elif settings.expose == "gateway":
        found.append(Need("STATIC_ADDRESSES", 1, None))
    if settings.wants_nat:
        found.append(Need("ROUTERS", 1, None))
    if settings.owns_network:
        found.append(Need("NETWORKS", 1, None))
    return _summed(found)


def _volumes(settings: GkeSettings) -> Iterator[tuple[str, int]]:
    """Yield the disks of what is in pods, by type and GB; of a class of one's own nothing."""
    pods = settings.max_replicas or settings.replicas
    has_second = isinstance(settings, GkeOvmsSettings) and (
        settings.embeddings_model not in (None, settings.model)
    )
    wanted: list[tuple[str, int]] = []
    if not (isinstance(settings, GkeOvmsSettings) and settings.keeps_no_models):
        wanted.append((settings.volume_class, (pods + has_second) * settings.disk_gb()))
    if isinstance(settings, GkeOvmsSettings) and settings.classic_models:
        wanted.append((settings.volume_class, settings.classic_disk_gb))
    if isinstance(settings, GkeColabSettings):
        both = settings.runtime_data_gb + settings.runtime_libraries_gb
        wanted.append((storage_class(settings), both))
    for name, size_gb in wanted:
        kind = _DISK_OF_CLASS.get(name)
        if kind is not None:
            yield kind, size_gb


def _summed(wanted: list[Need]) -> list[Need]:
    amounts: dict[tuple[str, str | None], float] = {}
    for need in wanted:
        at = need.metric, need.region
        amounts[at] = amounts.get(at, 0) + need.amount
    return [Need(metric, amount, region) for (metric, region), amount in amounts.items()]
