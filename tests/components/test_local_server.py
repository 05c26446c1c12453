"""What `LocalServer` registers, in which order, and what it exports as a secret."""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePath

import pytest

from components.engines.llama_cpp import LlamaCppOptions, launch
from components.targets.local import LocalServer, LocalServerArgs
from emulator.mocks.recording import Run, run

KEY = "sk-the-key-of-the-test"
URL = "http://127.0.0.1:8080"
RECEIPT = {"schema_version": 1, "status": "passed", "endpoint_url": URL}
COMMAND = "command:local:Command"
LAUNCH = launch(LlamaCppOptions("tiny", 4096, 4))


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    if name.startswith("local-key-"):
        return f"{KEY}-{name}"
    return {
        "local-home": ".state/servers/local",
        "local-model": json.dumps({"sha256": "ab" * 32}),
        "local-preflight": "ready to start",
        "local-server": json.dumps({"pid": 1, "port": 8080}),
        "local-verification": json.dumps(RECEIPT),
    }[name]


def arguments(**changed: object) -> LocalServerArgs:
    args: LocalServerArgs = {
        "launch": LAUNCH,
        "model": "builtin:stand-in",
        "model_version": "",
        "stand_in": True,
        "keys": {"default": 1, "alice": 3},
        "server_build": "wheel",
        "server_package": "xllamacpp 1",
        "home": PurePath(".state/servers/local"),
        "replaces": "no-record-1",
        "python": [".venv/bin/python"],
        "wait_seconds": 600,
        "streams": 3,
    }
    return {**args, **changed}


def program(**changed: object) -> Callable[[], Mapping[str, object]]:
    def deploy() -> Mapping[str, object]:
        return LocalServer("local", arguments(**changed)).outputs.exports()

    return deploy


def deployed(**changed: object) -> Run:
    return run(program(**changed), stdout)


def command(seen: Run, name: str):
    return seen.registrations[f"{COMMAND}:local-{name}"]


def test_every_child_stands_under_its_component():
    seen = deployed()
    parents = {entry.name: entry.parent for entry in seen.registrations.values()}
    for name in ("home", "model", "preflight", "server", "key-default", "key-alice"):
        assert parents[f"local-{name}"] == "local"
    endpoint = seen.registrations["llm-endpoint:endpoint:VerifiedEndpoint:local"]
    assert endpoint.parent == "local"
    assert command(seen, "verification").parent == "local"


def test_a_key_is_made_once_and_anew_only_by_its_generation():
    key = command(deployed(), "key-alice")
    assert key.inputs["triggers"] == [3]
    assert key.additional_secret_outputs == ("stdout",)
    assert key.inputs["logging"] == "none"
    assert "environment" not in key.inputs


def test_a_key_reaches_the_server_and_the_verification_as_a_secret_and_nothing_else():
    seen = deployed()
    server = command(seen, "server")
    assert server.is_secret("environment", "LLM_ENDPOINT_KEYS")
    assert command(seen, "verification").is_secret("environment", "LLM_ENDPOINT_KEY")
    opened = server.plain()["environment"]
    assert json.loads(opened["LLM_ENDPOINT_KEYS"]) == [
        f"{KEY}-local-key-default",
        f"{KEY}-local-key-alice",
    ]
    for registration in seen.registrations.values():
        assert KEY not in json.dumps(registration.without_secrets()), registration.name


def test_triggers_hold_no_secret():
    for registration in deployed().registrations.values():
        if registration.token == COMMAND and "triggers" in registration.inputs:
            assert not registration.is_secret("triggers"), registration.name
            assert KEY not in json.dumps(registration.inputs["triggers"])


def test_the_old_server_goes_before_the_new_one_comes():
    assert command(deployed(), "server").delete_before_replace


@pytest.mark.parametrize(
    "changed",
    [
        {"launch": launch(LlamaCppOptions("tiny", 4096, 8))},
        {"replaces": "died-1"},
        {"server_build": "path"},
        {"server_package": "xllamacpp 2"},
        {"port": 9000},
    ],
    ids=["flag", "death", "build", "package", "port"],
)
def test_what_makes_another_server_changes_its_triggers(changed):
    def triggers(seen: Run) -> list[object]:
        return [command(seen, name).inputs["triggers"] for name in ("preflight", "server")]

    assert triggers(deployed()) != triggers(deployed(**changed))


