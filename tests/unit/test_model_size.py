"""The size of a model, guessed from its name: close where it can be told, and silent elsewhere."""

import pytest

from components.models.need import openvino_need
from components.models.reference import parse_model_reference
from components.models.size import guess, guess_openvino, guess_repository, is_openvino

# Sizes of the files as the hub lists them, in GB.
KNOWN = {
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf": 4.68,
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-IQ3_M.gguf": 3.57,
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q8_0.gguf": 8.10,
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Q6_K": 6.25,
    "bartowski/Qwen2.5-7B-Instruct-GGUF:Q5_K_L": 5.78,
    "bartowski/Qwen2.5-7B-Instruct-GGUF": 4.68,
    "bartowski/Qwen2.5-72B-Instruct-GGUF:Qwen2.5-72B-Instruct-Q4_K_M.gguf": 47.4,
    "bartowski/Qwen2.5-72B-Instruct-GGUF:Qwen2.5-72B-Instruct-IQ3_M.gguf": 35.5,
    "unsloth/Qwen3-4B-Instruct-2507-GGUF:Qwen3-4B-Instruct-2507-Q4_K_M.gguf": 2.50,
    "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF:mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf": 26.44,
    "https://example.org/models/llama-3.1-8b-instruct-f16.gguf": 16.07,
}


@pytest.mark.parametrize("reference", KNOWN)
def test_a_name_tells_the_size_within_a_seventh(reference: str):
    size = guess(parse_model_reference(reference))
    assert size is not None
    assert size.size_bytes / 1e9 == pytest.approx(KNOWN[reference], rel=1 / 7)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("SmolLM2-135M-Instruct-Q8_0", 135e6),
        ("qwen2.5-0.5b-instruct-q4_k_m", 0.5e9),
        ("Qwen3-30B-A3B-Instruct-Q4_K_M", 30e9),
        ("gpt-oss-20b-mxfp4", 20e9),
        ("model_7b_chat-Q4_0", 7e9),
    ],
)
def test_parameters_are_read_as_names_spell_them(name: str, parameters: float):
    size = guess(parse_model_reference(f"o/r:{name}.gguf"))
    assert size is not None
    assert size.parameters == parameters


@pytest.mark.parametrize(
    "reference",
    [
        "o/Phi-3-mini-4k-instruct-gguf:Q4_K_M",
        "o/llama-7b-4bit-GGUF:weights.gguf",
        "o/gemma-3n-E2B-GGUF:Q4_0",
        "https://example.org/model.gguf",
        "builtin:stand-in",
        "o/v0.1b7-GGUF:Q8_0",
    ],
)
def test_what_a_name_does_not_tell_is_not_guessed(reference: str):
    assert guess(parse_model_reference(reference)) is None


def test_the_longest_name_of_a_quantisation_is_meant():
    small = guess(parse_model_reference("o/m-7B-GGUF:IQ2_XXS"))
    large = guess(parse_model_reference("o/m-7B-GGUF:IQ2_XS"))
    assert small is not None
    assert large is not None
    assert small.bits_per_weight < large.bits_per_weight


@pytest.mark.parametrize(
    ("reference", "parameters", "bits_per_weight"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7e9, 16),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 7e9, 4.5),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", 7e9, 4.5),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", 7e9, 8.2),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", 8e9, 8.2),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", 8e9, 4.5),
        ("unsloth/Llama-3.2-3B-bnb-4bit", 3e9, 4.5),
        ("openai/gpt-oss-20b", 20e9, 4.25),
        ("unsloth/gpt-oss-20b-BF16", 20e9, 16),
    ],
)
def test_a_repository_of_safetensors_has_16_bits_unless_its_name_says_fewer(
    reference: str, parameters: float, bits_per_weight: float
):
    size = guess_repository(parse_model_reference(reference))
    assert size is not None
    assert (size.parameters, size.bits_per_weight) == (parameters, bits_per_weight)


@pytest.mark.parametrize("reference", ["microsoft/phi-4", "https://example.org/m-7B-Q4_K_M.gguf"])
def test_a_repository_whose_name_does_not_tell_its_size_is_not_guessed(reference: str):
    assert guess_repository(parse_model_reference(reference)) is None


# Weights of OpenVINO's own repositories, in GB.
OPENVINO = {
    "OpenVINO/Qwen3-8B-int4-ov": 4.86,
    "OpenVINO/Qwen3-4B-int4-ov": 2.29,
    "OpenVINO/Qwen2.5-1.5B-Instruct-int4-ov": 0.94,
    "OpenVINO/Mistral-7B-Instruct-v0.3-int4-ov": 4.0,
    "OpenVINO/gpt-oss-20b-int4-ov": 12,
    "OpenVINO/Qwen3-Coder-30B-A3B-Instruct-int4-ov": 16,
}


@pytest.mark.parametrize("reference", OPENVINO)
def test_the_name_of_an_openvino_repository_tells_its_size(reference: str):
    need = openvino_need(parse_model_reference(reference))
    assert need is not None
    assert need.weights.least <= OPENVINO[reference] * 1e9 <= need.weights.likely * 1.1
    assert need.weights.likely <= OPENVINO[reference] * 1e9 * 1.25


@pytest.mark.parametrize(
    ("name", "bits_per_weight"),
    [("Qwen3-8B-int4-cw-ov", 4.6), ("Qwen3-8B-int8-ov", 8.2), ("Qwen3-8B-fp16-ov", 16)],
)
def test_the_precision_of_an_openvino_repository_is_a_word_of_its_name(name, bits_per_weight):
    size = guess_openvino(parse_model_reference(f"OpenVINO/{name}"))
    assert size is not None
    assert size.bits_per_weight == bits_per_weight


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("OpenVINO/Qwen3-8B-int4-ov", True),
        ("OpenVINO/Qwen3-8B-int4-ov@5c47abf4", True),
        ("me/phi-4-openvino-int8", True),
        ("Qwen/Qwen3-8B", False),
        ("Qwen/Qwen3-8B-GGUF:Q4_K_M", False),
        ("someone/novel-ovation-7B", False),
        ("https://example.org/model-ov.gguf", False),
    ],
)
def test_a_name_says_that_a_repository_is_openvino_s(reference: str, said: bool):
    assert is_openvino(parse_model_reference(reference)) is said
