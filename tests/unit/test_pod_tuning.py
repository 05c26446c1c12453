"""How large pods are on a kind of node, and how their engines are set up."""

from typing import Any

import pytest

from components.catalogue.gcp import MachineType, find_machine_type
from components.models.reference import parse_model_reference
from components.sizing.pod_tuning import (
    GIB,
    PodSizeError,
    PodsWanted,
    TunedPods,
    need_of,
    tuned_pods,
    without_cache,
)

QWEN = "OpenVINO/Qwen3-8B-int4-ov"
EMBEDDINGS = "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"


def wanted(model: str = QWEN, embeddings: str | None = None, **choices: Any) -> PodsWanted:
    return PodsWanted(
        engine=choices.pop("engine", "ovms"),
        model=parse_model_reference(model),
        embeddings_model=None if embeddings is None else parse_model_reference(embeddings),
        **choices,
    )


def machine(name: str) -> MachineType:
    found = find_machine_type(name)
    assert found is not None
    return found


def tuned(pods: PodsWanted, on: str = "c3-standard-22") -> TunedPods:
    return tuned_pods(machine(on), pods)


def test_a_chat_pod_takes_what_a_node_has_left():
    chat = tuned(wanted()).chat
    assert (chat.cpus, chat.memory_gb) == (21, 77)
    assert chat.memory_bytes == 77 * GIB


def test_a_cache_that_nobody_asked_for_takes_half_of_the_pod_at_most():
    chat = tuned(wanted()).chat
    assert chat.cache_gb == 38
    assert chat.kv_type == "u8"


def test_the_cache_takes_no_more_than_the_model_is_likely_to_leave():
    chat = tuned(wanted(pod_memory_gb=13)).chat
    need = need_of("ovms", parse_model_reference(QWEN))
    assert need is not None
    assert chat.cache_gb is not None
    left = chat.memory_bytes - without_cache("ovms", need).likely
    assert 0 <= left - chat.cache_gb * GIB < GIB


def test_a_cache_is_never_less_than_one():
    assert tuned(wanted(pod_memory_gb=3)).chat.cache_gb == 1


def test_what_a_model_of_unknown_size_takes_is_half_of_the_pod():
    chat = tuned(wanted("OpenVINO/Phi-4-mini-instruct-int4-ov")).chat
    assert chat.cache_gb == chat.memory_gb // 2


def test_what_is_wanted_stays():
    chat = tuned(
        wanted(
            pod_cpus=7,
            pod_memory_gb=25,
            slots=3,
            kv_type="f16",
            kv_cache_gb=5,
            context_tokens=5000,
        )
    ).chat
    assert (chat.cpus, chat.memory_gb, chat.slots) == (7, 25, 3)
    assert (chat.kv_type, chat.cache_gb, chat.context_tokens) == ("f16", 5, 5000)


@pytest.mark.parametrize(
    ("on", "slots"), [("c3-standard-4", 4), ("c3-standard-22", 10), ("c3-standard-88", 32)]
)
def test_there_is_a_slot_for_each_core_within_bounds(on: str, slots: int):
    assert tuned(wanted(), on).chat.slots == slots


def test_an_embeddings_pod_is_taken_off_the_chat_pod():
    pods = tuned(wanted(embeddings=EMBEDDINGS))
    assert pods.embeddings is not None
    assert pods.embeddings.cpus == 2
    assert pods.chat.cpus == 21 - 2
    assert pods.chat.memory_gb == 77 - pods.embeddings.memory_gb
    assert pods.embeddings.cache_gb is None


def test_an_embeddings_pod_has_what_its_model_needs():
    small = tuned(wanted(embeddings=EMBEDDINGS)).embeddings
    large = tuned(wanted(embeddings="OpenVINO/Qwen3-Embedding-8B-int8-ov")).embeddings
    assert small is not None
    assert large is not None
    assert small.memory_gb <= 4
    assert large.memory_bytes > 8e9 * 1.3


def test_llama_cpp_is_set_up_as_on_a_machine_of_the_pod_s_size():
    chat = tuned(wanted("Qwen/Qwen3-8B-GGUF:Q4_K_M", engine="llama_cpp")).chat
    assert chat.cache_gb is None
    assert chat.llama is not None
    assert chat.llama.threads == 21 // 2
    assert (chat.llama.slots, chat.llama.context_tokens) == (chat.slots, chat.context_tokens)
    smaller = tuned(wanted("Qwen/Qwen3-8B-GGUF:Q4_K_M", engine="llama_cpp", pod_cpus=4)).chat
    assert smaller.llama is not None
    assert smaller.llama.threads == 2


def test_on_a_machine_type_that_nobody_knows_a_pod_s_size_has_to_be_said():
    with pytest.raises(PodSizeError, match="set both pod_cpus and pod_memory_gb"):
        tuned_pods(None, wanted())
    with pytest.raises(PodSizeError, match="one has left: set pod_memory_gb"):
        tuned_pods(None, wanted(pod_cpus=7))
    chat = tuned_pods(None, wanted(pod_cpus=7, pod_memory_gb=25)).chat
    assert (chat.cpus, chat.memory_gb) == (7, 25)
    gguf = wanted("Qwen/Qwen3-8B-GGUF:Q4_K_M", engine="llama_cpp", pod_cpus=8, pod_memory_gb=25)
    llama = tuned_pods(None, gguf).chat.llama
    assert llama is not None
    assert llama.threads == 4