def test_a_server_is_replaced_with_its_preflight_and_only_after_it():
    assert "local-preflight-id" in command(deployed(), "server").inputs["triggers"]


def test_a_new_key_replaces_the_server_that_was_started_with_the_old_one():
    triggers = command(deployed(), "server").inputs["triggers"]
    assert "local-key-default-id" in triggers
    assert "local-key-alice-id" in triggers


def test_a_new_server_is_verified_anew():
    assert "local-server-id" in command(deployed(), "verification").inputs["triggers"]


def test_changed_content_behind_a_path_pulls_the_model_again():
    assert (
        command(deployed(model_version="1-2"), "model").inputs["triggers"]
        != command(deployed(model_version="1-3"), "model").inputs["triggers"]
    )


@pytest.mark.parametrize("taints", [False, True])
def test_exactly_the_keys_are_secret_outputs_whatever_the_plugin_taints(taints: bool):
    outputs = run(program(), stdout, taints=taints).outputs
    assert {name for name, seen in outputs.items() if seen.secret} == {"api_key", "api_keys"}
    assert outputs["api_key"].value == f"{KEY}-local-key-default"
    assert outputs["api_keys"].value == {
        "default": f"{KEY}-local-key-default",
        "alice": f"{KEY}-local-key-alice",
    }


def test_the_contract_of_outputs_is_kept():
    outputs = {name: seen.value for name, seen in deployed().outputs.items()}
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == "http://127.0.0.1:8080"
    assert outputs["openai_base_url"] == "http://127.0.0.1:8080/v1"
    assert (outputs["model"], outputs["engine"]) == ("tiny", "llama_cpp")
    assert outputs["embedding_model"] is None
    assert outputs["verification"] == RECEIPT
    assert outputs["billing"] == []
    assert "http://127.0.0.1:8080/v1" in outputs["client_snippet"]
    assert KEY not in outputs["client_snippet"]


def test_no_endpoint_is_known_before_it_was_verified():
    def not_verified_yet(name: str, inputs: Mapping[str, object]) -> str | None:
        return None if name == "local-verification" else stdout(name, inputs)

    outputs = run(program(), not_verified_yet, preview=True).outputs
    unknown = {name for name, seen in outputs.items() if not seen.known}
    assert unknown == set(outputs)


def test_parked_keeps_the_keys_and_runs_nothing():
    seen = deployed(parked=True)
    names = {entry.name for entry in seen.registrations.values() if entry.token == COMMAND}
    assert names == {"local-home", "local-key-default", "local-key-alice"}
    outputs = {name: value.value for name, value in seen.outputs.items()}
    assert outputs["state"] == "parked"
    assert outputs["endpoint_url"] is outputs["openai_base_url"] is None
    assert outputs["verification"] == {"status": "parked"}
    assert seen.outputs["api_key"].secret


def test_verification_is_told_what_the_engine_claims_and_where_the_process_is():
    words = str(command(deployed(), "verification").inputs["create"])
    assert words.startswith(".venv/bin/python -m scripts.verify --json --if-passed ")
    assert "--claims json_schema,tool_calls" in words
    assert "--process .state/servers/local/server.json" in words
    assert "--stand-in" in words
    assert KEY not in words


def test_a_component_says_in_the_state_what_it_was_given_and_what_came_of_it():
    seen = deployed()
    component = seen.registrations["llm-endpoint:local:LocalServer:local"]
    assert component.inputs == {
        "model": "builtin:stand-in",
        "server_build": "wheel",
        "server_package": "xllamacpp 1",
    }
    assert seen.component_outputs["LocalServer"] == {"state": "serving"}
    assert seen.component_outputs["VerifiedEndpoint"] == {"endpoint_url": URL, "receipt": RECEIPT}


def test_a_command_whose_text_alone_changes_makes_no_new_key():
    key = command(deployed(), "key-default")
    assert key.inputs["update"] == "printf '%s\\n' \"$PULUMI_COMMAND_STDOUT\""


def test_another_home_is_made_before_the_old_one_goes():
    home = command(deployed(), "home")
    assert home.inputs["triggers"] == [".state/servers/local"]
    assert not home.delete_before_replace
