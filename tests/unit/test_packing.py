"""How many nodes pods take, held against every way to put them there."""

import itertools
import random

import pytest

from components.catalogue.gke import NodeRoom
from components.sizing.packing import holds, how_many, minus, nodes_needed, total

ROOM = NodeRoom(21, 77)
CHAT = NodeRoom(21, 77)
RUNTIME = NodeRoom(20, 64)


def by_trying(room: NodeRoom, pods: list[NodeRoom]) -> int:
    """The fewest nodes, found by putting each pod on each node."""
    for nodes in range(1, len(pods) + 1):
        for places in itertools.product(range(nodes), repeat=len(pods)):
            there = [
                total(pod for pod, place in zip(pods, places, strict=True) if place == node)
                for node in range(nodes)
            ]
            if all(holds(room, one) for one in there):
                return nodes
    raise AssertionError("each pod finds a node by itself")


def test_what_takes_a_whole_node_has_it_to_itself():
    assert nodes_needed(ROOM, CHAT, 1, []) == 1
    assert nodes_needed(ROOM, CHAT, 1, [RUNTIME]) == 2
    assert nodes_needed(ROOM, CHAT, 3, [RUNTIME]) == 4


def test_what_is_left_beside_a_single_pod_is_filled():
    assert nodes_needed(ROOM, NodeRoom(7, 25), 3, [NodeRoom(2, 4)]) == 2
    assert nodes_needed(ROOM, NodeRoom(1, 13), 1, [RUNTIME]) == 1
    assert nodes_needed(NodeRoom(43, 160), NodeRoom(23, 96), 1, [RUNTIME]) == 1
    assert nodes_needed(NodeRoom(43, 160), NodeRoom(24, 96), 1, [RUNTIME]) == 2


def test_memory_counts_as_processors_do():
    assert nodes_needed(ROOM, NodeRoom(1, 70), 2, [NodeRoom(1, 8)]) == 3
    assert how_many(ROOM, NodeRoom(2, 40)) == 1
    assert minus(ROOM, RUNTIME) == NodeRoom(1, 13)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_fewest_of_all_ways(seed: int):
    drawn = random.Random(seed)

    def pod() -> NodeRoom:
        return NodeRoom(drawn.randint(1, 8), drawn.randint(1, 8))

    each, count, singles = pod(), drawn.randint(1, 3), [pod() for _ in range(drawn.randint(0, 3))]
    room = NodeRoom(8, 8)
    assert nodes_needed(room, each, count, singles) == by_trying(room, [each] * count + singles)
