"""From the configuration to the component: what a deployment of `cpu-vm` registers."""

import json
from collections.abc import Mapping

import pytest
from cpu_vm_program import CA_KEY, CERTIFICATE, RECEIPT

from emulator.mocks.recording import Registration, Run, run
from stacks import PROGRAMS
from stacks.cpu_vm import files

RAW = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "allowed_cidrs": "203.0.113.7/32",
    "labels": "team=research",
    "max_run_hours": "8",
    "schedule": "stop 0 20 * * *; Europe/Berlin",
}


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    if "-key-" in name:
        return "sk-the-key"
    printed = {"ca": {"certificate": CERTIFICATE, "key": CA_KEY}, "verification": RECEIPT}
    return json.dumps(printed[name.removeprefix("cpu-vm-")])


@pytest.fixture(scope="module")
def seen() -> Run:
    asked: list[tuple[object, ...]] = []

    def last_stop(*place: object) -> str:
        asked.append(place)
        return "2026-11-21T14:00:00.000-08:00"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scripts.gcp.instances.last_stop", last_stop)
        program = PROGRAMS["cpu-vm"]
        found = run(lambda: program.deploy(program.settings(RAW)), stdout, "cpu-vm")
    assert asked[0][:3] == ("my-project", "europe-west4-a", "llm-endpoint-cpu-vm")
    return found


def only(seen: Run, kind: str) -> Registration:
    (found,) = (one for one in seen.registrations.values() if one.token.startswith(f"gcp:{kind}:"))
    return found


def test_the_machine_is_the_one_that_the_configuration_names(seen: Run):
    machine = only(seen, "compute/instance").plain()
    assert machine["name"] == "llm-endpoint-cpu-vm"
    assert machine["machineType"] == "e2-standard-16"
    assert machine["zone"] == "europe-west4-a"
    assert machine["project"] == "my-project"


def test_hours_become_seconds(seen: Run):
    scheduling = only(seen, "compute/instance").plain()["scheduling"]
    assert isinstance(scheduling, Mapping)
    assert scheduling["maxRunDuration"] == {"seconds": 8 * 3600}


def test_the_cache_has_the_size_and_the_type_that_the_catalogue_chooses(seen: Run):
    disk = only(seen, "compute/disk").plain()
    assert (disk["size"], disk["type"]) == (50, "pd-balanced")


def test_the_schedule_and_the_labels_arrive(seen: Run):
    policy = only(seen, "compute/resourcePolicy").plain()["instanceSchedulePolicy"]
    assert isinstance(policy, Mapping)
    assert policy["timeZone"] == "Europe/Berlin"
    labels = only(seen, "compute/disk").plain()["labels"]
    assert isinstance(labels, Mapping)
    assert labels["team"] == "research"


def test_a_stop_that_nobody_deployed_is_verified_anew(seen: Run):
    verification = seen.registrations["command:local:Command:cpu-vm-verification"].plain()
    assert "2026-11-21T14:00:00.000-08:00" in str(verification["triggers"])


def test_the_machine_gets_the_very_files_that_are_shown(seen: Run):
    shown = files(PROGRAMS["cpu-vm"].settings(RAW), "cpu-vm")
    metadata = only(seen, "compute/instance").plain()["metadata"]
    assert isinstance(metadata, Mapping)
    assert metadata["user-data"] == shown["user-data.yaml"]
    assert shown["startup-script.sh"].startswith("#!")
    assert any(path.startswith("machine/etc/systemd/system/") for path in shown)


def test_every_output_of_a_stack_is_there(seen: Run):
    for name in ("endpoint_url", "openai_base_url", "model", "api_key", "ca_certificate"):
        assert seen.outputs[name].known, name
    assert seen.outputs["api_key"].secret
    assert not seen.outputs["endpoint_url"].secret


def test_what_the_configuration_leaves_open_is_said(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", said.append)
    monkeypatch.setattr("scripts.gcp.instances.last_stop", lambda *place: "")
    program = PROGRAMS["cpu-vm"]
    newer = program.settings({**RAW, "machine_type": "c5-standard-16"})
    run(lambda: program.deploy(newer), stdout, "cpu-vm")
    assert any("does not know the machine type c5-standard-16" in one for one in said)
