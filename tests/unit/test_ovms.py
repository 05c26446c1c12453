"""How OpenVINO Model Server serves a model, and what a version of it lacks."""

from dataclasses import replace

import pytest

from components.engines import known_flags, ovms
from components.engines.ovms import (
    NO_PARSER,
    OvmsOptions,
    Parsers,
    Task,
    Version,
    is_reserved,
    launch,
    missing_features,
    parse_version,
    parsers_for,
    pooling_for,
    reasoning_parsers,
    tool_parsers,
)
from components.launch import Accelerator, Capability, Form, Slot

OPTIONS = OvmsOptions("Qwen3-8B-int4-ov", slots=8, cache_gb=40)
EVERYTHING = replace(OPTIONS, tool_parser="hermes3", reasoning_parser="qwen3")
EMBEDDINGS = OvmsOptions("bge-base-en-v1.5-int8-ov", slots=4, task=Task.EMBEDDINGS, pooling="CLS")
PINNED = Version(2026, 3, 1)


@pytest.mark.parametrize(
    ("repo", "pooling"),
    [
        ("Qwen3-Embedding-0.6B-int8-ov", "LAST"),
        ("bge-base-en-v1.5-int8-ov", "CLS"),
        ("bge-m3-int8-ov", "CLS"),
        ("gte-large-en-v1.5-int8-ov", "CLS"),
        ("multilingual-e5-large-instruct-int8-ov", "MEAN"),
        ("e5-mistral-7b-instruct-int8-ov", "LAST"),
        ("all-MiniLM-L12-v2-int8-ov", "MEAN"),
        ("bge-reranker-base-int8-ov", None),
        ("gte-small", None),
        ("own-embedding-ov", None),
    ],
)
def test_a_family_s_pooling_is_known_by_its_name(repo: str, pooling: str | None):
    assert pooling_for(repo) == pooling


def value_of(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_what_is_chosen_becomes_flags():
    arguments = launch(EVERYTHING).arguments
    assert value_of(arguments, "--model_path") is Slot.MODEL
    assert value_of(arguments, "--model_name") == "Qwen3-8B-int4-ov"
    assert value_of(arguments, "--task") == "text_generation"
    assert value_of(arguments, "--cache_size") == "40"
    assert value_of(arguments, "--max_num_seqs") == "8"
    assert value_of(arguments, "--kv_cache_precision") == "u8"
    assert value_of(arguments, "--tool_parser") == "hermes3"
    assert value_of(arguments, "--reasoning_parser") == "qwen3"


@pytest.mark.parametrize("options", [EVERYTHING, EMBEDDINGS])
def test_every_flag_of_any_launch_is_one_that_the_pinned_image_takes(options: OvmsOptions):
    written = {word for word in launch(options).arguments if word.startswith("-")}
    assert written <= set(known_flags.flags_of("ovms"))


def test_it_computes_on_the_processor_though_the_image_could_more():
    assert value_of(launch(OPTIONS).arguments, "--target_device") == "CPU"
    assert launch(OPTIONS).accelerators == {Accelerator.CPU}
    assert launch(OPTIONS).forms == {Form.POD}


def test_it_listens_on_one_port_where_the_place_says_and_asks_for_no_key():
    one = launch(OPTIONS)
    assert value_of(one.arguments, "--rest_port") is Slot.PORT
    assert value_of(one.arguments, "--rest_bind_address") is Slot.HOST
    assert "--port" not in one.arguments
    assert not one.checks_keys
    assert "API_KEY" not in one.environment


def test_switches_have_no_value_and_choices_have_one():
    arguments = launch(OPTIONS).arguments
    assert value_of(arguments, "--metrics_enable").startswith("--")
    assert value_of(arguments, "--enable_prefix_caching") == "true"
    without = launch(replace(OPTIONS, prefix_caching=False)).arguments
    assert value_of(without, "--enable_prefix_caching") == "false"


def test_it_is_ready_when_its_model_is():
    probe = launch(OPTIONS).probe
    assert probe.path == "/v2/models/Qwen3-8B-int4-ov/ready"
    assert probe.loading_status == 404
    assert probe.live_path == "/v2/health/live"
    assert launch(OPTIONS).api_path == "/v3"


def test_a_name_with_a_slash_which_its_paths_do_not_take_is_refused():
    with pytest.raises(ValueError, match="takes no slash"):
        launch(replace(OPTIONS, model_id="OpenVINO/Qwen3-8B-int4-ov"))


def test_a_server_of_embeddings_has_flags_and_claims_of_its_own():
    one = launch(EMBEDDINGS)
    assert value_of(one.arguments, "--pooling") == "CLS"
    for flag in ("--cache_size", "--max_num_seqs", "--enable_prefix_caching", "--tool_parser"):
        assert flag not in one.arguments
    assert one.capabilities == {Capability.EMBEDDINGS}
    assert "--pooling" not in launch(replace(EMBEDDINGS, pooling=None)).arguments


def test_tool_calls_are_claimed_only_with_a_parser_that_is_named():
    assert launch(OPTIONS).capabilities == {Capability.JSON_SCHEMA}
    assert launch(replace(OPTIONS, tool_parser=NO_PARSER)).capabilities == {Capability.JSON_SCHEMA}
    assert Capability.TOOL_CALLS in launch(EVERYTHING).capabilities


def test_a_persons_flags_come_last():
    given = replace(OPTIONS, extra_flags=("--log_level", "DEBUG"))
    assert launch(given).arguments[-2:] == ("--log_level", "DEBUG")


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("2026.3.1", Version(2026, 3, 1)),
        ("2026.3.1-gpu", Version(2026, 3, 1)),
        ("2026.2", Version(2026, 2)),
        ("2025.4.1-py", Version(2025, 4, 1)),
        ("latest", None),
        ("latest-gpu", None),
        ("weekly", None),
        ("", None),
    ],
)
def test_a_tag_tells_its_version(tag: str, version: Version | None):
    assert parse_version(tag) == version


