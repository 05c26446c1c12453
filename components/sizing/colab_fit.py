"""How large a notebook runtime is on a kind of node, and whether one holds it."""

from __future__ import annotations

from dataclasses import dataclass

from components.catalogue.gcp import MachineType
from components.catalogue.gke import NodeRoom, for_pods, in_words, room_in_words
from components.sizing.gpu_fit import Change
from components.sizing.packing import holds
from components.sizing.pod_changes import change, together
from components.sizing.pod_fit import PoolProblem, larger_machines
from components.sizing.pod_tuning import Neighbour

USUAL = NodeRoom(20, 64)
"""What a runtime is given unless it is said, as far as a node has that much left."""
WITHOUT = (("runtime_replicas", "0"), ("parked", "true"))
"""Either of which parks the runtime, or what it would stand beside."""
_LEAST = NodeRoom(1, 1)


@dataclass(frozen=True)
class RuntimeWanted:
    """What a person has chosen for a runtime, and None where they leave it open; GiB of memory."""

    cpus: int | None = None
    memory_gb: int | None = None


def runtime_room(machine: MachineType | None, wanted: RuntimeWanted) -> NodeRoom:
    """Return the processors and the memory of a runtime on nodes of that machine type.

    Of a machine type that the catalogue does not know, nothing tells what is left.
    """
    left = USUAL if machine is None else for_pods(machine)
    return NodeRoom(
        min(USUAL.cpus, left.cpus) if wanted.cpus is None else wanted.cpus,
        min(USUAL.memory_gb, left.memory_gb) if wanted.memory_gb is None else wanted.memory_gb,
    )


def neighbour(room: NodeRoom) -> Neighbour:
    """Return the runtime as what stands beside the pods that serve models."""
    return Neighbour("a runtime", room, WITHOUT)


def has_any(machine: MachineType | None) -> bool:
    """Whether a node has anything left for pods, as far as is known."""
    return machine is None or holds(for_pods(machine), _LEAST)


def runtime_shortfall(
    machine: MachineType | None, wanted: RuntimeWanted, machine_type: str, region: str = ""
) -> PoolProblem | None:
    """Return what keeps the runtime off every node, whatever else is there; None where it fits.

    `region` is where machine types that are offered instead have to be; "" is anywhere.
    """
    if machine is None:
        return _unknown(wanted, machine_type)
    room, asked = for_pods(machine), runtime_room(machine, wanted)
    least = NodeRoom(max(asked.cpus, _LEAST.cpus), max(asked.memory_gb, _LEAST.memory_gb))
    larger = larger_machines(machine, least, region)
    if not holds(asked, _LEAST):
        said = f"nothing is left for a runtime: {room_in_words(machine)}"
        return PoolProblem("node_machine_type", said, larger)
    if holds(room, asked):
        return None
    smaller: list[Change] = []
    if asked.cpus > room.cpus:
        smaller.append(change("runtime_cpus", room.cpus))
    if asked.memory_gb > room.memory_gb:
        smaller.append(change("runtime_memory_gb", room.memory_gb))
    said = f"a runtime that asks for {in_words(asked)} finds no node: {room_in_words(machine)}"
    ways = (together(smaller), *larger) if holds(room, _LEAST) else larger
    return PoolProblem(str(smaller[0].key), said, ways)


def _unknown(wanted: RuntimeWanted, machine_type: str) -> PoolProblem | None:
    sizes = {"runtime_cpus": wanted.cpus, "runtime_memory_gb": wanted.memory_gb}
    unset = [key for key, size in sizes.items() if size is None]
    if not unset:
        return None
    said = (
        f"{machine_type}: the catalogue does not know the nodes' machine type, and so not what one "
        f"has left for a runtime: set {'both ' if len(unset) > 1 else ''}{' and '.join(unset)}"
    )
    return PoolProblem(unset[0], said, unset=tuple(unset))
