"""`VerifiedEndpoint`: what its command is told, and what comes out once it has passed."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
from fake_authority import make_authority
from fake_endpoint import FakeEndpoint

from components.endpoint import (
    VerifiedEndpoint,
    VerifiedEndpointArgs,
    client_snippet,
    only_certificates,
    parked_outputs,
)
from components.engines.llama_cpp import LlamaCppOptions, launch
from components.launch import Launch, Probe
from emulator.mocks.recording import Run, run
from scripts.verify.__main__ import main

KEY = "sk-the-key-of-the-test"
URL = "https://llm.example.com"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
RECEIPT = {
    "schema_version": 1,
    "status": "passed",
    "endpoint_url": URL,
    "model": {"id": "the-listed-model"},
}
LLAMA = launch(LlamaCppOptions("tiny", 4096, 4))
NAMELESS = Launch(
    engine="localllm",
    program="python",
    arguments=(),
    model_id=None,
    probe=Probe("/openapi.json"),
    forms=LLAMA.forms,
    accelerators=LLAMA.accelerators,
)


def arguments(**changed: object) -> VerifiedEndpointArgs:
    args: Any = {
        "url": URL,
        "keys": {"default": pulumi.Output.secret(KEY)},
        "launch": LLAMA,
        "verify": [".venv/bin/python", "-m", "scripts.verify"],
        "triggers": ["machine-1"],
        "wait_seconds": 900,
        "streams": 3,
        **changed,
    }
    return args


def machine(**changed: object) -> VerifiedEndpointArgs:
    """What a machine in a cloud gives besides."""
    return arguments(
        **{
            "ready_path": "/health",
            "ca_certificate": pulumi.Output.secret(CERTIFICATE + PRIVATE),
            "address": "203.0.113.7",
            "boot": "gcp:p/z/vm",
            "allowed_cidrs": ["203.0.113.0/24", "192.0.2.1/32"],
            "key_seconds": 90,
            **changed,
        }
    )


def deployed(
    make: Callable[..., VerifiedEndpointArgs], *, preview: bool = False, **changed: object
) -> Run:
    def stdout(name: str, inputs: Mapping[str, object]) -> str | None:
        return None if preview else json.dumps(RECEIPT)

    # Outputs can be made inside of a program alone, so the arguments are made there.
    def program() -> Mapping[str, object]:
        return VerifiedEndpoint("vm", make(**changed)).outputs.exports()

    return run(program, stdout, stack="cpu-vm", preview=preview)


def command(seen: Run) -> Any:
    return seen.registrations["command:local:Command:vm-verification"]


def words(seen: Run) -> list[str]:
    return shlex.split(str(command(seen).inputs["create"]))


def value(seen: Run, option: str) -> str:
    found = words(seen)
    return found[found.index(option) + 1]


def test_classic_models_are_verified_too():
    assert value(deployed(arguments, classic=["sum@1", "sum@2"]), "--classic") == "sum@1,sum@2"
    for none in ({}, {"classic": []}):
        assert "--classic" not in words(deployed(arguments, **none))


def test_what_is_known_late_and_what_is_long_goes_by_environment():
    seen = deployed(machine)
    assert value(seen, "--ca-env") == "LLM_ENDPOINT_CA"
    assert value(seen, "--address") == "$LLM_ENDPOINT_ADDRESS"
    assert value(seen, "--boot") == "$LLM_ENDPOINT_BOOT"
    assert words(seen)[-1] == "$LLM_ENDPOINT_URL"
    assert command(seen).plain()["environment"] == {
        "LLM_ENDPOINT_URL": URL,
        "LLM_ENDPOINT_KEY": KEY,
        "LLM_ENDPOINT_CA": CERTIFICATE,
        "LLM_ENDPOINT_ADDRESS": "203.0.113.7",
        "LLM_ENDPOINT_BOOT": "gcp:p/z/vm",
    }


def test_what_is_known_early_stands_in_the_command():
    seen = deployed(machine)
    assert value(seen, "--probe-path") == "/health"
    assert value(seen, "--probe-loading-status") == "503"
    assert value(seen, "--key-seconds") == "90"
    assert value(seen, "--allowed-cidrs") == "203.0.113.0/24,192.0.2.1/32"
    assert value(seen, "--stack") == "cpu-vm"


def test_the_command_is_known_at_preview():
    assert words(deployed(machine, preview=True)) == words(deployed(machine))


def test_the_command_line_is_one_that_verification_takes(capsys: pytest.CaptureFixture[str]):
    seen = deployed(machine)
    environment = {**command(seen).plain()["environment"]}
    found = [environment[word[1:]] if word[0] == "$" else word for word in words(seen)]
    given = found[found.index("scripts.verify") + 1 :]
    # A URL that is refused comes after every option has been read.
    assert main([*given[:-1], "nowhere"], environment) == 2
    assert "the URL must begin with http" in capsys.readouterr().err


def test_an_endpoint_without_a_machine_is_told_nothing_of_one():
    text = str(command(deployed(arguments)).inputs["create"])
    for option in ("--ca-env", "--address", "--boot", "--key-seconds", "--allowed", "--stack"):
        assert option not in text
    assert "--probe-path /health" in text
    assert "ca_certificate" not in deployed(arguments).outputs


def test_a_ca_s_private_key_goes_nowhere():
    seen = deployed(machine)
    assert seen.outputs["ca_certificate"].value == CERTIFICATE
    assert not seen.outputs["ca_certificate"].secret
    for registration in seen.registrations.values():
        assert "PRIVATE KEY" not in json.dumps(registration.plain())


def test_the_ca_is_known_once_the_endpoint_was_verified():
    outputs = deployed(machine, preview=True).outputs
    assert not outputs["ca_certificate"].known
    assert {name for name, seen in outputs.items() if seen.known} == set()


def test_exactly_the_keys_are_secret():
    outputs = deployed(machine).outputs
    assert {name for name, seen in outputs.items() if seen.secret} == {"api_key", "api_keys"}


def test_a_text_without_a_certificate_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="no certificate in PEM form") as caught:
        only_certificates(PRIVATE)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_model_that_only_the_server_can_name_is_taken_from_the_receipt():
    seen = deployed(machine, launch=NAMELESS)
    assert "--model" not in words(seen)
    assert seen.outputs["model"].value == "the-listed-model"
    assert "model='the-listed-model'" in str(seen.outputs["client_snippet"].value)


def test_a_model_with_a_name_keeps_it():
    seen = deployed(machine)
    assert value(seen, "--model") == "tiny"
    assert seen.outputs["model"].value == "tiny"


def test_a_parked_stack_keeps_its_keys_and_its_ca():
    def program() -> Mapping[str, object]:
        keys = {"default": pulumi.Output.secret(KEY)}
        certificate = pulumi.Output.secret(CERTIFICATE + PRIVATE)
        return parked_outputs(NAMELESS, None, keys, (), certificate).exports()

    outputs = run(program, lambda *_: "").outputs
    assert (outputs["api_key"].value, outputs["api_key"].secret) == (KEY, True)
    assert outputs["ca_certificate"].value == CERTIFICATE
    assert not outputs["ca_certificate"].secret
    assert outputs["model"].value is None


@pytest.mark.integration
def test_the_client_snippet_works_as_pasted_and_trusts_the_stack_s_own_ca(tmp_path: Path):
    authority = make_authority(tmp_path)
    script = tmp_path / "scripts" / "pulumi"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'    "stack output "*"api_key --show-secrets"*) echo {KEY} ;;\n'
        f'    "stack output --stack cpu-vm ca_certificate") cat {authority.path} ;;\n'
        "    *) exit 1 ;;\nesac\n"
    )
    script.chmod(0o755)
    with FakeEndpoint(key=KEY, model="tiny", tls=authority.context()) as endpoint:
        snippet = client_snippet(f"{endpoint.url}/v1", "tiny", "cpu-vm", own_ca=True)
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout == "Hello there.\n", done.stderr
