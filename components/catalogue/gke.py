"""What a node of Google Kubernetes Engine has for pods, and which disks its machine takes.

Reserved by GKE: cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes, and the same rule
in github.com/kubernetes/autoscaler, cluster-autoscaler/cloudprovider/gce/reserved.go (729ba955). It
counts a GB as 1000 MiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.catalogue.gcp import MachineType

_MIB = 2**20
_GIB = 2**30

_SHARED_CORE = ("e2-micro", "e2-small", "e2-medium")
_SHARED_CORE_MILLI_CPUS = 940
"""What GKE gives pods of the two half processors of such a machine: all but 1060m of 2000m."""

_CPU_STEPS = ((1, 60), (1, 10), (2, 5))
"""Processors, and thousandths of each that are reserved; of every further one it is 2.5."""

_MEMORY_STEPS = ((4, 25), (4, 20), (8, 10), (112, 6))
"""GB of memory, and the percentage of them that is reserved; of what is above, 2 percent."""
_MIB_OF_A_GB = 1000
_EVICTION_MIB = 100
"""The kubelet evicts pods before less than this is free."""
_KERNEL_MIB = 80
_KERNEL_SHARE = 1 / 64
"""What the kernel has taken before the kubelet counts: its page table, and its own image."""

SYSTEM_MILLI_CPUS = 750
SYSTEM_MEMORY_BYTES = 2 * _GIB
"""What GKE's own pods on every node ask for, taken a little high: logging, metrics, network policy,
disks, identity. They ask for about 400m to 700m, and 0.6 to 1 GiB, more by what is turned on."""


@dataclass(frozen=True)
class Allocatable:
    """What of a node Kubernetes gives to pods, GKE's own among them."""

    milli_cpus: int
    memory_bytes: int


@dataclass(frozen=True)
class NodeRoom:
    """What of a node is left for pods that are not GKE's: whole processors, and GiB."""

    cpus: int
    memory_gb: int

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        return self.memory_gb * _GIB


def allocatable(machine: MachineType) -> Allocatable:
    """Return what of a node of that machine type Kubernetes gives to pods."""
    memory = machine.memory_bytes / _MIB
    seen = memory * (1 - _KERNEL_SHARE) - _KERNEL_MIB
    left = seen - _reserved_mib(memory) - _EVICTION_MIB
    return Allocatable(_milli_cpus(machine), max(0, int(left)) * _MIB)


def _milli_cpus(machine: MachineType) -> int:
    if machine.name in _SHARED_CORE:
        return _SHARED_CORE_MILLI_CPUS
    reserved, rest = 0.0, machine.vcpus
    for count, each in _CPU_STEPS:
        reserved += min(rest, count) * each
        rest -= min(rest, count)
    return int(machine.vcpus * 1000 - reserved - rest * 2.5)


def _reserved_mib(memory_mib: float) -> float:
    if memory_mib <= _MIB_OF_A_GB:
        return 255.0
    reserved, rest = 0.0, memory_mib
    for gigabytes, percent in _MEMORY_STEPS:
        step = min(rest, gigabytes * _MIB_OF_A_GB)
        reserved += step * percent / 100
        rest -= step
    return reserved + rest * 2 / 100


def for_pods(machine: MachineType) -> NodeRoom:
    """Return what a node of that machine type has left for pods that are not GKE's own."""
    all_pods = allocatable(machine)
    return NodeRoom(
        cpus=max(0, all_pods.milli_cpus - SYSTEM_MILLI_CPUS) // 1000,
        memory_gb=max(0, all_pods.memory_bytes - SYSTEM_MEMORY_BYTES) // _GIB,
    )


def room_in_words(machine: MachineType) -> str:
    """Return how much of a machine is left for pods, and what takes the rest."""
    whole, room = allocatable(machine), for_pods(machine)
    return (
        f"a node of {machine.name} ({machine.vcpus} processors, "
        f"{machine.memory_bytes / _GIB:g} GB) has {in_words(room)} "
        f"left: Kubernetes gives pods {whole.milli_cpus / 1000:.2f} and "
        f"{whole.memory_bytes / _GIB:.1f} GB of it, and GKE's own pods take "
        f"{SYSTEM_MILLI_CPUS / 1000:g} and {SYSTEM_MEMORY_BYTES / _GIB:g} GB of that"
    )


def in_words(room: NodeRoom) -> str:
    """Return processors and memory in words."""
    return f"{room.cpus} processor{'' if room.cpus == 1 else 's'} and {room.memory_gb} GB"


