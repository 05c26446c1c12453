"""scripts/up, down and doctor for stacks with a machine of their own in a cloud."""

import json
from pathlib import Path

import pytest
from fake_machine import KEY, Machine, make_machine, write_program

from scripts.bootstrap.exported import Exported, Operation, Resource, read

BOOT = "gcp:my-project/europe-west4-a/llm-endpoint-cpu-vm"
URL = "https://203.0.113.7"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = make_machine(tmp_path)
    machine.put_stack("cpu-vm")
    return machine


def serving(machine: Machine) -> None:
    machine.put_outputs(
        endpoint_url=URL,
        model="m",
        ca_certificate="PEM",
        verification={"verified_at": "2026-01-01", "boot": BOOT},
    )


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_a_machine_that_was_not_changed_is_waited_for_through_a_boot(machine: Machine):
    serving(machine)
    config = machine.root / "stacks" / "Pulumi.cpu-vm.yaml"
    text = 'config:\n  llm-endpoint:allowed_cidrs: \'["203.0.113.0/24", "192.0.2.1/32"]\'\n'
    config.write_text(text, encoding="utf-8")
    up = machine.run("scripts/up", "cpu-vm")
    assert up.returncode == 0, up.stderr
    [(arguments, key)] = machine.verifications
    assert arguments[0] == URL
    assert key == KEY
    assert float(option(arguments, "--wait-seconds")) >= 900
    assert option(arguments, "--boot") == BOOT
    assert option(arguments, "--stack") == "cpu-vm"
    assert option(arguments, "--allowed-cidrs") == "203.0.113.0/24,192.0.2.1/32"
    assert option(arguments, "--ca-file").endswith("cpu-vm-ca.pem")
    assert "--quiet" not in arguments
    assert f"Checking that {URL} answers" in up.stderr
    assert "20 at most" in up.stderr
    assert f"curl -sS {URL}/v1/chat/completions --cacert" in up.stdout


def test_a_receipt_is_not_shown_at_the_end_of_up(machine: Machine):
    serving(machine)
    verify = machine.root / "scripts" / "verify" / "__main__.py"
    verify.write_text("print('the receipt')\n", encoding="utf-8")
    up = machine.run("scripts/up", "cpu-vm")
    assert up.returncode == 0
    assert "the receipt" not in up.stdout


def test_everybody_being_let_in_is_no_list_to_hold_a_caller_against(machine: Machine):
    serving(machine)
    config = machine.root / "stacks" / "Pulumi.cpu-vm.yaml"
    config.write_text("config:\n  llm-endpoint:allowed_cidrs: world\n", encoding="utf-8")
    machine.run("scripts/up", "cpu-vm")
    assert "--allowed-cidrs" not in machine.verifications[0][0]


def test_a_machine_that_does_not_answer_fails_up_and_its_reasons_stand_above(machine: Machine):
    serving(machine)
    up = machine.run("scripts/up", "cpu-vm", VERIFY_STATUS="3")
    assert up.returncode == 1
    assert up.stderr.count("chat: nothing came") == 1
    assert "then scripts/up cpu-vm" in up.stderr
    assert "curl" not in up.stdout


def test_a_local_server_is_waited_for_as_before(machine: Machine):
    machine.put_stack("local")
    machine.put_outputs(endpoint_url="http://127.0.0.1:1", verification={"boot": None})
    machine.run("scripts/up")
    [(arguments, _)] = machine.verifications
    assert option(arguments, "--wait-seconds") == "60"
    assert "--boot" not in arguments
    assert "--quiet" in arguments


def protected_disk(machine: Machine) -> None:
    urn = "urn:pulumi:cpu-vm::llm-endpoint::gcp:compute/disk:Disk::cpu-vm-cache"
    machine.put_resources(
        {"urn": "urn:pulumi:cpu-vm::llm-endpoint::pulumi:pulumi:Stack::s"},
        {"urn": urn, "protect": True},
    )


LISTS = """\
import json, os, pathlib
asked = {name: os.environ.get(name) for name in ("LLM_ENDPOINT_REGISTRY", "AWS_SECRET_ACCESS_KEY")}
pathlib.Path("asked.json").write_text(json.dumps(asked))
print(json.dumps({"models": [{"model": "resnet50@1"}]}))
"""


