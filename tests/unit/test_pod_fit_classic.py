"""Whether nodes hold a pod of classic models beside the others, and what it takes off them."""

from typing import Any

import pytest

from components.catalogue.gcp import find_machine_type
from components.catalogue.gke import NodeRoom
from components.models.pod_model import parse_pod_model
from components.sizing.pod_changes import Pool, after, change
from components.sizing.pod_fit import model_shortfall, nodes_for, pool_shortfall
from components.sizing.pod_tuning import CLASSIC, PodsWanted, chat_room, need_of, tuned_pods

C3 = find_machine_type("c3-standard-22")
QWEN = parse_pod_model("OpenVINO/Qwen3-8B-int4-ov")
BGE = parse_pod_model("OpenVINO/bge-base-en-v1.5-int8-ov")


def wanted(**choices: Any) -> PodsWanted:
    return PodsWanted(**{"engine": "ovms", "model": QWEN, "classic": CLASSIC, **choices})


def test_its_room_is_taken_off_every_pod_that_chats():
    assert chat_room(C3, wanted(classic=None)) == NodeRoom(21, 77)
    assert chat_room(C3, wanted()) == NodeRoom(19, 73)
    with_both = chat_room(C3, wanted(embeddings_model=BGE))
    assert with_both.cpus == 17
    assert with_both.memory_gb < 73
    assert tuned_pods(C3, wanted(replicas=2)).chat.cpus == 19


def test_pods_of_a_size_that_is_asked_for_keep_it():
    assert chat_room(C3, wanted(pod_cpus=21, pod_memory_gb=77)) == NodeRoom(21, 77)


@pytest.mark.parametrize(
    ("choices", "nodes"),
    [
        ({}, 1),
        ({"replicas": 3}, 3),
        ({"embeddings_model": BGE}, 1),
        ({"pod_cpus": 21, "pod_memory_gb": 77}, 2),
        ({"pod_cpus": 10, "pod_memory_gb": 30, "replicas": 2}, 2),
        ({"pod_cpus": 9, "pod_memory_gb": 30, "replicas": 2}, 1),
        # Neither shares a node with a pod that chats, and both share one.
        ({"pod_cpus": 20, "pod_memory_gb": 70, "embeddings_model": BGE}, 2),
        ({"pod_cpus": 20, "pod_memory_gb": 70, "classic": NodeRoom(20, 10)}, 2),
    ],
)
def test_nodes_are_counted_with_it(choices: dict[str, Any], nodes: int):
    pods = wanted(**choices)
    assert nodes_for(NodeRoom(21, 77), pods, chat_room(C3, pods)) == nodes


def test_one_that_no_node_holds_is_offered_its_usual_size():
    problem = pool_shortfall(C3, wanted(classic=NodeRoom(30, 4)), "c3-standard-22", 1)
    assert problem is not None
    assert problem.key == "classic_cpus"
    assert problem.changes[0].words == "classic_cpus 2"


def test_a_change_of_its_size_is_held_to_the_same_rules():
    pool = Pool(C3, wanted(classic=NodeRoom(8, 60)), 1)
    then = after(pool, change("classic_memory_gb", 4)).wanted
    assert then.classic == NodeRoom(8, 4)
    assert after(pool, change("classic_cpus", 1)).wanted.classic == NodeRoom(1, 60)


def test_a_model_that_lacks_the_memory_it_takes_is_offered_some_of_it():
    short = model_shortfall(C3, wanted(classic=NodeRoom(2, 74)))
    assert short is not None
    assert short.surely
    assert "classic_memory_gb 4" in short.offered


@pytest.mark.parametrize("engine", ["ovms", "llama_cpp"])
def test_nothing_is_known_of_the_size_of_what_a_registry_has(engine: str):
    model = parse_pod_model("registry:qwen3-8b-int4@1")
    assert need_of(engine, model) is None
    assert model_shortfall(C3, wanted(engine=engine, model=model)) is None
    pods = tuned_pods(C3, wanted(engine=engine, model=model, embeddings_model=model))
    assert pods.embeddings is not None
    assert pods.embeddings.memory_gb == 4