_PERSISTENT = ("pd-balanced", "pd-ssd", "pd-standard")
_THIRD = (
    *("pd-balanced", "pd-ssd", "hyperdisk-balanced", "hyperdisk-balanced-high-availability"),
    *("hyperdisk-extreme", "hyperdisk-ml", "hyperdisk-throughput"),
)
_FOURTH = (*("hyperdisk-balanced", "hyperdisk-balanced-high-availability", "hyperdisk-throughput"),)

DISK_TYPES: Mapping[str, tuple[str, ...]] = {
    "e2": _PERSISTENT,
    "n1": _PERSISTENT,
    "n2": (*_PERSISTENT, "pd-extreme", "hyperdisk-extreme", "hyperdisk-throughput"),
    "n2d": (*_PERSISTENT, "hyperdisk-throughput"),
    "t2d": (*_PERSISTENT, "hyperdisk-throughput"),
    "c2": _PERSISTENT,
    "c2d": _PERSISTENT,
    "c3": _THIRD,
    "c3d": _THIRD,
    "n4": _FOURTH,
    "n4d": _FOURTH,
    "c4": (*_FOURTH, "hyperdisk-extreme"),
    "c4d": ("hyperdisk-balanced", "hyperdisk-throughput"),
    "m4": ("hyperdisk-balanced", "hyperdisk-extreme"),
}
"""The disk types that all machine types of a series take, by series; of one that is not here only
`Series.disk` is known. Sources: cloud.google.com/compute/docs/general-purpose-machines and its
sister page on compute-optimized machines, as two unrelated public Terraform modules keep them, and
the compatibility table of Google's CSI driver for persistent disks; read 2026-11-21."""

BOOT_DISK_TYPES = ("pd-balanced", "hyperdisk-balanced", "pd-ssd", "pd-standard")
"""What a node can boot from, as far as its machine takes it (the provider's documentation of
`google_container_node_pool`, `disk_type`)."""

STORAGE_CLASSES: Mapping[str, str] = {
    "standard-rwo": "pd-balanced",
    "premium-rwo": "pd-ssd",
    "standard": "pd-standard",
}
"""The storage classes that every cluster of GKE has, and the disk type of each."""

HYPERDISK_CLASS = "hyperdisk-balanced"
"""The class of volumes for machines that take no persistent disks: one that a person makes."""


def boot_disk_types(machine: MachineType) -> tuple[str, ...]:
    """Return the disk types that a node of that machine type boots from, the best choice first."""
    first = machine.series.disk
    takes = DISK_TYPES.get(machine.series.name, (first,))
    others = (kind for kind in BOOT_DISK_TYPES if kind in takes and kind != first)
    return (first, *others)


def wrong_boot_disk(machine: MachineType, disk_type: str) -> str | None:
    """Return why a node of that machine type can't boot from `disk_type`; None where it can.

    Of a series whose disk types are not all known, only what none can boot from is wrong.
    """
    can = boot_disk_types(machine)
    if disk_type in can:
        return None
    if disk_type not in BOOT_DISK_TYPES:
        return f"a node does not boot from {disk_type}; one of {machine.name} takes {_or(can)}"
    if machine.series.name not in DISK_TYPES:
        return None
    return f"{machine.name} can't attach {disk_type}; it boots from {_or(can)}"


def default_storage_class(machine: MachineType | None) -> str:
    """Return the storage class for volumes on nodes of that machine type; None is an unknown one.

    `HYPERDISK_CLASS` is not there by itself.
    """
    first = next(iter(STORAGE_CLASSES))
    if machine is None or machine.series.disk == STORAGE_CLASSES[first]:
        return first
    return HYPERDISK_CLASS


def wrong_storage_class(machine: MachineType, storage_class: str) -> str | None:
    """Return why volumes of `storage_class` can't be attached to that machine type.

    None where they can, and for a class of a person's own, whose disks nobody here knows.
    """
    disk_type = STORAGE_CLASSES.get(storage_class)
    takes = DISK_TYPES.get(machine.series.name)
    if disk_type is None or takes is None or disk_type in takes:
        return None
    good = [name for name, kind in STORAGE_CLASSES.items() if kind in takes]
    return f"its volumes are {disk_type}, which {machine.name} can't attach; it takes " + (
        _or(good) if good else f"a class whose volumes are {_or(takes)}, which you make"
    )


def _or(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
