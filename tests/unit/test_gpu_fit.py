"""What a model takes of GPU memory by its name: never more than what it has, if it is refused."""

import pytest

from components.catalogue.gcp_gpu import find_gpu, which_fit
from components.models.need import NOTHING, Bounds, ModelNeed, model_need
from components.models.reference import parse_model_reference
from components.sizing.gpu_fit import (
    Asked,
    beside,
    fits,
    left_to_the_processor,
    longest_context,
    room,
    shortfall,
    taken,
)

L4 = (find_gpu("l4"), 1)

# Sizes of the files, of all of them where it is a repository, as the hub lists them, in GB.
FILES = {
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M": 4.68,
    "bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M": 47.4,
    "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:Q2_K": 26.4,
    "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:IQ1_M": 16.8,
    "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF:Q4_K_M": 26.44,
    "unsloth/gpt-oss-20b-GGUF:Q4_K_M": 11.6,
    "unsloth/gpt-oss-20b-GGUF:F16": 13.8,
    "unsloth/gpt-oss-120b-GGUF:F16": 65.4,
    "unsloth/Llama-4-Scout-17B-16E-Instruct-GGUF:Q4_K_M": 65.4,
    "TheBloke/vicuna-13B-v1.5-GGUF:Q8_0": 13.83,
}
REPOSITORIES = {
    "Qwen/Qwen2.5-7B-Instruct": 15.2,
    "Qwen/Qwen2.5-7B-Instruct-AWQ": 5.58,
    "neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8": 9.08,
    "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4": 39.8,
    "openai/gpt-oss-20b": 13.8,
}


def need(reference: str, *, repository: bool = False) -> ModelNeed:
    found = model_need(parse_model_reference(reference), repository=repository)
    assert found is not None
    return found


def llama(context_tokens: int = 4096, slots: int = 8, kv_type: str = "f16", **more: int) -> Asked:
    return Asked("llama_cpp", context_tokens, slots, kv_type, more.get("gpu_layers"))


@pytest.mark.parametrize("reference", [*FILES, *REPOSITORIES])
def test_what_a_model_weighs_lies_between_the_least_and_the_likely(reference: str):
    repository = reference in REPOSITORIES
    weighs = {**FILES, **REPOSITORIES}[reference] * 1e9
    weights = need(reference, repository=repository).weights
    assert weights.least <= weighs <= weights.likely


@pytest.mark.parametrize(
    ("reference", "elements"),
    [
        ("bartowski/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M", 28_672),
        ("unsloth/DeepSeek-R1-Distill-Qwen-14B-GGUF:Q4_K_M", 98_304),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q8_0", 65_536),
        ("TheBloke/vicuna-13B-v1.5-GGUF:vicuna-13b-v1.5.Q8_0.gguf", 409_600),
        ("unsloth/Qwen3-30B-A3B-GGUF:Q4_K_M", 49_152),
        ("TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF:Q4_K_M", 65_536),
    ],
)
def test_the_cache_of_a_known_family_is_what_its_published_shape_gives(
    reference: str, elements: int
):
    assert need(reference).kv_elements == Bounds(elements, elements)


@pytest.mark.parametrize(
    "reference", ["o/Qwen3.5-27B-GGUF:Q4_K_M", "o/Qwen3-Next-80B-A3B-GGUF:Q4_K_M", "o/x-7B-GGUF"]
)
def test_the_cache_of_another_family_is_bounded_widely(reference: str):
    elements = need(reference).kv_elements
    assert elements.least * 10 < elements.likely


def test_a_name_without_a_size_is_not_judged():
    assert model_need(parse_model_reference("microsoft/phi-4-gguf:Q4_K")) is None


def test_it_is_said_how_much_is_missing_and_what_would_fit():
    big = need("bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M")
    short = shortfall(big, llama(slots=2), L4, which_fit(0))
    assert short is not None
    assert short.surely
    missing = taken(big, llama(slots=2), 1).least - room(L4, "llama_cpp")
    assert f"1 l4 has 23.6 GB for it: {missing / 1e9:.1f} GB are missing" in short.said
    assert "KV cache in f16 for 2 slots of 4096 tokens" in short.said
    assert "any of these would fit: " in short.offered
    assert [change.key for change in short.changes] == ["machine_type"] * 3


def test_each_change_that_is_offered_fits():
    asked = llama(context_tokens=32_768, slots=12)
    model = need("bartowski/Qwen2.5-7B-Instruct-GGUF:Q6_K")
    short = shortfall(model, asked, L4, which_fit(0))
    assert short is not None
    offered = {change.key: change.value for change in short.changes if change.key}
    assert offered.keys() == {"context_tokens", "slots", "kv_type", "machine_type"}
    assert fits(model, llama(context_tokens=int(offered["context_tokens"] or 0), slots=12), L4)
    assert not fits(
        model, llama(context_tokens=int(offered["context_tokens"] or 0) + 256, slots=12), L4
    )
    slots = int(offered["slots"] or 0)
    assert fits(model, llama(context_tokens=32_768, slots=slots), L4)
    assert not fits(model, llama(context_tokens=32_768, slots=slots + 1), L4)
    assert fits(model, llama(context_tokens=32_768, slots=12, kv_type="q8_0"), L4)


