"""The configuration's schema: what it takes, and how it says what it does not take."""

import pytest

from components.settings import ConfigurationError, LocalSettings, load
from components.settings.base import EndpointSettings
from scripts.made_up import made_up
from stacks import PROGRAMS, choose

DEFAULTS = {"model": "builtin:stand-in"}


def settings(**raw: object) -> LocalSettings:
    return load(LocalSettings, raw, DEFAULTS)


def refusal(**raw: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(**raw)
    return str(caught.value)


def test_raw_strings_become_typed_values():
    read = settings(
        context_tokens="8192", slots="2", port="9000", parked="true", min_tokens_per_second="1.5"
    )
    assert (read.context_tokens, read.slots, read.port, read.parked) == (8192, 2, 9000, True)
    assert read.min_tokens_per_second == 1.5


def test_zero_and_false_are_values_and_not_taken_for_unset():
    assert settings(parked="false").parked is False
    assert "slots is '0'" in refusal(slots="0")


def test_a_list_comes_as_json_or_as_words():
    assert settings(keys='["default", "alice"]').keys == ("default", "alice")
    assert settings(keys="default, alice@2").key_generations() == {"default": 1, "alice": 2}


def test_flags_are_split_as_a_shell_would():
    read = settings(engine_flags="--threads 2 --chat-template 'a b'")
    assert read.engine_flags == ("--threads", "2", "--chat-template", "a b")


def test_every_problem_is_named_at_once_with_key_value_and_next_step():
    message = refusal(modle="x", model="nonsense", slots="many", port="80", keys="Bob")
    assert "5 problems" in message
    assert "llm-endpoint:modle is unknown here: did you mean model?" in message
    assert "next: scripts/pulumi config rm modle" in message
    for key, value in {"model": "nonsense", "slots": "many", "port": "80", "keys": "Bob"}.items():
        assert f"llm-endpoint:{key} is {value!r}" in message
        assert f"next: scripts/pulumi config set {key} VALUE" in message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("alice", "the key named default must be among them"),
        ("default default@2", "default stands there twice"),
        ("default Alice", "'Alice' names no key"),
        ("default alice@0", "'alice@0' names no key"),
        ('["default"', "starts like a JSON list"),
    ],
)
def test_key_names_that_would_not_do_are_refused(keys: str, said: str):
    assert said in refusal(keys=keys)


@pytest.mark.parametrize(
    "flag",
    [
        *("--port", "--api-key=secret", "--api_key", "--api-key-file", "-m", "-hf", "--hf-file"),
        *(
            "--ssl-key-file",
            "--path",
            "--media_path",
            "--models-dir",
            "--cors-origins=*",
            "--tools",
        ),
    ],
)
@pytest.mark.parametrize("server", ["wheel", "path", "native"])
def test_a_flag_that_another_key_sets_or_that_opens_the_machine_is_refused(flag, server):
    said = refusal(engine_flags=f"{flag} x", llama_server=server)
    assert f"{flag.partition('=')[0]} is not for engine_flags" in said


def test_what_may_be_a_secret_is_not_repeated():
    assert "sk-secret" not in refusal(engine_flags="--api-key sk-secret")
    assert "hunter2" not in refusal(model="https://me:hunter2@example.org/m.gguf")


def test_a_value_of_another_kind_is_refused_in_the_words_of_the_docs():
    assert "llm-endpoint:slots is 'many': it takes a whole number, from 1, to 256" in refusal(
        slots="many"
    )


@pytest.mark.parametrize("floor", ["inf", "nan", "1e9", "0", "-1"])
def test_a_floor_that_verification_could_not_take_is_refused(floor: str):
    assert "min_tokens_per_second is" in refusal(min_tokens_per_second=floor)


def test_the_order_of_keys_means_nothing():
    first, second = settings(keys="default alice@2"), settings(keys="alice@2 default")
    assert list(first.key_generations().items()) == list(second.key_generations().items())


def test_a_flag_that_the_wheel_does_not_take_is_refused_and_a_real_server_takes_it():
    flags = "--rope-scaling yarn"
    assert "'--rope-scaling' is not a flag that llama.cpp's wheel takes" in refusal(
        engine_flags=flags
    )
    assert settings(engine_flags=flags, llama_server="path").engine_flags[0] == "--rope-scaling"


def test_embeddings_come_from_the_model_itself_or_from_none():
    assert settings(embeddings_model="builtin:stand-in").embeddings_model == "builtin:stand-in"
    assert "no gateway to route" in refusal(embeddings_model="owner/repo:other.gguf")


def test_the_model_is_kept_in_its_canonical_form():
    assert settings(model="owner/repo@main:Q4_K_M").model == "owner/repo:Q4_K_M"


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        settings().slots = 2


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_a_programs_own_defaults_are_valid(program):
    settings = program.settings(made_up(program, {}))
    assert not isinstance(settings, EndpointSettings) or settings.model


def test_the_stacks_name_chooses_the_program_unless_the_key_does():
    assert choose({}, "local").name == "local"
    assert choose({"program": "local"}, "anything").name == "local"


@pytest.mark.parametrize(
    ("raw", "stack", "said"),
    [
        ({}, "mine", "program is not set, and the stack's name 'mine' is no program's"),
        ({"program": "locla"}, "local", "program is 'locla', which is no program"),
    ],
)
def test_an_unknown_program_is_refused_with_the_list(raw, stack, said):
    with pytest.raises(ConfigurationError) as caught:
        choose(raw, stack)
    assert said in str(caught.value)
    assert f"the programs are {', '.join(sorted(PROGRAMS))}" in str(caught.value)
    assert {"cpu-vm", "gke-ovms", "gpu-vm", "local", "model-registry"} <= PROGRAMS.keys()
    assert "next: scripts/pulumi config set program local" in str(caught.value)
