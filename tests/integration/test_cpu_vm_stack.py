"""The cpu-vm program on the real engine, over a cloud that is a folder: all but the machine.

What boots on the machine, and the endpoint that answers, is `tests/real`'s: the stack is parked
here. The tests run in order on one stack.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import emulated_cloud
import pytest
from emulated_cloud import EmulatedCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STACK = "cpu-vm"
ADDRESS = "203.0.113.10"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedCloud]:
    made = emulated_cloud.make(tmp_path_factory.mktemp("cpu-vm"), ADDRESS)
    made.good("stack", "init", STACK)
    return made


@pytest.fixture(scope="module")
def parked(cloud: EmulatedCloud) -> EmulatedCloud:
    cloud.configure(
        STACK,
        gcp__project="a-project",
        gcp__zone="europe-west4-a",
        allowed_cidrs="198.51.100.7/32",
        parked="true",
    )
    cloud.up(STACK)
    return cloud


def ids(cloud: EmulatedCloud) -> dict[str, str]:
    """Number of each resource that the cloud holds, by its id: another number, another resource."""
    return {
        identity: json.dumps(made["added"].get("instanceId", ""))
        for identity, made in cloud.resources().items()
    }


def instance(cloud: EmulatedCloud) -> dict:
    found = [made for identity, made in cloud.resources().items() if "/instances/" in identity]
    assert len(found) == 1
    return found[0]


def test_everything_that_is_wrong_is_said_at_once_and_before_anything_is_made(
    cloud: EmulatedCloud,
):
    cloud.configure(STACK, machine_type="n2-standrd-16", allowed_cidrs="198.51.100.7/33")
    done = cloud.run("preview", "--stack", STACK)
    assert done.status != 0
    for words in ("gcp:project", "gcp:zone", "machine_type", "allowed_cidrs"):
        assert words in done.text, done.text
    assert "Traceback" not in done.text
    assert cloud.resources() == {}
    for key in ("machine_type", "allowed_cidrs"):
        cloud.good("config", "rm", f"llm-endpoint:{key}", "--stack", STACK)


def test_a_parked_stack_keeps_what_lasts_and_bills_for_no_core(parked: EmulatedCloud):
    outputs = parked.outputs(STACK)
    assert outputs["state"] == "parked"
    assert outputs["verification"] == {"status": "parked"}
    assert "endpoint_url" not in outputs
    assert instance(parked)["inputs"]["desiredStatus"] == "TERMINATED"
    bills = {entry["resource"]: entry["parked"] for entry in outputs["billing"]}
    assert any(bills.values())
    assert not all(bills.values())


def test_exactly_the_keys_are_secret_outputs(parked: EmulatedCloud):
    shown = json.loads(parked.good("stack", "output", "--json", "--stack", STACK).stdout)
    assert {n for n, value in shown.items() if value == "[secret]"} == {"api_key", "api_keys"}


def test_no_key_lies_open_in_the_state_or_on_the_machine(parked: EmulatedCloud):
    key = str(parked.outputs(STACK)["api_key"])
    assert key.startswith("sk-")
    assert key not in parked.state(STACK)
    assert "PRIVATE KEY" not in parked.state(STACK)
    assert key not in json.dumps(instance(parked))
    assert "PRIVATE KEY" not in json.dumps(instance(parked))


def test_nothing_changes_where_nothing_was_changed(parked: EmulatedCloud):
    parked.good("preview", "--expect-no-changes", "--stack", STACK)


def test_another_key_needs_no_other_machine(parked: EmulatedCloud):
    before = instance(parked)
    parked.configure(STACK, keys="default alice")
    parked.up(STACK)
    assert instance(parked) == before
    assert set(parked.outputs(STACK)["api_keys"]) == {"default", "alice"}
    payload = (parked.folder / "cloud" / "payloads").glob("*-keys")
    assert set(json.loads(next(payload).read_text())) == {"default", "alice"}


def test_another_model_makes_another_machine_and_keeps_disk_address_and_keys(
    parked: EmulatedCloud,
):
    before, outputs = set(parked.resources()), parked.outputs(STACK)
    done = parked.run("preview", "--diff", "--stack", STACK)
    assert done.status == 0
    parked.configure(STACK, context_tokens="2048")
    done = parked.good("up", "--yes", "--skip-preview", "--stack", STACK)
    assert set(parked.resources()) == before
    replaced = [line for line in done.stdout.splitlines() if "replaced" in line]
    assert any("gcp:compute:Instance" in line for line in replaced), done.text
    assert not any("Disk" in line or "Address" in line for line in replaced), done.text
    assert parked.outputs(STACK)["api_keys"] == outputs["api_keys"]


def test_a_schedule_is_attached_and_nothing_changes_by_itself(parked: EmulatedCloud):
    schedule = {"start": "0 8 * * 1-5", "stop": "0 20 * * 1-5", "time_zone": "Europe/Berlin"}
    parked.configure(STACK, schedule=json.dumps(schedule))
    parked.up(STACK)
    policies = [made for name, made in parked.resources().items() if "/resourcePolicies/" in name]
    assert [each["inputs"]["instanceSchedulePolicy"]["timeZone"] for each in policies] == [
        "Europe/Berlin"
    ]
    parked.good("preview", "--expect-no-changes", "--stack", STACK)
    parked.good("config", "rm", "llm-endpoint:schedule", "--stack", STACK)


def test_a_group_of_one_takes_the_place_of_the_machine(parked: EmulatedCloud):
    parked.configure(STACK, spot="true", spot_recovery="mig")
    parked.up(STACK)
    kinds = {identity.split("/")[-2] for identity in parked.resources()}
    assert "instanceGroupManagers" in kinds
    assert "instances" not in kinds
    parked.good("preview", "--expect-no-changes", "--stack", STACK)


def test_destroy_leaves_nothing(parked: EmulatedCloud):
    parked.good("destroy", "--yes", "--skip-preview", "--stack", STACK)
    assert parked.resources() == {}
