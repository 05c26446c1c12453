"""Whether nodes hold the pods, and pods their models, with the numbers and what would do."""

from typing import Any

import pytest

from components.catalogue.gcp import find_machine_type
from components.catalogue.gke import NodeRoom, for_pods
from components.models.reference import parse_model_reference
from components.sizing.pod_changes import Pool, after
from components.sizing.pod_fit import PoolProblem, model_shortfall, nodes_for, pool_shortfall
from components.sizing.pod_tuning import Neighbour, PodsWanted, chat_room

C3 = "c3-standard-22"
QWEN = "OpenVINO/Qwen3-8B-int4-ov"
EMBEDDINGS = "OpenVINO/bge-base-en-v1.5-int8-ov"
GGUF_7B = "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"
GGUF = "Qwen/Qwen3-8B-GGUF:Q4_K_M"


def wanted(model: str = QWEN, embeddings: str | None = None, **choices: Any) -> PodsWanted:
    return PodsWanted(
        engine=choices.pop("engine", "ovms"),
        model=parse_model_reference(model),
        embeddings_model=None if embeddings is None else parse_model_reference(embeddings),
        **choices,
    )


def pool(pods: PodsWanted, on: str = C3, max_nodes: int = 1) -> PoolProblem | None:
    return pool_shortfall(find_machine_type(on), pods, on, max_nodes)


def refused(pods: PodsWanted, on: str = C3, max_nodes: int = 1) -> PoolProblem:
    problem = pool(pods, on, max_nodes)
    assert problem is not None
    return problem


def words(problem: PoolProblem) -> list[str]:
    return [change.words for change in problem.changes]


def test_one_pod_fits_one_node_by_itself_and_beside_an_embeddings_pod():
    assert pool(wanted()) is None
    assert pool(wanted(embeddings=EMBEDDINGS)) is None


def test_a_pod_that_no_node_holds_is_refused_with_the_numbers():
    problem = refused(wanted(pod_cpus=22))
    assert problem.key == "pod_cpus"
    assert "asks for 22 processors and 77 GB finds no node" in problem.said
    assert "21 processors and 77 GB left" in problem.said
    assert words(problem)[:2] == ["pod_cpus 21", "node_machine_type c3-highcpu-44"]


def test_the_memory_of_a_pod_is_held_against_the_node_too():
    problem = refused(wanted(pod_memory_gb=80))
    assert problem.key == "pod_memory_gb"
    assert words(problem)[0] == "pod_memory_gb 77"
    assert "c3-highmem-22" in problem.offered
    assert "lssd" not in problem.offered


def test_a_pod_too_large_in_both_ways_is_told_both_together():
    problem = refused(wanted(pod_cpus=30, pod_memory_gb=100))
    assert words(problem)[0] == "pod_cpus 21 and pod_memory_gb 77"
    assert problem.changes[0].key is None


def test_a_node_on_which_nothing_is_left_is_refused():
    problem = refused(wanted(), "e2-medium")
    assert problem.key == "node_machine_type"
    assert "nothing is left" in problem.said
    assert words(problem)[0] == "node_machine_type e2-highmem-2"


def test_an_embeddings_pod_that_leaves_nothing_is_named():
    problem = refused(wanted(embeddings=EMBEDDINGS), "e2-standard-2")
    assert "makes embeddings asks for 2 processors" in problem.said
    assert "1 processor and 3 GB left" in problem.said


def test_more_pods_than_the_nodes_hold_are_refused_with_what_would_do():
    problem = refused(wanted(replicas=2))
    assert problem.key == "max_nodes"
    assert "2 pods of 21 processors and 77 GB take 2 nodes, and max_nodes is 1" in problem.said
    assert words(problem) == [
        "max_nodes 2",
        "replicas 1",
        "pod_cpus 10 and pod_memory_gb 38 for each pod",
    ]
    assert pool(wanted(replicas=2), max_nodes=2) is None


