"""How vLLM serves a model."""

from dataclasses import replace

import pytest

from components.engines import known_flags
from components.engines.vllm import CACHE, VllmOptions, is_reserved, launch
from components.launch import Accelerator, Capability, Form, Slot

OPTIONS = VllmOptions("m", 4096, 8)
EVERYTHING = VllmOptions(
    "m",
    4096,
    8,
    gpus=4,
    memory_share=0.5,
    kv_type="fp8",
    quantization="awq",
    tool_call_parser="hermes",
    chat_template="{{ messages }}",
)


def value_of(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_the_model_is_the_one_word_that_follows_the_command():
    assert launch(OPTIONS).arguments[:2] == ("serve", Slot.MODEL)
    assert value_of(launch(OPTIONS).arguments, "--served-model-name") == "m"


def test_the_place_decides_address_and_port_and_no_key_is_asked_for():
    arguments = launch(OPTIONS).arguments
    assert value_of(arguments, "--host") is Slot.HOST
    assert value_of(arguments, "--port") is Slot.PORT
    assert "--api-key" not in arguments
    assert not launch(OPTIONS).checks_keys


def test_every_flag_of_any_launch_is_one_that_the_pinned_image_takes():
    written = {word for word in launch(EVERYTHING).arguments if word.startswith("-")}
    assert {"--kv-cache-dtype", "--quantization", "--chat-template"} <= written
    assert written <= set(known_flags.flags_of("vllm"))


def test_what_is_chosen_becomes_flags():
    arguments = launch(EVERYTHING).arguments
    assert value_of(arguments, "--max-model-len") == "4096"
    assert value_of(arguments, "--max-num-seqs") == "8"
    assert value_of(arguments, "--tensor-parallel-size") == "4"
    assert value_of(arguments, "--gpu-memory-utilization") == "0.50"
    assert value_of(arguments, "--kv-cache-dtype") == "fp8"
    assert value_of(arguments, "--quantization") == "awq"
    assert value_of(arguments, "--chat-template") == "{{ messages }}"


def test_what_is_not_chosen_is_left_to_vllm():
    arguments = launch(OPTIONS).arguments
    assert value_of(arguments, "--max-num-seqs") == "8"
    for flag in ("--kv-cache-dtype", "--quantization", "--tool-call-parser", "--chat-template"):
        assert flag not in arguments


def test_a_context_that_nobody_chose_is_the_most_that_the_model_and_the_gpus_bear():
    assert value_of(launch(replace(OPTIONS, context_tokens=None)).arguments, "--max-model-len") == (
        "auto"
    )


def test_tool_calls_are_claimed_only_with_a_parser_that_reads_them():
    assert Capability.TOOL_CALLS not in launch(OPTIONS).capabilities
    assert "--enable-auto-tool-choice" not in launch(OPTIONS).arguments
    with_parser = launch(replace(OPTIONS, tool_call_parser="hermes"))
    assert Capability.TOOL_CALLS in with_parser.capabilities
    assert "--enable-auto-tool-choice" in with_parser.arguments
    assert value_of(with_parser.arguments, "--tool-call-parser") == "hermes"


def test_a_persons_flags_come_last():
    given = replace(OPTIONS, extra_flags=("--gpu-memory-utilization", "0.7"))
    assert launch(given).arguments[-2:] == ("--gpu-memory-utilization", "0.7")


def test_it_needs_an_nvidia_gpu_and_a_container():
    assert launch(OPTIONS).accelerators == {Accelerator.CUDA}
    assert launch(OPTIONS).forms == {Form.CONTAINER, Form.POD}


def test_it_asks_no_hub_reports_no_usage_and_stays_on_loopback():
    environment = launch(OPTIONS).environment
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["VLLM_HOST_IP"] == "127.0.0.1"


def test_what_it_compiles_is_kept_where_the_place_lets_it_write():
    environment = launch(OPTIONS).environment
    for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert environment[name].startswith(f"{CACHE}/")


@pytest.mark.parametrize(
    "word",
    [
        "--api-key",
        "--api_key=abc",
        "--api-k",
        "--ssl-keyfile",
        "--allowed-local-media-path",
        "--model",
        "--hf-token=x",
        "--served_model_name",
        "--max-model-len",
        "-tp=2",
        "-q",
        "-dpa",
        "--config",
        "--kv-transfer-config.kv_role",
        "--middleware",
        "--tokenizer",
    ],
)
def test_flags_of_other_keys_and_those_that_open_the_machine_are_reserved(word: str):
    assert is_reserved(word)


@pytest.mark.parametrize(
    "word",
    [
        "--enforce-eager",
        "--reasoning-parser",
        "--max-num-batched-tokens",
        "--gpu-memory-utilization",
        "--tensor-parallel-size",
        "--model-impl",
        "--speculative-config.method",
        "--tokenizer-mode",
        "-O3",
        "-pp",
        "4",
        "-1",
    ],
)
def test_other_flags_and_values_are_not_reserved(word: str):
    assert not is_reserved(word)


def test_nothing_that_the_launch_writes_can_be_written_again_but_shares_and_logs():
    written = {word for word in launch(EVERYTHING).arguments if word.startswith("-")}
    assert {word for word in written if not is_reserved(word)} == {
        "--gpu-memory-utilization",
        "--tensor-parallel-size",
        "--disable-uvicorn-access-log",
    }
