"""What the keys of a cluster must fit together for: its place, its nodes, and how it is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from components.catalogue.gcp import (
    MachineType,
    catalogue,
    find_machine_type,
    not_offered,
    region_of,
)
from components.catalogue.gke import (
    HYPERDISK_CLASS,
    boot_disk_types,
    for_pods,
    room_in_words,
    wrong_boot_disk,
    wrong_storage_class,
)
from components.settings.base import Problem

if TYPE_CHECKING:
    from components.settings.gke import GkeSettings

_OF_A_CLUSTER_THAT_IS_MADE = (
    *("control_plane_cidrs", "release_channel", "system_machine_type"),
    *("nat", "network", "subnetwork"),
)
_GATEWAY_CPUS, _GATEWAY_MEMORY_GB = 1, 1
_LONGEST_CERTIFIED = 63
"""Characters of a domain: cloud.google.com/kubernetes-engine/docs/how-to/managed-certs, of another
kind of certificate that Google signs; of Certificate Manager's no limit is documented."""
_EXPOSED = "scripts/pulumi config set expose load_balancer"


def _cluster_is_in_reach(settings: GkeSettings) -> Iterator[Problem]:
    path = settings.cluster_path()
    if path is None:
        return
    project, location, _ = path
    if project != settings.project:
        yield Problem(
            "cluster",
            f"it is of the project {project}, and all else is made in gcp:project, "
            f"{settings.project!r}",
            f"scripts/pulumi config set gcp:project {project}",
        )
    if settings.region not in {location, region_of(location)}:
        yield Problem(
            "cluster",
            f"it lies in {location}, and gcp:zone is {settings.zone!r}: its nodes can't be there",
            f"scripts/pulumi config set gcp:zone {_zone_in(location)}",
        )


def _zone_in(location: str) -> str:
    letters = catalogue().zones.get(location)
    return f"{location}-{letters[0]}" if letters else location


def _keys_are_for_this_cluster(settings: GkeSettings) -> Iterator[Problem]:
    if settings.owns_cluster:
        return
    fields = type(settings).model_fields
    # `nat false` asks for nothing.
    asked = [
        key
        for key in _OF_A_CLUSTER_THAT_IS_MADE
        if getattr(settings, key) not in (fields[key].default, False)
    ]
    for key in asked:
        beside = key == "network" and "subnetwork" in asked
        if key == "subnetwork" and "network" in asked:
            continue
        also = " && scripts/pulumi config rm subnetwork" if beside else ""
        yield Problem(
            key,
            f"it is for a cluster that is made{', as is subnetwork' if beside else ''}, and "
            "cluster names one that is there",
            f"scripts/pulumi config rm {key}{also}, or scripts/pulumi config rm cluster",
        )


def _nodes_reach_the_internet(settings: GkeSettings) -> Iterator[Problem]:
    if settings.nat is not False or not settings.owns_network:
        return
    yield Problem(
        "nat",
        "the nodes have no addresses of their own, and the network that is made has no other way "
        "out: neither images nor models could be pulled",
        "scripts/pulumi config rm nat, or scripts/pulumi config set network NAME",
    )


def _nodes_are_offered(settings: GkeSettings) -> Iterator[Problem]:
    machine = settings.machine()
    said = machine and not_offered(machine, settings.region)
    if machine and said:
        steps = _another("node_machine_type", machine, settings)
        yield Problem("node_machine_type", f"{said} (gcp:zone)", steps)


def _system_node_is_offered(settings: GkeSettings) -> Iterator[Problem]:
    machine = settings.system_machine()
    said = machine and settings.owns_cluster and not_offered(machine, settings.region)
    if machine and said:
        steps = _another("system_machine_type", machine, settings)
        yield Problem("system_machine_type", f"{said} (gcp:zone)", steps)


