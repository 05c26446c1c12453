"""How many nodes pods take: the fewest of all ways to put them there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from components.catalogue.gke import NodeRoom


def nodes_needed(room: NodeRoom, each: NodeRoom, count: int, singles: Sequence[NodeRoom]) -> int:
    """Return how many nodes with `room` take `count` pods of `each`, and the few `singles`.

    Of every way to put the singles together on nodes, the others fill up what these have left. Each
    of the pods has to find a node by itself.
    """
    a_node = how_many(room, each)
    ways = (
        [total(group) for group in groups]
        for groups in _groupings(list(singles))
        if all(holds(room, total(group)) for group in groups)
    )
    return min(
        len(taken)
        + -(-max(0, count - sum(how_many(minus(room, one), each) for one in taken)) // a_node)
        for taken in ways
    )


def holds(room: NodeRoom, asked: NodeRoom) -> bool:
    """Whether what is asked for has room."""
    return asked.cpus <= room.cpus and asked.memory_gb <= room.memory_gb


def how_many(room: NodeRoom, each: NodeRoom) -> int:
    """Return how many pods of `each` have room, which ask for something."""
    return min(room.cpus // each.cpus, room.memory_gb // each.memory_gb)


def total(rooms: Iterable[NodeRoom]) -> NodeRoom:
    """Return what several pods ask for together."""
    known = list(rooms)
    return NodeRoom(sum(one.cpus for one in known), sum(one.memory_gb for one in known))


def minus(room: NodeRoom, taken: NodeRoom) -> NodeRoom:
    """Return what is left of `room`."""
    return NodeRoom(room.cpus - taken.cpus, room.memory_gb - taken.memory_gb)


def _groupings(pods: list[NodeRoom]) -> Iterator[list[list[NodeRoom]]]:
    """Yield every way to divide `pods` into groups; there are few of them, and so few ways."""
    if not pods:
        yield []
        return
    first, rest = pods[0], pods[1:]
    for groups in _groupings(rest):
        yield [[first], *groups]
        for index, group in enumerate(groups):
            yield [*groups[:index], [first, *group], *groups[index + 1 :]]
