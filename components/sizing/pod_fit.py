"""Whether the nodes of a pool hold the pods, and these their models, and what would do instead.

A model is judged by its name: only what the least that it may take exceeds is surely too much.
What is offered has been held to the same rules: pods that find a node, and a model that fits them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from components.catalogue.gcp import MachineType, catalogue, find_machine_type, not_offered
from components.catalogue.gke import NodeRoom, for_pods, in_words, room_in_words
from components.engines import ovms
from components.models.need import Bounds, ModelNeed
from components.sizing.gpu_fit import Change, Shortfall
from components.sizing.packing import holds, minus, nodes_needed, total
from components.sizing.pod_changes import Pool, after, change, together
from components.sizing.pod_tuning import (
    CLASSIC,
    GIB,
    Beside,
    PodSizeError,
    PodsWanted,
    TunedPod,
    beside_room,
    chat_room,
    kv_bytes_a_token,
    need_of,
    pods_beside,
    tuned_pods,
    without_cache,
)

_SHOWN_MACHINES = 3
_WITH_LOCAL_DISKS = "lssd"
"""The end of the names of machine types with disks of their own, which pods make no use of."""
_LEAST = NodeRoom(1, 1)
_LEAST_SHARED = NodeRoom(4, 4)
"""The smallest chat pod that is offered so that something else has room on its node."""


@dataclass(frozen=True)
class PoolProblem:
    """Pods that the pool's nodes can't hold: the key to change first, and what would do.

    `unset` are keys that have to be set, to values that nothing tells.
    """

    key: str
    said: str
    changes: tuple[Change, ...] = ()
    unset: tuple[str, ...] = ()

    @property
    def offered(self) -> str:
        """Return what would do, in words."""
        if not self.changes:
            return "take a larger node_machine_type"
        return f"any of these would do: {'; '.join(change.words for change in self.changes)}"


def pool_shortfall(
    machine: MachineType | None,
    wanted: PodsWanted,
    machine_type: str,
    max_nodes: int,
    region: str = "",
) -> PoolProblem | None:
    """Return what keeps the pods off a pool of up to `max_nodes` nodes; None where they fit.

    `region` is where machine types that are offered instead have to be; "" is anywhere.

    Of a machine type that the catalogue does not know, all is taken that is asked for; nothing
    asked for is a problem of its own.
    """
    try:
        asked = chat_room(machine, wanted)
    except PodSizeError as error:
        return PoolProblem(error.unset[0], f"{machine_type}: {error}", unset=error.unset)
    if machine is None:
        return None
    pool = Pool(machine, wanted, max_nodes, region)
    found = _too_large(machine, wanted, asked) or _too_many(machine, pool, asked)
    if found is None:
        return None
    problem, changes = found
    return replace(problem, changes=_that_do(pool, changes))


def _that_do(pool: Pool, changes: Iterable[Change]) -> tuple[Change, ...]:
    """Return the changes after which all is likely to fit; else those that may do.

    Of machine types only the first few are named.
    """
    likely: list[Change] = []
    perhaps: list[Change] = []
    for one in changes:
        then = after(pool, one)
        if _is_not_there(then, pool) or not _pods_have_nodes(then):
            continue
        lack = _lack(then)
        if lack is None:
            likely.append(one)
        elif not lack[0].surely:
            perhaps.append(one)
    return tuple(_few_machines(likely or perhaps))


def _is_not_there(then: Pool, before: Pool) -> bool:
    """Whether `then` has machines that are not offered in the region, other than those before."""
    if then.machine is None or then.machine == before.machine:
        return False
    return not_offered(then.machine, before.region) is not None


def _few_machines(changes: Iterable[Change]) -> Iterator[Change]:
    shown = 0
    for one in changes:
        shown += one.key == "node_machine_type"
        if one.key != "node_machine_type" or shown <= _SHOWN_MACHINES:
            yield one


def _pods_have_nodes(pool: Pool) -> bool:
    if pool.machine is None:
        return True
    asked, room = chat_room(pool.machine, pool.wanted), for_pods(pool.machine)
    return (
        _each_finds_a_node(room, asked, pods_beside(pool.wanted))
        and all(holds(room, one) for one in singles(pool.wanted))
        and nodes_for(room, pool.wanted, asked) <= pool.max_nodes
    )


def _each_finds_a_node(room: NodeRoom, asked: NodeRoom, others: Iterable[Beside]) -> bool:
    fit = all(holds(room, other.room) for other in others)
    return fit and holds(room, asked) and holds(asked, _LEAST)


def _too_large(
    machine: MachineType, wanted: PodsWanted, asked: NodeRoom
) -> tuple[PoolProblem, list[Change]] | None:
    """Return what is wrong where not even one chat pod finds a node, and what may do."""
    room, others = for_pods(machine), pods_beside(wanted)
    if _each_finds_a_node(room, asked, others):
        return None
    larger = _larger(machine, _together(wanted, asked))
    if not holds(room, asked):
        key = "pod_cpus" if asked.cpus > room.cpus else "pod_memory_gb"
        said = f"a pod that asks for {in_words(asked)} finds no node: {room_in_words(machine)}"
        changes = [change("pod_cpus", room.cpus)] if asked.cpus > room.cpus else []
        changes += [change("pod_memory_gb", room.memory_gb)] * (asked.memory_gb > room.memory_gb)
        ways = [together(changes)] if holds(room, _LEAST) else []
        return PoolProblem(key, said), [*ways, *larger]
    what = "nothing is left for a pod that serves a model"
    if others:
        asking = (f"the pod {one.that} asks for {in_words(one.room)}" for one in others)
        what = f"{', '.join(asking)}, and {what}"
    usual = _usual_classic(wanted)
    key = usual[0].key if usual else None
    said = f"{what}: {room_in_words(machine)}"
    ways = [together(usual), *larger] if usual else larger
    return PoolProblem(key or "node_machine_type", said), ways


def _usual_classic(wanted: PodsWanted) -> list[Change]:
    """Return what gives a pod of classic models that asks for more than is usual just that."""
    if wanted.classic is None:
        return []
    sizes = {
        "classic_cpus": (wanted.classic.cpus, CLASSIC.cpus),
        "classic_memory_gb": (wanted.classic.memory_gb, CLASSIC.memory_gb),
    }
    return [change(key, usual) for key, (asked, usual) in sizes.items() if asked > usual]


def _too_many(
    machine: MachineType, pool: Pool, asked: NodeRoom
) -> tuple[PoolProblem, list[Change]] | None:
    """Return what is wrong where there are more pods than nodes have room for, and what may do."""
    wanted, max_nodes = pool.wanted, pool.max_nodes
    nodes = nodes_for(for_pods(machine), wanted, asked)
    if nodes <= max_nodes:
        return None
    pods = f"{_pods(wanted.most_pods)} of {in_words(asked)}"
    for pod in pods_beside(wanted):
        pods += f" and one of {in_words(pod.room)} for {pod.purpose}"
    for one in wanted.neighbours:
        pods += f" and {one.name} of {in_words(one.room)}"
    said = f"{pods} take {nodes} nodes, and max_nodes is {max_nodes}: {room_in_words(machine)}"
    changes = [change("max_nodes", nodes)]
    fewer = [
        count
        for count in range(wanted.most_pods - 1, 0, -1)
        if nodes_for(for_pods(machine), _with_pods(wanted, count), asked) <= max_nodes
    ]
    key = "replicas" if wanted.most_replicas is None else "max_replicas"
    if fewer and fewer[0] >= (1 if wanted.most_replicas is None else wanted.replicas):
        changes.append(change(key, fewer[0]))
    if smaller := _shared(machine, wanted, max_nodes):
        sizes = (change("pod_cpus", smaller.cpus), change("pod_memory_gb", smaller.memory_gb))
        changes.append(together(sizes, " for each pod"))
    changes += [change(*way) for one in wanted.neighbours for way in one.without]
    return PoolProblem("max_nodes", said), changes


def nodes_for(room: NodeRoom, wanted: PodsWanted, asked: NodeRoom) -> int:
    """Return how many nodes with `room` the pods take: chat pods of `asked`, and the others."""
    return nodes_needed(room, asked, wanted.most_pods, singles(wanted))


def singles(wanted: PodsWanted) -> list[NodeRoom]:
    """Return what the pods ask for of which there is one each."""
    return [*(one.room for one in pods_beside(wanted)), *(one.room for one in wanted.neighbours)]


def _shared(machine: MachineType, wanted: PodsWanted, max_nodes: int) -> NodeRoom | None:
    """Return the largest chat pods that fit `max_nodes` nodes together; None for none.

    Beside something else only such as are worth it: they may have nodes of their own, or share.
    """
    room, beside = for_pods(machine), beside_room(wanted)
    if not wanted.neighbours:
        each = _divided(room, beside, -(-wanted.most_pods // max_nodes))
        return each if holds(each, _LEAST) else None
    others = total(singles(wanted))
    found = [_divided(room, others, -(-wanted.most_pods // max_nodes))]
    if max_nodes > 1:
        found.append(_divided(room, beside, -(-wanted.most_pods // (max_nodes - 1))))
    largest = max(found, key=lambda one: min(one.cpus, one.memory_gb))
    return largest if holds(largest, _LEAST_SHARED) else None


def _divided(room: NodeRoom, taken: NodeRoom, count: int) -> NodeRoom:
    left = minus(room, taken)
    return NodeRoom(left.cpus // count, left.memory_gb // count)


def _with_pods(wanted: PodsWanted, count: int) -> PodsWanted:
    if wanted.most_replicas is None:
        return replace(wanted, replicas=count)
    return replace(wanted, most_replicas=count)


def _together(wanted: PodsWanted, asked: NodeRoom) -> NodeRoom:
    """Return what a node has to have left at least: the larger pod, or both where it is open."""
    beside = beside_room(wanted)
    cpus = max(asked.cpus, 1) if wanted.pod_cpus else beside.cpus + 1
    memory = max(asked.memory_gb, 1) if wanted.pod_memory_gb else beside.memory_gb + 1
    others = [one.room for one in pods_beside(wanted)]
    return NodeRoom(
        max([cpus, *(room.cpus for room in others)]),
        max([memory, *(room.memory_gb for room in others)]),
    )


def _larger(machine: MachineType, least: NodeRoom) -> list[Change]:
    """Return the machine types with that much left, of the same series before the rest."""
    return [
        change("node_machine_type", one.name)
        for one in _machines(machine)
        if one.name != machine.name and holds(for_pods(one), least)
    ]


def larger_machines(machine: MachineType, least: NodeRoom, region: str = "") -> tuple[Change, ...]:
    """Return the first few machine types in `region` with that much left; "" is anywhere."""
    there = (
        one
        for one in _larger(machine, least)
        if (found := find_machine_type(str(one.value))) and not_offered(found, region) is None
    )
    return tuple(_few_machines(there))


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


def model_shortfall(
    machine: MachineType | None, wanted: PodsWanted, max_nodes: int = 1, region: str = ""
) -> Shortfall | None:
    """Return what a chat pod lacks for its model; None where it is likely to fit, or not known.

    `region` is as for `pool_shortfall`.

    To be asked where `pool_shortfall` has nothing to say.
    """
    pool = Pool(machine, wanted, max_nodes, region)
    found = _lack(pool)
    if found is None:
        return None
    short, changes = found
    return replace(short, changes=_that_do(pool, changes))


def _lack(pool: Pool) -> tuple[Shortfall, Iterator[Change]] | None:
    """Return what a chat pod lacks for its model, and what may do, found only when it is asked."""
    wanted = pool.wanted
    need = need_of(wanted.engine, wanted.model)
    if need is None:
        return None
    pod = tuned_pods(pool.machine, wanted).chat
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
    return Shortfall(surely, said, ()), _changes(pool.machine, wanted, need, pod)


def _cache(wanted: PodsWanted, need: ModelNeed, pod: TunedPod) -> Bounds:
    if pod.cache_gb is not None:
        return Bounds(pod.cache_gb * GIB, pod.cache_gb * GIB)
    tokens = pod.context_tokens * pod.slots
    return kv_bytes_a_token(wanted.engine, need, pod.kv_type).times(tokens)


def _too_short(
    wanted: PodsWanted, need: ModelNeed, pod: TunedPod
) -> tuple[Shortfall, Iterator[Change]] | None:
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
    changes = [change("context_tokens", int(room / each.likely) // 256 * 256)]
    if pod.kv_type != ovms.KV_TYPES[0]:
        changes.append(change("kv_type", ovms.KV_TYPES[0]))
    if wanted.kv_cache_gb is not None:
        changes.append(change("kv_cache_gb", -int(-total // GIB)))
    return Shortfall(surely, said, ()), iter(changes)


def _changes(
    machine: MachineType | None, wanted: PodsWanted, need: ModelNeed, pod: TunedPod
) -> Iterator[Change]:
    rest = without_cache(wanted.engine, need).likely
    smaller = int((pod.memory_bytes - rest) // GIB)
    if wanted.kv_cache_gb is not None and smaller >= 1:
        yield change("kv_cache_gb", smaller)
    if pod.cache_gb is None:
        each = kv_bytes_a_token(wanted.engine, need, pod.kv_type).likely * pod.slots
        context = int((pod.memory_bytes - rest) / each) // 256 * 256
        if 1024 <= context < pod.context_tokens:
            yield change("context_tokens", context)
        slots = int((pod.memory_bytes - rest) / (each / pod.slots * pod.context_tokens))
        if 1 <= slots < pod.slots:
            yield change("slots", slots)
    cache = _cache(wanted, need, pod).likely if wanted.kv_cache_gb or not pod.cache_gb else GIB
    least = -int(-(rest + cache) // GIB)
    if machine is None:
        yield change("pod_memory_gb", least)
        return
    if wanted.pod_memory_gb is None and (usual := _usual_classic(wanted)):
        yield together(usual)
    beside = beside_room(wanted)
    room = for_pods(machine).memory_gb - beside.memory_gb
    if wanted.pod_memory_gb is not None:
        if pod.memory_gb < least <= room:
            yield change("pod_memory_gb", least)
        return
    yield from _larger(machine, NodeRoom(pod.cpus + beside.cpus, least + beside.memory_gb))


def _gb(size_bytes: float) -> str:
    """Return a size in words, in GB of 2^30 bytes as the keys of pods have them."""
    return f"{size_bytes / GIB:.1f} GB"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"