def _another(key: str, machine: MachineType, settings: GkeSettings) -> str:
    """Return the commands for the usual machine type, where the region has it, and a zone."""
    usual = str(type(settings).model_fields[key].default)
    found = find_machine_type(usual)
    there = found is not None and not_offered(found, settings.region) is None
    regions = sorted(machine.series.regions)
    part = settings.region.partition("-")[0]
    near = next((name for name in regions if name.startswith(part)), regions[0])
    return (
        f"scripts/pulumi config set {key} {usual if there else 'VALUE'}, or "
        f"scripts/pulumi config set gcp:zone {_zone_in(near)}"
    )


def _system_node_has_room(settings: GkeSettings) -> Iterator[Problem]:
    machine = settings.system_machine()
    if machine is None or not settings.owns_cluster:
        return
    room = for_pods(machine)
    if room.cpus >= _GATEWAY_CPUS and room.memory_gb >= _GATEWAY_MEMORY_GB:
        return
    yield Problem(
        "system_machine_type",
        f"{room_in_words(machine)}; the gateway is to have {_GATEWAY_CPUS} and "
        f"{_GATEWAY_MEMORY_GB} GB",
        "scripts/pulumi config set system_machine_type e2-standard-2",
    )


def _boot_disk_is_the_machines(settings: GkeSettings) -> Iterator[Problem]:
    machine, disk_type = settings.machine(), settings.node_disk_type
    if machine is None or disk_type is None:
        return
    if said := wrong_boot_disk(machine, disk_type):
        yield Problem(
            "node_disk_type",
            said,
            f"scripts/pulumi config set node_disk_type {boot_disk_types(machine)[0]}, or "
            "scripts/pulumi config rm node_disk_type",
        )


def _volumes_are_the_machines(settings: GkeSettings) -> Iterator[Problem]:
    machine, storage_class = settings.machine(), settings.storage_class
    if machine is None or storage_class is None:
        return
    if said := wrong_storage_class(machine, storage_class):
        yield Problem("storage_class", said, "scripts/pulumi config rm storage_class")


def _spot_is_offered(settings: GkeSettings) -> Iterator[Problem]:
    machine = settings.machine()
    if not settings.spot or machine is None or machine.series.spot:
        return
    yield Problem(
        "spot",
        f"{machine.series.name} is not offered as Spot (node_machine_type)",
        "scripts/pulumi config set spot false",
    )


def _replicas_have_an_order(settings: GkeSettings) -> Iterator[Problem]:
    if settings.max_replicas is None or settings.max_replicas >= settings.replicas:
        return
    yield Problem(
        "max_replicas",
        f"it is the most, and the fewest are {settings.replicas} (replicas)",
        f"scripts/pulumi config set max_replicas {settings.replicas}, or "
        f"scripts/pulumi config set replicas {settings.max_replicas}",
    )


def _what_is_internal_is_asked_for_from_inside(settings: GkeSettings) -> Iterator[Problem]:
    if settings.expose != "internal":
        return
    if settings.allowed_cidrs:
        yield Problem(
            "allowed_cidrs",
            "expose is 'internal', where nobody comes from outside the cluster, and it would keep "
            "nobody out inside",
            f"scripts/pulumi config rm allowed_cidrs, or {_EXPOSED}",
        )
    if settings.domain is not None:
        yield Problem(
            "domain",
            "expose is 'internal', where clients ask for the Service by its name in the cluster",
            f"scripts/pulumi config rm domain, or {_EXPOSED}",
        )
    if settings.dns_zone is not None:
        yield Problem(
            "dns_zone",
            "expose is 'internal', where it has no effect: clients ask for the Service by its name "
            "in the cluster, and no record is made",
            f"scripts/pulumi config rm dns_zone, or {_EXPOSED}",
        )


def _what_is_exposed_says_to_whom(settings: GkeSettings) -> Iterator[Problem]:
    if settings.expose == "internal" or settings.allowed_cidrs:
        return
    yield Problem(
        "allowed_cidrs",
        f"expose is {settings.expose!r}: it says who may come, as in 203.0.113.7/32",
        "scripts/pulumi config set allowed_cidrs $(curl -s https://checkip.amazonaws.com)/32, or "
        "scripts/pulumi config set expose internal",
    )


