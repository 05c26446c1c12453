"""Where the keys and the authority of a `CpuVm` go, and where they don't."""

import json
from collections.abc import Mapping

import pytest
from cpu_vm_program import (
    ACME_PLAN,
    CA_KEY,
    CERTIFICATE,
    COMMAND,
    KEY,
    NAME,
    command,
    deployed,
    in_a_group,
    of_type,
    only,
    program,
    stdout,
)

from emulator.mocks.recording import Run, run


def secret_data(seen: Run, purpose: str) -> object:
    version = seen.registrations[
        f"gcp:secretmanager/secretVersion:SecretVersion:vm-{purpose}-version"
    ]
    assert version.is_secret("secretData")
    return json.loads(version.plain()["secretData"])


def test_a_key_is_made_once_and_anew_only_by_its_generation():
    key = command(deployed(), "key-alice")
    assert key.inputs["triggers"] == [3]
    assert key.inputs["create"] == ".venv/bin/python -m scripts.serve new-key"
    assert key.inputs["update"] == "printf '%s\\n' \"$PULUMI_COMMAND_STDOUT\""
    assert key.inputs["logging"] == "none"
    assert key.additional_secret_outputs == ("stdout",)
    assert key.parent == "vm"


def test_all_keys_lie_in_one_secret_by_their_names():
    seen = deployed()
    assert secret_data(seen, "keys") == {
        "default": f"{KEY}-vm-key-default",
        "alice": f"{KEY}-vm-key-alice",
    }
    secret = seen.registrations["gcp:secretmanager/secret:Secret:vm-keys-secret"]
    assert secret.inputs["secretId"] == f"{NAME}-keys"


def test_the_authority_lies_in_a_secret_of_its_own():
    seen = deployed()
    assert secret_data(seen, "ca") == {"certificate": CERTIFICATE, "key": CA_KEY}
    secret = seen.registrations["gcp:secretmanager/secret:Secret:vm-ca-secret"]
    assert secret.inputs["secretId"] == f"{NAME}-ca"


@pytest.mark.parametrize("deploy", [deployed, in_a_group], ids=["instance", "group"])
def test_no_key_and_no_private_key_shows_in_anything_that_is_registered(deploy):
    for entry in deploy().registrations.values():
        shown = json.dumps(entry.without_secrets())
        assert KEY not in shown, entry.name
        assert "PRIVATE KEY" not in shown, entry.name
        assert json.dumps(CA_KEY)[1:-1] not in shown, entry.name


@pytest.mark.parametrize("deploy", [deployed, in_a_group], ids=["instance", "group"])
def test_secrets_go_to_secret_manager_and_the_verification_and_nowhere_else(deploy):
    holders = {
        entry.name
        for entry in deploy().registrations.values()
        if entry.without_secrets() != entry.plain()
    }
    assert holders == {"vm-keys-version", "vm-ca-version", "vm-verification"}


def test_the_verification_is_told_the_default_key_alone():
    seen = deployed()
    verification = command(seen, "verification")
    assert verification.is_secret("environment", "LLM_ENDPOINT_KEY")
    environment = verification.plain()["environment"]
    assert environment["LLM_ENDPOINT_KEY"] == f"{KEY}-vm-key-default"
    assert environment["LLM_ENDPOINT_CA"].strip() == CERTIFICATE
    assert "key-alice" not in json.dumps(verification.plain())


@pytest.mark.parametrize("taints", [False, True])
def test_exactly_the_keys_are_secret_outputs_whatever_the_plugin_taints(taints: bool):
    outputs = run(program(), stdout, taints=taints).outputs
    assert {name for name, seen in outputs.items() if seen.secret} == {"api_key", "api_keys"}
    assert outputs["api_key"].value == f"{KEY}-vm-key-default"
    assert outputs["ca_certificate"].value.strip() == CERTIFICATE


def test_an_authority_is_made_for_the_address_and_anew_for_another():
    made = command(deployed(), "ca")
    assert made.inputs["create"] == ".venv/bin/python -m scripts.own_ca"
    assert made.inputs["environment"] == {"LLM_ENDPOINT_ADDRESS": "198.51.100.7"}
    assert made.inputs["triggers"] == ["198.51.100.7"]
    assert made.inputs["logging"] == "none"
    assert made.additional_secret_outputs == ("stdout",)


def test_acme_has_no_authority_of_ours():
    seen = deployed(plan=ACME_PLAN)
    assert f"{COMMAND}:vm-ca" not in seen.registrations
    assert [entry.name for entry in of_type(seen, "secretmanager/secret")] == ["vm-keys-secret"]
    assert "ca_certificate" not in seen.outputs


def test_the_machine_may_read_its_own_secrets_and_do_nothing_else():
    seen = deployed()
    member = f"serviceAccount:{NAME}@p.iam.gserviceaccount.com"
    granted = {
        (entry.inputs["secretId"], entry.inputs["role"], entry.inputs["member"])
        for entry in of_type(seen, "secretmanager/secretIamMember")
    }
    reader = "roles/secretmanager.secretAccessor"
    assert granted == {(f"{NAME}-keys", reader, member), (f"{NAME}-ca", reader, member)}
    others = {
        entry.token
        for entry in seen.registrations.values()
        if "iam" in entry.token.lower() and "secretIamMember" not in entry.token
    }
    assert others == set()


def test_the_machine_boots_once_it_may_read_its_secrets_and_they_are_there():
    instance = only(deployed(), "compute/instance")
    assert instance.input_dependencies["serviceAccount"] >= {"vm-keys-reader", "vm-ca-reader"}
    assert instance.depends_on() == {"vm-keys-version", "vm-ca-version"}


def test_a_new_key_touches_no_machine_and_is_verified():
    def machine_and_triggers(seen: Run) -> tuple[object, object]:
        inputs = only(seen, "compute/instance").inputs
        return inputs, command(seen, "verification").inputs["triggers"]

    def another_key(name: str, inputs: Mapping[str, object]) -> str:
        return "sk-another" if name == "vm-key-alice" else stdout(name, inputs)

    before, _ = machine_and_triggers(deployed())
    after, triggers = machine_and_triggers(run(program(), another_key, "cpu-vm"))
    assert before == after
    assert "vm-keys-version-id" in triggers


def test_triggers_hold_no_secret():
    for entry in deployed().registrations.values():
        if entry.token == COMMAND:
            assert not entry.is_secret("triggers"), entry.name


def test_a_replaced_version_is_destroyed_after_the_new_one_is_there():
    for version in of_type(deployed(), "secretmanager/secretVersion"):
        assert version.inputs["deletionPolicy"] == "DELETE"
        assert not version.delete_before_replace