def test_a_smaller_quantisation_is_named_where_one_fits():
    short = shortfall(
        need("bartowski/Qwen2.5-32B-Instruct-GGUF:Q6_K"), llama(1024, 1), L4, which_fit(0)
    )
    assert short is not None
    assert "its Q4_K_M" in [change.words for change in short.changes]


def test_of_an_unknown_family_only_what_the_least_exceeds_is_sure():
    model = need("o/foo-8B-GGUF:Q8_0")
    likely = shortfall(model, llama(32_768, 8), L4, which_fit(0))
    assert likely is not None
    assert not likely.surely
    assert "may be missing" in likely.said
    surely = shortfall(model, llama(1_048_576, 8), L4, which_fit(0))
    assert surely is not None
    assert surely.surely


def test_several_gpus_add_up():
    model = need("bartowski/Qwen2.5-32B-Instruct-GGUF:Q8_0")
    assert not fits(model, llama(), L4)
    assert fits(model, llama(), (L4[0], 4))
    assert taken(model, llama(), 4).least > taken(model, llama(), 1).least


def test_with_a_number_of_layers_their_share_counts_and_the_rest_is_the_processors():
    model = need("bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M")
    part = llama(gpu_layers=27)
    assert fits(model, part, L4)
    rest = left_to_the_processor(model, part)
    cache = model.kv_elements.least * part.cached_tokens * 2
    assert rest.least == pytest.approx((model.weights.least + cache) * 2 / 3)
    assert left_to_the_processor(model, llama()) == NOTHING
    assert left_to_the_processor(model, llama(gpu_layers=81)).likely == 0


def test_vllm_holds_one_request_at_least_and_keeps_a_share_of_each_gpu():
    model = need("Qwen/Qwen2.5-7B-Instruct", repository=True)
    one, many = Asked("vllm", 8192, 1, "f16"), Asked("vllm", 8192, 64, "f16")
    assert taken(model, one, 1) == taken(model, many, 1)
    assert room(L4, "vllm") < L4[0].memory_bytes
    assert taken(model, Asked("vllm", 8192, 1, "fp8"), 1).likely < taken(model, one, 1).likely


def test_vllm_is_offered_a_quantised_repository():
    model = need("Qwen/Qwen2.5-14B-Instruct", repository=True)
    short = shortfall(model, Asked("vllm", 8192, 8, "f16"), L4, which_fit(0))
    assert short is not None
    assert any("repository of the model" in change.words for change in short.changes)
    awq = need("Qwen/Qwen2.5-72B-Instruct-AWQ", repository=True)
    short = shortfall(awq, Asked("vllm", 8192, 8, "f16"), L4, which_fit(0))
    assert short is not None
    assert not any("repository of the model" in change.words for change in short.changes)


def test_a_server_beside_it_takes_its_part():
    model = need("bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M")
    small = beside(need("Qwen/Qwen3-Embedding-0.6B-GGUF:Q8_0"), 8192)
    assert small.least < 1.2e9 < small.likely
    asked = Asked("llama_cpp", 4096, 8, "f16", beside=small)
    assert longest_context(model, asked, L4) < longest_context(model, llama(), L4)
    assert beside(None, 8192).least == 0


def test_a_model_that_vllm_quantises_as_it_loads_it_takes_what_it_becomes():
    reference = parse_model_reference("Qwen/Qwen2.5-32B-Instruct")
    loaded = model_need(reference, repository=True, quantization="fp8")
    plain = model_need(reference, repository=True)
    assert loaded is not None
    assert plain is not None
    assert loaded.weights.likely < plain.weights.likely * 0.6
    # What is quantised already stays as it is.
    awq = parse_model_reference("Qwen/Qwen2.5-32B-Instruct-AWQ")
    assert model_need(awq, repository=True, quantization="fp8") == model_need(awq, repository=True)


def test_the_machines_own_memory_bounds_the_context_of_layers_that_are_left_to_it():
    model, part = need("o/Llama-3.1-70B-GGUF:Q4_K_M"), llama(slots=1, gpu_layers=24)
    free = longest_context(model, part, L4)
    bound = longest_context(model, part, L4, 40 * 10**9)
    assert 0 < bound < free
    at = Asked("llama_cpp", bound, 1, "f16", 24)
    assert left_to_the_processor(model, at).likely <= 40 * 10**9
    assert longest_context(model, part, L4, 10**9) == 0
    assert longest_context(model, llama(slots=1), (L4[0], 4), 10**9) > 0