def _gateway_has_a_domain(settings: GkeSettings) -> Iterator[Problem]:
    if settings.expose != "gateway" or settings.domain is not None:
        return
    yield Problem(
        "domain",
        "expose is 'gateway', whose certificate Google signs for a domain",
        f"scripts/pulumi config set domain llm.example.org, or {_EXPOSED}",
    )


def unseen(settings: GkeSettings) -> Iterator[str]:
    """Yield what must be there already, or is not known, in words."""
    six = [text for text in settings.allowed_cidrs if ":" in text]
    if six:
        yield (
            f"allowed_cidrs holds {', '.join(six)}, and the endpoint has an IPv4 address alone: "
            "who comes from there comes by IPv4"
        )
    path = settings.cluster_path()
    if path is not None and path[1] not in {settings.zone, settings.region}:
        yield (
            f"cluster {path[2]} lies in {path[1]}, and the models' nodes go to gcp:zone, "
            f"{settings.zone}: traffic between the two is billed, and either may fail alone"
        )
    if settings.expose == "gateway" and len(settings.domain or "") > _LONGEST_CERTIFIED:
        yield (
            f"domain {settings.domain} has {len(settings.domain or '')} characters, and GKE's "
            f"documentation of certificates that Google signs names {_LONGEST_CERTIFIED} as the "
            "most: it may be refused"
        )
    if settings.owns_cluster and settings.network is not None and settings.nat is None:
        yield (
            f"network {settings.network}: the nodes have no addresses of their own and no Cloud "
            "NAT is made in it, so that they reach the internet only if it has one: nat true makes "
            "one, and nat false says that it has"
        )
    if settings.storage_class is None and settings.volume_class == HYPERDISK_CLASS:
        yield (
            f"{settings.node_machine_type} takes volumes of Hyperdisk alone, for which GKE has no "
            f"storage class of its own: {HYPERDISK_CLASS} has to be in the cluster, with the "
            "provisioner pd.csi.storage.gke.io and volumeBindingMode WaitForFirstConsumer, or "
            "storage_class names another"
        )
    unknown = {
        "node_machine_type": (settings.machine(), settings.node_machine_type),
        "system_machine_type": (settings.system_machine(), settings.system_machine_type),
    }
    for key, (machine, name) in unknown.items():
        if machine is None:
            yield (
                f"the catalogue does not know the machine type {name} ({key}): whether it is "
                "there, which disks it takes and what fits it is not checked"
            ) + (_guessed_disks(settings) if key == "node_machine_type" else "")


def _guessed_disks(settings: GkeSettings) -> str:
    """Return in words which disks such nodes are given that nobody has named."""
    guesses = {
        "boot disks": ("node_disk_type", settings.node_disk_type, settings.node_disk),
        "volumes": ("storage_class", settings.storage_class, settings.volume_class),
    }
    said = [
        f"{what} {guess} ({key})" for what, (key, set_to, guess) in guesses.items() if not set_to
    ]
    return f"; a guess, to be set where it is wrong: {' and '.join(said)}" if said else ""


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeSettings], Iterator[Problem]]], ...] = (
    (("cluster", "gcp:project", "gcp:zone"), _cluster_is_in_reach),
    (("cluster", *_OF_A_CLUSTER_THAT_IS_MADE), _keys_are_for_this_cluster),
    (("nat", "cluster", "network"), _nodes_reach_the_internet),
    (("node_machine_type", "gcp:zone"), _nodes_are_offered),
    (("system_machine_type", "gcp:zone", "cluster"), _system_node_is_offered),
    (("system_machine_type", "cluster"), _system_node_has_room),
    (("node_machine_type", "node_disk_type"), _boot_disk_is_the_machines),
    (("node_machine_type", "storage_class"), _volumes_are_the_machines),
    (("node_machine_type", "spot"), _spot_is_offered),
    (("replicas", "max_replicas"), _replicas_have_an_order),
    (("expose", "allowed_cidrs", "domain", "dns_zone"), _what_is_internal_is_asked_for_from_inside),
    (("expose", "allowed_cidrs"), _what_is_exposed_says_to_whom),
    (("expose", "domain"), _gateway_has_a_domain),
)
