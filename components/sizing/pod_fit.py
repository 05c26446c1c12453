"""Whether the nodes of a pool hold the pods, and these their models, and what would do instead.

A model is judged by its name: only what the least that it may take exceeds is surely too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from components.catalogue.gcp import MachineType, catalogue
from components.catalogue.gke import NodeRoom, for_pods, in_words, room_in_words
from components.engines import ovms
from components.models.need import Bounds, ModelNeed
from components.sizing.gpu_fit import Change, Shortfall
from components.sizing.pod_tuning import (
    GIB,
    PodSizeError,
    PodsWanted,
    TunedPod,
    chat_room,
    embeddings_room,
    kv_bytes_a_token,
    need_of,
    tuned_pods,
    without_cache,
)

_SHOWN_MACHINES = 3
_WITH_LOCAL_DISKS = "lssd"
"""The end of the names of machine types with disks of their own, which pods make no use of."""
_LEAST = NodeRoom(1, 1)


@dataclass(frozen=True)
class PoolProblem:
    """Pods that the pool's nodes can't hold: the key to change first, and what would do."""

    key: str
    said: str
    changes: tuple[Change, ...]

    @property
    def offered(self) -> str:
        """Return what would do, in words."""
        if not self.changes:
            return "take a larger node_machine_type"
        return f"any of these would do: {'; '.join(change.words for change in self.changes)}"


def pool_shortfall(
    machine: MachineType | None, wanted: PodsWanted, machine_type: str, max_nodes: int
) -> PoolProblem | None:
    """Return what keeps the pods off a pool of up to `max_nodes` nodes; None where they fit.

    Of a machine type that the catalogue does not know, all is taken that is asked for; nothing
    asked for is a problem of its own.
    """
    try:
        asked = chat_room(machine, wanted)
    except PodSizeError as error:
        return PoolProblem("pod_cpus", f"{machine_type}: {error}", ())
    if machine is None:
        return None
    return _too_large(machine, wanted, asked) or _too_many(machine, wanted, asked, max_nodes)


def _too_large(machine: MachineType, wanted: PodsWanted, asked: NodeRoom) -> PoolProblem | None:
    """Return what is wrong where not even one chat pod finds a node."""
    room, beside = for_pods(machine), embeddings_room(wanted)
    if _holds(room, asked) and _holds(asked, _LEAST) and _holds(room, beside):
        return None
    larger = _larger(machine, _together(wanted, asked))
    if not _holds(room, asked):
        key = "pod_cpus" if asked.cpus > room.cpus else "pod_memory_gb"
        said = f"a pod that asks for {in_words(asked)} finds no node: {room_in_words(machine)}"
        changes = [_set("pod_cpus", room.cpus)] if asked.cpus > room.cpus else []
        changes += [_set("pod_memory_gb", room.memory_gb)] * (asked.memory_gb > room.memory_gb)
        both = Change(" and ".join(change.words for change in changes))
        fits = _holds(room, _LEAST)
        ways = (changes if len(changes) == 1 else [both]) if fits else []
        return PoolProblem(key, said, (*ways, *larger))
    what = "nothing is left for a pod that serves a model"
    if wanted.embeddings_model is not None:
        what = f"the pod that makes embeddings asks for {in_words(beside)}, and {what}"
    return PoolProblem("node_machine_type", f"{what}: {room_in_words(machine)}", tuple(larger))


def _too_many(
    machine: MachineType, wanted: PodsWanted, asked: NodeRoom, max_nodes: int
) -> PoolProblem | None:
    """Return what is wrong where there are more pods than the nodes have room for."""
    nodes = nodes_for(for_pods(machine), wanted, asked)
    if nodes <= max_nodes:
        return None
    beside = embeddings_room(wanted)
    pods = f"{_pods(wanted.most_pods)} of {in_words(asked)}"
    if wanted.embeddings_model is not None:
        pods += f" and one of {in_words(beside)} for embeddings"
    said = f"{pods} take {nodes} nodes, and max_nodes is {max_nodes}: {room_in_words(machine)}"
    changes = [_set("max_nodes", nodes)]
    fewer = [
        count
        for count in range(wanted.most_pods - 1, 0, -1)
        if nodes_for(for_pods(machine), _with_pods(wanted, count), asked) <= max_nodes
    ]
    key = "replicas" if wanted.most_replicas is None else "max_replicas"
    if fewer and fewer[0] >= (1 if wanted.most_replicas is None else wanted.replicas):
        changes.append(_set(key, fewer[0]))
    if smaller := _shared(machine, wanted, max_nodes):
        changes.append(
            Change(f"pod_cpus {smaller.cpus} and pod_memory_gb {smaller.memory_gb} for each pod")
        )
    return PoolProblem("max_nodes", said, tuple(changes))


def nodes_for(room: NodeRoom, wanted: PodsWanted, asked: NodeRoom) -> int:
    """Return how many nodes with `room` the pods take: chat pods of `asked`, and the other."""
    a_node = _count(room, asked)
    if wanted.embeddings_model is None:
        return -(-wanted.most_pods // a_node)
    beside = embeddings_room(wanted)
    rest = NodeRoom(room.cpus - beside.cpus, room.memory_gb - beside.memory_gb)
    first = _count(rest, asked)
    return 1 + -(-max(0, wanted.most_pods - first) // a_node)


def _count(room: NodeRoom, asked: NodeRoom) -> int:
    return min(room.cpus // asked.cpus, room.memory_gb // asked.memory_gb)


def _shared(machine: MachineType, wanted: PodsWanted, max_nodes: int) -> NodeRoom | None:
    """Return the largest chat pods that fit `max_nodes` nodes together; None for none."""
    room, beside = for_pods(machine), embeddings_room(wanted)
    a_node = -(-wanted.most_pods // max_nodes)
    each = NodeRoom(
        (room.cpus - beside.cpus) // a_node, (room.memory_gb - beside.memory_gb) // a_node
    )
    return each if _holds(each, _LEAST) else None


def _with_pods(wanted: PodsWanted, count: int) -> PodsWanted:
    if wanted.most_replicas is None:
        return replace(wanted, replicas=count)
    return replace(wanted, most_replicas=count)


def _together(wanted: PodsWanted, asked: NodeRoom) -> NodeRoom:
    """Return what a node has to have left at least: the larger pod, or both where it is open."""
    beside = embeddings_room(wanted)
    cpus = max(asked.cpus, 1) if wanted.pod_cpus else beside.cpus + 1
    memory = max(asked.memory_gb, 1) if wanted.pod_memory_gb else beside.memory_gb + 1
    return NodeRoom(max(cpus, beside.cpus), max(memory, beside.memory_gb))


def _larger(machine: MachineType, least: NodeRoom) -> list[Change]:
    """Return the machine types with that much left, of the same series before the rest."""
    return [
        Change(f"node_machine_type {one.name}", "node_machine_type", one.name)
        for one in _machines(machine)
        if _holds(for_pods(one), least)
    ][:_SHOWN_MACHINES]


def _machines(machine: MachineType) -> Iterator[MachineType]:
    """Yield the machine types of the same series, the smallest first; then those of the others.

    Of the others only general ones that can be had as Spot are named.
    """
    for name in dict.fromkeys((machine.series.name, "c3", "n2", "e2")):
        series = catalogue().series[name]
        types = sorted(series.types.items(), key=lambda one: (one[1][1], one[1][0]))
        for kind, (vcpus, memory) in types:
            if not kind.endswith(_WITH_LOCAL_DISKS):
                yield MachineType(kind, series, vcpus, int(memory * GIB))


def model_shortfall(machine: MachineType | None, wanted: PodsWanted) -> Shortfall | None:
    """Return what a chat pod lacks for its model; None where it is likely to fit, or not known.

    To be asked where `pool_shortfall` has nothing to say.
    """
    need = need_of(wanted.engine, wanted.model)
    if need is None:
        return None
    pod = tuned_pods(machine, wanted).chat
    rest, cache = without_cache(wanted.engine, need), _cache(wanted, need, pod)
    taken = rest + cache
    if taken.likely <= pod.memory_bytes:
        return _too_short(wanted, need, pod)
    surely = taken.least > pod.memory_bytes
    total, kv = (taken.least, cache.least) if surely else (taken.likely, cache.likely)
    weights = need.weights.least if surely else need.weights.likely
    said = (
        f"by its name it takes {'at least' if surely else 'about'} {_gb(total)} of memory "
        f"({_gb(weights)} weights, {_gb(kv)} KV cache, {_gb(total - weights - kv)} for the rest), "
        f"and its pod has {_gb(pod.memory_bytes)}: {_gb(total - pod.memory_bytes)} "
        f"{'are' if surely else 'may be'} missing"
    )
    return Shortfall(surely, said, tuple(_changes(machine, wanted, need, pod)))


def _cache(wanted: PodsWanted, need: ModelNeed, pod: TunedPod) -> Bounds:
    if pod.cache_gb is not None:
        return Bounds(pod.cache_gb * GIB, pod.cache_gb * GIB)
    tokens = pod.context_tokens * pod.slots
    return kv_bytes_a_token(wanted.engine, need, pod.kv_type).times(tokens)


def _too_short(wanted: PodsWanted, need: ModelNeed, pod: TunedPod) -> Shortfall | None:
    """Return what is wrong where not even one request of the length that is asked for has room."""
    if pod.cache_gb is None or wanted.context_tokens is None:
        return None
    each = kv_bytes_a_token(wanted.engine, need, pod.kv_type)
    taken, room = each.times(wanted.context_tokens), pod.cache_gb * GIB
    if taken.likely <= room:
        return None
    surely = taken.least > room
    total = taken.least if surely else taken.likely
    said = (
        f"a request of {wanted.context_tokens} tokens takes {'at least' if surely else 'about'} "
        f"{_gb(total)} of KV cache in {pod.kv_type}, and there are {_gb(room)} of it"
    )
    changes = [_set("context_tokens", int(room / each.likely) // 256 * 256)]
    if pod.kv_type != ovms.KV_TYPES[0]:
        changes.append(_set("kv_type", ovms.KV_TYPES[0]))
    if wanted.kv_cache_gb is not None:
        changes.append(_set("kv_cache_gb", -int(-total // GIB)))
    return Shortfall(surely, said, tuple(changes))


def _changes(
    machine: MachineType | None, wanted: PodsWanted, need: ModelNeed, pod: TunedPod
) -> Iterator[Change]:
    rest = without_cache(wanted.engine, need).likely
    smaller = int((pod.memory_bytes - rest) // GIB)
    if wanted.kv_cache_gb is not None and smaller >= 1:
        yield _set("kv_cache_gb", smaller)
    if pod.cache_gb is None:
        each = kv_bytes_a_token(wanted.engine, need, pod.kv_type).likely * pod.slots
        context = int((pod.memory_bytes - rest) / each) // 256 * 256
        if 1024 <= context < pod.context_tokens:
            yield _set("context_tokens", context)
        slots = int((pod.memory_bytes - rest) / (each / pod.slots * pod.context_tokens))
        if 1 <= slots < pod.slots:
            yield _set("slots", slots)
    cache = _cache(wanted, need, pod).likely if wanted.kv_cache_gb or not pod.cache_gb else GIB
    least = -int(-(rest + cache) // GIB)
    if machine is None:
        yield _set("pod_memory_gb", least)
        return
    beside = embeddings_room(wanted)
    room = for_pods(machine).memory_gb - beside.memory_gb
    if wanted.pod_memory_gb is not None:
        if pod.memory_gb < least <= room:
            yield _set("pod_memory_gb", least)
        return
    yield from _larger(machine, NodeRoom(pod.cpus + beside.cpus, least + beside.memory_gb))


def _holds(room: NodeRoom, asked: NodeRoom) -> bool:
    return asked.cpus <= room.cpus and asked.memory_gb <= room.memory_gb


def _gb(size_bytes: float) -> str:
    """Return a size in words, in GB of 2^30 bytes as the keys of pods have them."""
    return f"{size_bytes / GIB:.1f} GB"


def _set(key: str, value: int | str) -> Change:
    return Change(f"{key} {value}", key, str(value))


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