def registry(machine: Machine, *models: str) -> None:
    """A stack with a registry that lists resnet50@1, and should have `models`."""
    machine.put_stack("model-registry")
    (machine.root / "stacks" / "model_registry.yaml").touch()
    write_program(machine.root / "scripts" / "model_registry" / "__main__.py", LISTS)
    machine.put_outputs(
        registry="gs://models",
        models=models,
        verification={"status": "passed", "models": [{"model": "resnet50@1"}]},
    )


def test_up_of_a_registry_says_what_to_type_next_and_verifies_no_endpoint(machine: Machine):
    registry(machine, "resnet50@1")
    up = machine.run("scripts/up", "model-registry")
    assert up.returncode == 0, up.stderr
    assert machine.verifications == []
    asked = json.loads((machine.root / "asked.json").read_text(encoding="utf-8"))
    assert asked["LLM_ENDPOINT_REGISTRY"] == "gs://models"
    assert "config set registry gs://models --stack gke-ovms" in up.stdout
    assert "resnet50@1" in up.stdout
    assert KEY not in up.stdout + up.stderr


def test_up_of_a_registry_that_has_lost_a_model_fails_with_its_name(machine: Machine):
    registry(machine, "resnet50@1", "resnet50@2")
    up = machine.run("scripts/up", "model-registry")
    assert up.returncode == 1
    assert "gs://models lacks resnet50@2, which somebody has taken out of it" in up.stderr
    assert "next: .venv/bin/python -m scripts.model_registry push" in up.stderr


def test_down_of_a_kept_bucket_says_how_it_goes_and_what_bills(machine: Machine):
    machine.put_stack("model-registry")
    bucket = {
        "urn": "urn:pulumi:x::llm-endpoint::gcp:storage/bucket:Bucket::model-registry-bucket",
        "type": "gcp:storage/bucket:Bucket",
        "protect": True,
    }
    machine.put_resources(bucket)
    down = machine.run("scripts/down", "model-registry")
    assert down.returncode == 0, down.stderr
    assert "--exclude-protected" in "".join(machine.pulumi_calls)
    assert "config set keep_data false --stack model-registry" in down.stdout


def test_down_leaves_what_keep_data_protects_and_says_that_it_bills(machine: Machine):
    protected_disk(machine)
    down = machine.run("scripts/down", "cpu-vm")
    assert down.returncode == 0
    assert machine.pulumi_calls[-1] == (
        "destroy --yes --skip-preview --suppress-outputs --stack cpu-vm --exclude-protected "
        "--non-interactive"
    )
    assert "protected (keep_data): cpu-vm-cache. That stays and goes on billing" in down.stdout
    assert "scripts/pulumi state unprotect --all --yes --stack cpu-vm" in down.stdout
    assert "Nothing of it bills" not in down.stdout


def test_down_of_a_part_is_left_to_the_person(machine: Machine):
    protected_disk(machine)
    machine.run("scripts/down", "cpu-vm", "--target=x")
    assert "--exclude-protected" not in machine.pulumi_calls[-1]


def test_down_without_anything_protected_takes_all_of_it(machine: Machine):
    machine.put_resources({"urn": "urn:pulumi:cpu-vm::llm-endpoint::gcp:compute/disk:Disk::d"})
    machine.put_outputs(billing=[{"resource": "a disk", "running": True, "parked": True}])
    down = machine.run("scripts/down", "cpu-vm")
    assert "--exclude-protected" not in machine.pulumi_calls[-1]
    assert down.stdout == "cpu-vm is down. Nothing of it bills any more (what did: a disk).\n"


KILLED = {
    "deployment": {
        "resources": [{"urn": "urn:pulumi:cpu-vm::p::gcp:compute/disk:Disk::cpu-vm-cache"}],
        "pending_operations": [
            {"type": "creating", "resource": {"urn": f"urn::{kind}::{name}", "type": kind, **rest}}
            for kind, name, rest in (
                ("gcp:compute/address:Address", "cpu-vm-address", {"inputs": {"name": "ours"}}),
                ("gcp:compute/address:Address", "cpu-vm-address", {"inputs": {"name": "ours"}}),
                ("gcp:compute/instance:Instance", "cpu-vm-instance", {}),
                ("gcp:secretmanager/secretVersion:SecretVersion", "cpu-vm-keys-version", {}),
                ("command:local:Command", "cpu-vm-key-default", {}),
            )
        ],
    }
}


