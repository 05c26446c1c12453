"""How llama.cpp serves a model, and what its wheel can be given."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.compose import Place, UnsupportedCombinationError, form_for
from components.engines import known_flags
from components.engines.llama_cpp import LlamaCppOptions, launch
from components.engines.llama_cpp_flags import FLAGS, ChoiceFlag, FlagError, parse
from components.launch import Accelerator, Capability, Form, Slot
from components.models.identity import model_id
from components.models.reference import parse_model_reference
from components.rendering.process import ProcessLaunch, process_launch
from scripts import reference
from scripts.serve import wheel_server

OPTIONS = LlamaCppOptions(model_id="m", context_tokens=4096, slots=4)
UNCHOSEN = (
    *("--threads", "--batch-size", "--cache-type-k", "--flash-attn"),
    *("--gpu-layers", "--split-mode", "--chat-template"),
)


def value_of(arguments: tuple[str, ...], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_the_context_is_shared_by_the_slots_so_each_gets_what_was_asked():
    arguments = launch(OPTIONS).arguments
    assert value_of(arguments, "--ctx-size") == "16384"
    assert value_of(arguments, "--parallel") == "4"


def test_place_and_secret_are_left_to_the_target():
    arguments = launch(OPTIONS).arguments
    assert value_of(arguments, "--port") is Slot.PORT
    assert value_of(arguments, "--api-key-file") is Slot.KEY_FILE
    assert "--api-key" not in arguments


def test_embeddings_are_claimed_only_where_they_are_served():
    assert Capability.EMBEDDINGS not in launch(OPTIONS).capabilities
    both = launch(LlamaCppOptions("m", 4096, 4, embeddings=True))
    assert Capability.EMBEDDINGS in both.capabilities
    assert "--embeddings" in both.arguments


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 7, 64, 256])
def test_the_micro_batch_for_embeddings_is_a_multiple_of_the_slots(slots: int):
    arguments = launch(LlamaCppOptions("m", 4096, slots, embeddings=True)).arguments
    batch = int(value_of(arguments, "--ubatch-size"))
    assert batch % slots == 0
    assert 2048 - slots < batch <= 2048
    assert value_of(arguments, "--batch-size") == str(batch)


def test_what_is_not_chosen_is_left_to_llama_cpp():
    for flag in UNCHOSEN:
        assert flag not in launch(OPTIONS).arguments


def test_what_is_chosen_about_the_gpus_becomes_flags():
    arguments = launch(replace(OPTIONS, gpu_layers="20", split_mode="row")).arguments
    assert value_of(arguments, "--gpu-layers") == "20"
    assert value_of(arguments, "--split-mode") == "row"


@pytest.mark.parametrize("name", ["vicuna", "llama3", "mistral-v7"])
def test_a_template_of_llama_cpps_own_is_named_without_jinja(name: str):
    named = launch(replace(OPTIONS, chat_template=name))
    assert "--no-jinja" in named.arguments
    assert value_of(named.arguments, "--chat-template") == name
    assert named.capabilities == {Capability.JSON_SCHEMA}


@pytest.mark.parametrize(
    "template", ["chatml", "{{ messages[0].content }}", "{% for tool in tools %}.{% endfor %}"]
)
def test_a_template_that_jinja_takes_leaves_jinja_on(template: str):
    arguments = launch(replace(OPTIONS, chat_template=template)).arguments
    assert "--no-jinja" not in arguments
    assert value_of(arguments, "--chat-template") == template


@pytest.mark.parametrize(
    ("template", "claimed"),
    [
        (None, True),
        ("{% for tool in tools %}{{ tool }}{% endfor %}{{ messages }}", True),
        ("{{ messages }}", False),
        ("chatml", False),
        ("vicuna", False),
    ],
)
def test_tool_calls_are_claimed_where_the_template_tells_the_model_of_tools(template, claimed):
    found = launch(replace(OPTIONS, chat_template=template)).capabilities
    assert (Capability.TOOL_CALLS in found) == claimed
    assert Capability.JSON_SCHEMA in found


def test_every_flag_of_any_launch_is_one_that_the_pinned_image_takes():
    every = LlamaCppOptions(
        "m",
        4096,
        4,
        threads=8,
        batch_tokens=1024,
        micro_batch_tokens=256,
        kv_type="q8_0",
        flash_attention="on",
        gpu_layers="all",
        split_mode="layer",
        chat_template="vicuna",
    )
    embeds = replace(every, embeddings=True)
    written = {
        word
        for options in (every, embeds)
        for word in launch(options).arguments
        if word.startswith("-")
    }
    assert {*UNCHOSEN, "--no-jinja", "--embeddings", "--pooling"} <= written
    assert written <= set(known_flags.flags_of("llama_cpp"))


def test_what_is_chosen_about_the_machine_becomes_flags():
    chosen = LlamaCppOptions(
        "m",
        4096,
        4,
        threads=8,
        batch_tokens=1024,
        micro_batch_tokens=256,
        kv_type="q8_0",
        flash_attention="on",
    )
    arguments = launch(chosen).arguments
    assert value_of(arguments, "--threads") == "8"
    assert value_of(arguments, "--batch-size") == "1024"
    assert value_of(arguments, "--ubatch-size") == "256"
    assert value_of(arguments, "--cache-type-k") == value_of(arguments, "--cache-type-v") == "q8_0"
    assert value_of(arguments, "--flash-attn") == "on"


def test_embeddings_keep_their_batch_whatever_is_chosen():
    both = LlamaCppOptions("m", 4096, 4, embeddings=True, batch_tokens=64, micro_batch_tokens=32)
    assert launch(both).arguments.count("--batch-size") == 1
    assert value_of(launch(both).arguments, "--ubatch-size") == "2048"


def test_the_digest_changes_with_any_flag_and_with_nothing_else():
    same = launch(LlamaCppOptions("m", 4096, 4))
    other = launch(LlamaCppOptions("m", 4096, 4, extra_flags=("--metrics",)))
    assert launch(OPTIONS).digest() == same.digest() != other.digest()


def test_every_flag_of_a_launch_is_one_that_the_wheel_takes():
    every = launch(LlamaCppOptions("m", 4096, 4, embeddings=True)).arguments
    values = ["1" if word in {Slot.PORT} else str(word) for word in every]
    assert len(parse(values)) > 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope", "1"], "'--nope' is not a flag"),
        (["stray"], "'stray' is not a flag"),
        (["--threads"], "--threads needs a value"),
        (["--threads", "two"], "--threads is 'two'; it takes a whole number"),
        (["--flash-attn", "yes"], "--flash-attn is 'yes'; it can be on, off, auto"),
        (["--metrics=1"], "--metrics takes no value"),
    ],
)
def test_a_command_line_that_the_wheel_can_not_be_given_is_refused(arguments, said):
    with pytest.raises(FlagError, match=re.escape(said)):
        parse(arguments)


def test_every_flag_names_a_parameter_that_the_pinned_wheel_has(tmp_path: Path):
    import xllamacpp

    keys = tmp_path / "keys"
    keys.write_text("one\ntwo\n")
    samples = {"IntegerFlag": "1", "NumberFlag": "1.5", "TextFlag": "x", "TextListFlag": "x"}
    parameters = xllamacpp.CommonParams()
    for name, flag in FLAGS.items():
        kind = type(flag).__name__
        values = flag.choices if isinstance(flag, ChoiceFlag) else [samples.get(kind, str(keys))]
        for value in values:
            wheel_server.apply(xllamacpp, parameters, flag, value)
        assert name.startswith("--")
    assert list(parameters.api_keys) == ["one", "two"]
    assert parameters.cpuparams.n_threads == 1


def test_the_process_form_survives_its_way_through_the_environment():
    rendered = process_launch(launch(OPTIONS))
    assert ProcessLaunch.from_json(rendered.as_json()) == rendered
    assert "{port}" in rendered.arguments


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Qwen/Repo-GGUF:qwen-q4_k_m.gguf", "qwen-q4_k_m"),
        ("Qwen/Repo-GGUF:sub/qwen-00001-of-00003.gguf", "qwen"),
        ("Qwen/Repo-GGUF@v1:Q4_K_M", "Qwen/Repo-GGUF:Q4_K_M"),
        ("Qwen/Repo-GGUF", "Qwen/Repo-GGUF"),
        ("https://example.org/a%20b.gguf", "a b"),
        ("/models/a,b.gguf", "a_b"),
        ("./модель.gguf", "модель"),
        ("builtin:stand-in", "stand-in"),
    ],
)
def test_a_model_is_listed_by_a_name_that_its_reference_tells(reference, expected):
    assert model_id(parse_model_reference(reference)) == expected


EXPECTED = {
    ("llama_cpp", "local"): Form.PROCESS,
    ("llama_cpp", "cpu-vm"): Form.PROCESS,
    (
        "localllm",
        "local",
    ): "engine 'localllm' checks no API keys, and target 'local' has no gateway",
    ("localllm", "cpu-vm"): Form.PROCESS,
    ("llama_cpp", "gpu-vm"): Form.CONTAINER,
    (
        "localllm",
        "gpu-vm",
    ): "engine 'localllm' runs as process, and target 'gpu-vm' takes container",
    ("vllm", "local"): "engine 'vllm' checks no API keys, and target 'local' has no gateway",
    ("vllm", "cpu-vm"): "engine 'vllm' needs cuda, and target 'cpu-vm' has cpu",
    ("vllm", "gpu-vm"): Form.CONTAINER,
    ("llama_cpp", "gke-ovms"): Form.POD,
    (
        "localllm",
        "gke-ovms",
    ): "engine 'localllm' runs as process, and target 'gke-ovms' takes pod",
    ("vllm", "gke-ovms"): "engine 'vllm' needs cuda, and target 'gke-ovms' has cpu",
    ("ovms", "local"): "engine 'ovms' checks no API keys, and target 'local' has no gateway",
    ("ovms", "cpu-vm"): "engine 'ovms' runs as pod, and target 'cpu-vm' takes process",
    ("ovms", "gpu-vm"): "engine 'ovms' runs as pod, and target 'gpu-vm' takes container",
    ("ovms", "gke-ovms"): Form.POD,
}


def test_the_table_of_engines_and_targets_is_whole():
    pairs = {(engine, place) for engine in reference.ENGINES for place in reference.places()}
    assert pairs == EXPECTED.keys()


@pytest.mark.parametrize("pair", EXPECTED)
def test_each_engine_on_each_target_is_placed_or_refused_as_the_table_says(pair):
    engine, place = pair
    expected = EXPECTED[pair]
    if isinstance(expected, Form):
        assert form_for(reference.ENGINES[engine], reference.places()[place]) is expected
        return
    with pytest.raises(UnsupportedCombinationError, match=re.escape(expected)):
        form_for(reference.ENGINES[engine], reference.places()[place])


def test_a_target_without_a_shared_form_or_accelerator_is_refused_by_both_names():
    pods = Place("cluster", (Form.POD,), frozenset({Accelerator.CPU}), has_gateway=True)
    only_process = SimpleNamespace(
        engine="e",
        checks_keys=True,
        forms=frozenset({Form.PROCESS}),
        accelerators=frozenset({Accelerator.CPU}),
    )
    with pytest.raises(UnsupportedCombinationError, match=r"'e' runs as process.*'cluster'.*pod"):
        form_for(only_process, pods)
    only_cuda = SimpleNamespace(
        engine="e",
        checks_keys=True,
        forms=frozenset(Form),
        accelerators=frozenset({Accelerator.CUDA}),
    )
    with pytest.raises(UnsupportedCombinationError, match=r"'e' needs cuda.*'cluster' has cpu"):
        form_for(only_cuda, pods)