def test_what_is_offered_is_taken():
    assert pool(wanted(replicas=2, pod_cpus=10, pod_memory_gb=38)) is None
    assert pool(wanted(pod_cpus=21)) is None
    assert pool(wanted(), "e2-standard-2") is None


@pytest.mark.parametrize(
    ("choices", "on"),
    [
        ({}, "e2-small"),
        ({"replicas": 2}, C3),
        ({"pod_cpus": 40, "pod_memory_gb": 300}, C3),
        ({"model": GGUF_7B, "engine": "llama_cpp", "context_tokens": 1_048_576}, C3),
        ({"model": GGUF_7B, "engine": "llama_cpp", "context_tokens": 524_288}, "e2-standard-8"),
        ({"model": "OpenVINO/Some-235B-int8-ov"}, C3),
    ],
)
def test_whatever_is_offered_is_taken_when_it_is_typed(choices: dict[str, Any], on: str):
    asked = Pool(find_machine_type(on), wanted(**choices), 1)
    problem = pool(asked.wanted, on) or model_shortfall(asked.machine, asked.wanted)
    assert problem is not None
    assert problem.changes
    for one in problem.changes:
        then = after(asked, one)
        assert then.machine is not None
        assert pool(then.wanted, then.machine.name, then.max_nodes) is None
        short = model_shortfall(then.machine, then.wanted)
        assert short is None or not short.surely, one.words


def test_a_machine_type_that_the_region_lacks_is_not_offered():
    asked = wanted(pod_memory_gb=80)
    problem = pool_shortfall(find_machine_type("n2-standard-16"), asked, "", 1, "europe-west12")
    assert problem is not None
    assert not [name for name in words(problem) if " c3-" in name]


def test_the_size_that_is_unset_is_the_one_to_set():
    problem = pool_shortfall(None, wanted(pod_cpus=8), "z9-standard-8", 1)
    assert problem is not None
    assert (problem.key, problem.unset) == ("pod_memory_gb", ("pod_memory_gb",))
    assert problem.said.endswith("one has left: set pod_memory_gb")


def test_the_most_replicas_are_those_that_have_to_fit():
    problem = refused(wanted(replicas=1, most_replicas=6, pod_cpus=7, pod_memory_gb=25))
    assert "6 pods" in problem.said
    assert "max_replicas 3" in words(problem)
    assert pool(wanted(replicas=1, most_replicas=3, pod_cpus=7, pod_memory_gb=25)) is None


def test_an_embeddings_pod_shares_the_first_node():
    room, asked = NodeRoom(21, 77), NodeRoom(7, 25)
    beside = wanted(embeddings=EMBEDDINGS, replicas=3)
    assert nodes_for(room, wanted(replicas=3), asked) == 1
    assert nodes_for(room, beside, asked) == 2
    assert nodes_for(room, wanted(embeddings=EMBEDDINGS, replicas=5), asked) == 2
    assert nodes_for(room, wanted(embeddings=EMBEDDINGS, replicas=6), asked) == 3


def test_a_machine_type_that_nobody_knows_needs_sizes_and_is_not_judged():
    problem = pool_shortfall(None, wanted(), "c9-standard-22", 1)
    assert problem is not None
    assert problem.key == "pod_cpus"
    assert "c9-standard-22" in problem.said
    sized = wanted(pod_cpus=500, pod_memory_gb=4000, replicas=3)
    assert pool_shortfall(None, sized, "c9-standard-22", 1) is None


def test_a_model_that_its_pod_surely_can_t_hold_is_refused_with_larger_nodes():
    coder = wanted("OpenVINO/Qwen3-Coder-30B-A3B-Instruct-int4-ov")
    short = model_shortfall(find_machine_type("e2-standard-4"), coder)
    assert short is not None
    assert short.surely
    assert "its pod has 11.0 GB" in short.said
    assert "are missing" in short.said
    assert short.changes[0].key == "node_machine_type"
    larger = find_machine_type(short.changes[0].value or "")
    assert model_shortfall(larger, coder) is None