def test_down_does_not_promise_what_a_killed_pulumi_may_have_left(machine: Machine):
    (machine.other / "export.json").write_text(json.dumps(KILLED), encoding="utf-8")
    down = machine.run("scripts/down", "cpu-vm")
    assert down.returncode == 0
    assert "Nothing of it bills" not in down.stdout
    assert ":\n  Address ours\n  Instance cpu-vm-instance\nnext: " in down.stdout
    assert "refresh --yes --clear-pending-creates --stack cpu-vm" in down.stdout


def test_up_that_fails_names_what_a_killed_pulumi_may_have_left(machine: Machine):
    (machine.other / "export.json").write_text(json.dumps(KILLED), encoding="utf-8")
    up = machine.run("scripts/up", "cpu-vm", UP_STATUS="1")
    assert up.returncode == 1
    assert "  Address ours\n" in up.stderr


def test_what_was_made_after_all_is_not_unfinished():
    operation = {"type": "creating", "resource": {"urn": "urn::x", "type": "gcp:x:X"}}
    state = {"resources": [{"urn": "urn::x"}], "pending_operations": [operation]}
    assert read({"deployment": state}) == Exported((), ())


def test_what_is_known_to_be_there_or_not_is_not_unfinished():
    operation = {"type": "creating", "resource": {"urn": "urn::x", "type": "gcp:x:X"}}
    state = {"deployment": {"pending_operations": [operation]}}
    assert read(state).unfinished == ("X x",)
    assert read(state, {"urn::x"}).unfinished == ()


def test_doctor_of_a_cloud_stack_asks_the_cloud_too(machine: Machine):
    doctor = machine.run("scripts/doctor", "cpu-vm")
    assert doctor.stdout.splitlines()[-1] == "problem: of the cloud, for cpu-vm"
    assert doctor.returncode == 1
    assert "model hub" not in doctor.stdout
    assert "default model" not in doctor.stdout


def test_doctor_of_a_stack_without_a_program_names_those_there_are(machine: Machine):
    doctor = machine.run("scripts/doctor", "mine")
    assert doctor.returncode == 1
    assert "there is cpu-vm, local" in doctor.stdout
    assert "of the cloud" not in doctor.stdout


def test_a_stack_is_configured_where_its_plugins_can_t_be_had(machine: Machine):
    package = machine.root / ".venv" / "lib" / "python3" / "site-packages" / "pulumi_gcp"
    package.mkdir()
    about = '{"resource": true, "name": "gcp", "version": "9.7.0"}'
    (package / "pulumi-plugin.json").write_text(about, encoding="utf-8")
    set_one = machine.run("scripts/pulumi", "config", "set", "gcp:zone", "z", "--stack", "cpu-vm")
    assert set_one.returncode == 0, set_one.stderr
    preview = machine.run("scripts/pulumi", "preview", "--stack", "cpu-vm")
    assert preview.returncode == 1
    assert "gcp 9.7.0" in preview.stderr


def test_a_bucket_that_a_killed_pulumi_was_making_by_a_command_is_named():
    inputs: dict[str, object] = {
        "create": "make",
        "delete": "unmake",
        "environment": {"LLM_ENDPOINT_REGISTRY": "s3://models"},
    }
    made: Resource = {"urn": "urn::x", "type": "command:local:Command", "inputs": inputs}
    pending: list[Operation] = [{"type": "creating", "resource": made}]
    assert read({"deployment": {"pending_operations": pending}}).unfinished == (
        "bucket s3://models",
    )
    without = {name: value for name, value in inputs.items() if name != "delete"}
    pending = [{"type": "creating", "resource": {**made, "inputs": without}}]
    assert read({"deployment": {"pending_operations": pending}}).unfinished == ()


@pytest.mark.parametrize(
    ("kind", "inputs", "keeps"),
    [
        ("gcp:storage/bucket:Bucket", {}, True),
        (
            "command:local:Command",
            {"delete": "unmake", "environment": {"LLM_ENDPOINT_REGISTRY": "s3://models"}},
            True,
        ),
        ("gcp:compute/disk:Disk", {"name": "x"}, False),
    ],
)
def test_a_protected_bucket_is_told_from_a_protected_disk(
    kind: str, inputs: dict[str, object], keeps: bool
):
    kept: Resource = {"urn": "urn::x", "type": kind, "inputs": inputs, "protect": True}
    assert read({"deployment": {"resources": [kept]}}).keeps_bucket is keeps
    assert not read({"deployment": {"resources": [{**kept, "protect": False}]}}).keeps_bucket
