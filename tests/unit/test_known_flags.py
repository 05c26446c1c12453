"""What the pinned builds of the container engines know."""

import re

import pytest

from components.engines import known_flags, llama_cpp, vllm
from components.engines.known_flags import flags_of, is_reserved, unknown

ENGINES = ("llama_cpp", "vllm", "ovms")


def test_the_lists_hold_names_alone():
    for engine in ENGINES:
        assert all(re.fullmatch(r"--?[A-Za-z0-9][A-Za-z0-9._-]*", one) for one in flags_of(engine))
    names = (
        *known_flags.chat_templates(),
        *known_flags.tool_parsers(),
        *known_flags.quantizations(),
    )
    assert all(re.fullmatch(r"[a-z0-9][A-Za-z0-9_.-]*", one) for one in names)
    assert {"vicuna", llama_cpp.JINJA_TEMPLATE} <= set(known_flags.chat_templates())
    assert "hermes" in known_flags.tool_parsers()
    assert "awq" in known_flags.quantizations()


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("llama_cpp", "--threads-batch 8 --threads-http 8 --cont-batching -ub 512 -fa on"),
        ("llama_cpp", "--cache_ram -1 --seed -7"),
        ("vllm", "--enforce-eager -O3 -pp 2 --max_num_batched_tokens 4096"),
        ("vllm", "--compilation-config.mode 3 --dtype=half -O=2 --seed -1"),
        ("ovms", "--max_num_batched_tokens=512 --dynamic_split_fuse false --rest_workers 8"),
        ("ovms", '--plugin_config {"INFERENCE_PRECISION_HINT":"f32"}'),
    ],
)
def test_flags_that_the_build_takes_are_let_through(engine: str, words: str):
    assert unknown(engine, words.split()) == ()


@pytest.mark.parametrize(
    ("engine", "words", "said"),
    [
        ("llama_cpp", "--no-mmap", "llama-server b11459 has no flag --no-mmap; it is --load-mode"),
        ("llama_cpp", "--flash-atn on", "did you mean --flash-attn"),
        ("llama_cpp", "--seed=1", "takes the value of --seed as a word of its own"),
        ("llama_cpp", "stray", "begins with a word that belongs to no flag"),
        ("vllm", "--enforce-eagr", "vllm serve v0.31.0 has no flag --enforce-eagr; did you mean"),
        ("vllm", "--disable-log-requests", "requests are not logged"),
        ("vllm", "--swap-space 4", "vllm serve v0.31.0 has no flag --swap-space"),
        ("ovms", "--dynamic-split-fuse true", "ovms 2026.3 has no flag --dynamic-split-fuse; did"),
        ("ovms", "--response_parser hermes3", "it is the keys tool_call_parser and reasoning"),
        ("ovms", "--max_prompt_len 8000", "--max_prompt_len is for other tasks than generating"),
    ],
)
def test_a_flag_that_the_build_does_not_take_is_named_with_what_would_do(engine, words, said):
    (sentence,) = unknown(engine, words.split())
    assert said in sentence


def test_no_value_is_repeated():
    for engine in ENGINES:
        said = unknown(engine, ["--nope=sk-secret", "--nope", "sk-secret"])
        assert said
        assert not any("sk-secret" in sentence for sentence in said)


def test_what_a_key_sets_in_a_container_is_reserved_there():
    for word in ("--gpu-layers", "-ngl", "--split_mode", "--chat-template", "--no-jinja", "--host"):
        assert is_reserved("llama_cpp", word)
    for word in ("--threads", "--cache-ram", "-ub", "--main-gpu"):
        assert not is_reserved("llama_cpp", word)
    assert is_reserved("vllm", "--api-key")
    assert is_reserved("ovms", "--rest_bind_address=0.0.0.0")
    assert not is_reserved("ovms", "--max_num_batched_tokens")


def test_every_reserved_flag_of_vllm_is_one_that_it_takes():
    listed = set(flags_of("vllm"))
    assert set(vllm.RESERVED_FLAGS) <= listed