def test_versions_have_an_order_and_are_written_as_in_tags():
    assert Version(2025, 4, 1) < Version(2026, 0) < Version(2026, 2) < PINNED
    assert [str(one) for one in (Version(2026, 2), PINNED)] == ["2026.2", "2026.3.1"]


def test_the_pinned_version_lacks_nothing_of_a_usual_model():
    assert missing_features(PINNED, "hermes3", "qwen3") == ()
    assert missing_features(PINNED, NO_PARSER, None) == ()
    assert missing_features(None, "onyx", None) == ()


def test_an_image_that_would_write_into_the_model_s_folder_is_too_old():
    (missing,) = missing_features(Version(2026, 1), None, None)
    assert missing.key == "container_image"
    assert "2026.1 is too old" in missing.said
    assert "came with 2026.2" in missing.said


def test_an_image_before_the_parsers_is_too_old_for_both_reasons():
    (missing,) = missing_features(Version(2025, 2), "hermes3", None)
    assert "tool_call_parser, which came with 2025.3" in missing.said
    assert "came with 2026.2" in missing.said


def test_a_parser_that_came_later_asks_for_a_newer_image():
    (missing,) = missing_features(Version(2026, 2), "minicpm5", "qwen3")
    assert missing.key == "container_image"
    assert "no tool_call_parser minicpm5, which came with 2026.3" in missing.said


def test_a_parser_that_no_version_has_is_told_those_there_are():
    (missing,) = missing_features(PINNED, "hermes", None)
    assert (missing.key, missing.value) == ("tool_call_parser", "hermes3")
    assert "llama3" in missing.said
    assert missing.said.endswith("none")
    (missing,) = missing_features(PINNED, None, "zzz")
    assert (missing.key, missing.value) == ("reasoning_parser", None)


def test_each_version_has_the_parsers_of_those_before():
    assert "minicpm5" not in tool_parsers(Version(2026, 2))
    assert set(tool_parsers(Version(2026, 2))) < set(tool_parsers(PINNED)) < set(tool_parsers(None))
    assert "qwen3" in reasoning_parsers(Version(2026, 2))


@pytest.mark.parametrize(
    ("repo", "parsers"),
    [
        ("Qwen3-8B-int4-ov", Parsers("hermes3", "qwen3")),
        ("Qwen3-30B-A3B-Instruct-2507-int4-ov", Parsers("hermes3")),
        ("Qwen3-Coder-30B-A3B-Instruct-int4-ov", Parsers("qwen3coder")),
        ("Qwen2.5-1.5B-Instruct-int4-ov", Parsers("hermes3")),
        ("Phi-4-mini-instruct-int4-ov", Parsers("phi4")),
        ("Mistral-7B-Instruct-v0.3-int4-ov", Parsers("mistral")),
        ("gpt-oss-20b-int4-ov", Parsers("gptoss", "gptoss")),
        ("Qwen3-Embedding-0.6B-int8-ov", Parsers()),
        ("a-model-of-ones-own-7B-int4-ov", Parsers()),
    ],
)
def test_a_family_has_its_parsers(repo: str, parsers: Parsers):
    assert parsers_for(repo, PINNED) == parsers


def test_every_family_s_parsers_are_ones_that_the_pinned_version_has():
    for _, parsers in ovms._FAMILIES:  # pyright: ignore[reportPrivateUsage]
        assert parsers.tool is None or parsers.tool in tool_parsers(PINNED)
        assert parsers.reasoning is None or parsers.reasoning in reasoning_parsers(PINNED)


def test_a_family_s_parser_is_left_out_where_the_version_lacks_it():
    assert parsers_for("Qwen3-8B-int4-ov", Version(2025, 4)) == Parsers()


@pytest.mark.parametrize(
    "word",
    [
        "--model_path",
        "--model_name=x",
        "--cache_size=4",
        "--tool_parser",
        "--rest_bind_address",
        "--port",
        "--grpc_bind_address",
        "--api_key_file",
        "--source_model",
        "--config_path",
        "--allowed_origins",
        "--allow_credentials",
        "--cpu_extension",
        "--weight-format",
        "-h",
    ],
)
def test_flags_of_other_keys_and_those_that_open_the_machine_are_reserved(word: str):
    assert is_reserved(word)


@pytest.mark.parametrize(
    "word", ["--plugin_config", "--max_num_batched_tokens=512", "--log_level", "--rest_workers"]
)
def test_other_flags_are_a_person_s_own(word: str):
    assert not is_reserved(word)