def test_a_model_that_may_not_fit_is_not_surely_too_large():
    coder = wanted("OpenVINO/Qwen3-Coder-30B-A3B-Instruct-int4-ov")
    short = model_shortfall(find_machine_type("c3-standard-8"), coder)
    assert short is not None
    assert not short.surely
    assert "may be missing" in short.said


def test_a_model_that_fits_or_whose_size_is_not_known_is_let_through():
    c3 = find_machine_type(C3)
    assert model_shortfall(c3, wanted()) is None
    assert model_shortfall(c3, wanted("OpenVINO/Phi-4-mini-instruct-int4-ov")) is None
    assert model_shortfall(c3, wanted(GGUF, engine="llama_cpp")) is None


@pytest.mark.parametrize(
    ("choices", "key"),
    [
        ({"kv_cache_gb": 80}, "kv_cache_gb"),
        ({"pod_memory_gb": 5}, "pod_memory_gb"),
        ({"context_tokens": 1_000_000}, "context_tokens"),
        ({"context_tokens": 32_768, "kv_cache_gb": 1}, "context_tokens"),
        ({"model": GGUF, "engine": "llama_cpp", "context_tokens": 131_072}, "context_tokens"),
    ],
)
def test_the_first_thing_that_is_offered_is_enough(choices: dict[str, Any], key: str):
    c3 = find_machine_type(C3)
    short = model_shortfall(c3, wanted(**choices))
    assert short is not None
    first = short.changes[0]
    assert first.key == key
    assert model_shortfall(c3, wanted(**{**choices, key: int(first.value or "")})) is None


def test_a_cache_that_one_request_does_not_find_room_in_could_be_larger_or_in_8_bits():
    asked = wanted(context_tokens=32_768, kv_cache_gb=3, kv_type="f16")
    short = model_shortfall(find_machine_type(C3), asked)
    assert short is not None
    assert "a request of 32768 tokens takes at least 4.5 GB of KV cache in f16" in short.said
    assert {"kv_type u8", "kv_cache_gb 5"} <= {change.words for change in short.changes}


NOTEBOOKS = Neighbour("notebooks", NodeRoom(20, 64), (("notebooks", "0"),))


def test_what_stands_beside_the_pods_needs_room_and_makes_none_of_them_smaller():
    alone, beside = wanted(), wanted(neighbours=(NOTEBOOKS,))
    machine = find_machine_type(C3)
    assert chat_room(machine, alone) == chat_room(machine, beside)
    problem = refused(beside)
    assert "1 pod of 21 processors and 77 GB and notebooks of 20 processors" in problem.said
    assert words(problem) == ["max_nodes 2", "notebooks 0"]
    assert pool(beside, max_nodes=2) is None


def test_a_pod_that_is_large_enough_is_offered_a_place_beside_something_else():
    problem = refused(wanted(neighbours=(NOTEBOOKS,)), "c3-standard-44")
    assert "pod_cpus 23 and pod_memory_gb 96 for each pod" in words(problem)
    apart = refused(wanted(replicas=2, neighbours=(NOTEBOOKS,)), max_nodes=2)
    assert "pod_cpus 10 and pod_memory_gb 38 for each pod" in words(apart)


def test_no_machine_is_offered_that_lacks_room_for_what_stands_beside():
    asked = wanted("OpenVINO/Some-70B-int4-ov", neighbours=(NOTEBOOKS,))
    short = model_shortfall(find_machine_type("n2-highcpu-32"), asked, 2)
    assert short is not None
    machines = [one.value for one in short.changes if one.key == "node_machine_type"]
    rooms = [for_pods(found) for name in machines if (found := find_machine_type(str(name)))]
    assert rooms
    assert all(room.cpus >= 20 and room.memory_gb >= 64 for room in rooms)
