"""How an engine is set up for a machine with GPUs, from its model's name alone."""

from dataclasses import replace

import pytest

from components.catalogue.gcp_gpu import find_gpu, gpus_of
from components.models.need import ModelNeed, model_need
from components.models.reference import parse_model_reference
from components.sizing.gpu_fit import Asked, fits
from components.sizing.gpu_tuning import Wanted, gpu_tuning
from components.sizing.machine_tuning import Tuning

L4 = (find_gpu("l4"), 1)
LLAMA = Wanted("llama_cpp")
QWEN_7B = "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"
VICUNA_13B = "TheBloke/vicuna-13B-v1.5-GGUF:Q8_0"


def need(reference: str, *, repository: bool = False) -> ModelNeed | None:
    return model_need(parse_model_reference(reference), repository=repository)


def asked(found: Tuning, engine: str = "llama_cpp") -> Asked:
    return Asked(engine, found.context_tokens, found.slots, found.kv_type)


@pytest.mark.parametrize(
    ("reference", "context_tokens", "slots", "kv_type"),
    [
        (QWEN_7B, 32_768, 8, "f16"),
        ("bartowski/Qwen2.5-14B-Instruct-GGUF:Q4_K_M", 6144, 8, "f16"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q8_0", 8192, 8, "f16"),
        (VICUNA_13B, 4096, 4, "q8_0"),
        ("bartowski/Qwen2.5-32B-Instruct-GGUF:Q4_K_M", 6144, 1, "q8_0"),
    ],
)
def test_one_l4_gives_each_slot_at_least_4096_tokens(
    reference: str, context_tokens: int, slots: int, kv_type: str
):
    found = gpu_tuning(L4, need(reference), 4, LLAMA)
    assert (found.context_tokens, found.slots, found.kv_type) == (context_tokens, slots, kv_type)
    assert found.flash_attention == ("on" if kv_type == "q8_0" else "auto")
    assert found.threads == 4


@pytest.mark.parametrize("machine", ["g2-standard-8", "g2-standard-24", "a2-highgpu-1g"])
@pytest.mark.parametrize("name", ["x-3B", "x-8B", "Qwen2.5-14B", "x-22B", "Llama-3.3-70B"])
@pytest.mark.parametrize("quantisation", ["Q4_K_M", "Q8_0"])
def test_what_it_chooses_is_likely_to_fit_or_nothing_is(machine: str, name: str, quantisation: str):
    gpus, model = gpus_of(machine), need(f"o/{name}-GGUF:{quantisation}")
    assert gpus is not None
    assert model is not None
    found = gpu_tuning(gpus, model, None, LLAMA)
    least = replace(asked(found), context_tokens=2048, slots=1, kv_type="q8_0")
    assert fits(model, asked(found), gpus) or not fits(model, least, gpus)


def test_the_sources_own_command_fits_an_l4_as_it_is():
    found = gpu_tuning(L4, need(VICUNA_13B), 4, replace(LLAMA, context_tokens=512, slots=8))
    assert (found.context_tokens, found.slots, found.kv_type) == (512, 8, "f16")


def test_what_a_person_chooses_stays_and_the_rest_follows_it():
    model = need(QWEN_7B)
    many = gpu_tuning(L4, model, 4, replace(LLAMA, slots=64, threads=3))
    assert (many.slots, many.threads) == (64, 3)
    assert many.context_tokens < 32_768
    long = gpu_tuning(L4, model, 4, replace(LLAMA, context_tokens=131_072))
    assert (long.context_tokens, long.slots) == (131_072, 4)
    plain = gpu_tuning(L4, need(VICUNA_13B), 4, replace(LLAMA, flash_attention="off"))
    assert (plain.kv_type, plain.flash_attention) == ("f16", "off")
    assert gpu_tuning(L4, model, 4, replace(LLAMA, kv_type="q4_0")).flash_attention == "on"


def test_of_an_unknown_model_little_is_assumed():
    found = gpu_tuning(L4, None, None, LLAMA)
    assert (found.context_tokens, found.slots, found.kv_type) == (4096, 4, "f16")
    assert found.threads is None


def test_layers_that_stay_with_the_processor_leave_room_for_context():
    model = need("bartowski/Qwen2.5-32B-Instruct-GGUF:Q4_K_M")
    whole = gpu_tuning(L4, model, 4, LLAMA)
    half = gpu_tuning(L4, model, 4, replace(LLAMA, gpu_layers=30))
    assert half.slots * half.context_tokens > whole.slots * whole.context_tokens


def test_vllm_takes_more_requests_at_once_and_quantises_no_cache_by_itself():
    model = need("Qwen/Qwen2.5-7B-Instruct", repository=True)
    found = gpu_tuning(L4, model, 4, Wanted("vllm"))
    assert (found.slots, found.kv_type) == (32, "f16")
    assert model is not None
    assert fits(model, asked(found, "vllm"), L4)


def test_layers_that_stay_with_the_processor_take_no_more_context_than_its_memory_bears():
    model = need("bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:Q4_K_M")
    part = replace(LLAMA, gpu_layers=24)
    large = gpu_tuning(L4, model, 4, replace(part, memory_bytes=128 * 10**9))
    small = gpu_tuning(L4, model, 4, replace(part, memory_bytes=34 * 10**9))
    assert large == gpu_tuning(L4, model, 4, part)
    assert small.slots * small.context_tokens < large.slots * large.context_tokens
