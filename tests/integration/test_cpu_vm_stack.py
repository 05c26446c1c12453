"""The cpu-vm program on the real engine, over a cloud that is a folder and a VM that boots at once.

What really boots on the machine is `tests/real`'s. The tests run in order on one stack.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import checkout as checkouts
import emulated_cloud
import pytest
from emulated_cloud import EmulatedCloud
from fake_vm import PORT, FakeVm
from machine_orders import Orders

from scripts.bootstrap import adoption
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

STACK = "cpu-vm"
ADDRESS = "127.0.0.1"
"""Of this file alone: others use the same port at the same time."""
MODEL = "example-org/tiny-GGUF:tiny-q4_k_m.gguf"


@dataclass(frozen=True)
class Stack:
    """The stack, its cloud, and the VM that the cloud runs."""

    cloud: EmulatedCloud
    vm: FakeVm

    def configure(self, **values: str) -> None:
        self.cloud.configure(STACK, **values)

    def forget(self, *keys: str) -> None:
        for key in keys:
            self.cloud.good("config", "rm", f"llm-endpoint:{key}", "--stack", STACK)

    def up(self) -> str:
        return self.cloud.up(STACK).stdout

    def outputs(self) -> dict:
        return self.cloud.outputs(STACK)

    def instances(self) -> list[dict]:
        found = self.cloud.resources().items()
        return [dict(made) for identity, made in found if "/instances/" in identity]

    def no_changes(self) -> None:
        self.cloud.good("preview", "--expect-no-changes", "--stack", STACK)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        socket.create_server((ADDRESS, PORT)).close()
    except OSError as error:
        pytest.skip(f"an endpoint on port {PORT} can't be had here: {error}")
    made = emulated_cloud.make(tmp_path_factory.mktemp("cpu-vm"), ADDRESS)
    with FakeVm(made.folder / "cloud", ADDRESS, "tiny-q4_k_m") as vm:
        orders = Orders(made.folder / "orders.sock", vm.obey)
        cloud = dataclasses.replace(made, machine=orders.program)
        cloud.good("stack", "init", STACK)
        yield Stack(cloud, vm)
        orders.close()


@pytest.fixture(scope="module")
def parked(stack: Stack) -> Stack:
    stack.configure(
        gcp__project="a-project",
        gcp__zone="europe-west4-a",
        allowed_cidrs="198.51.100.7/32",
        model=MODEL,
        parked="true",
    )
    stack.up()
    return stack


@pytest.fixture(scope="module")
def serving(parked: Stack) -> Stack:
    parked.configure(parked="false")
    parked.up()
    return parked


def test_everything_that_is_wrong_is_said_at_once_and_before_anything_is_made(stack: Stack):
    stack.configure(machine_type="n2-standrd-16", allowed_cidrs="198.51.100.7/33")
    done = stack.cloud.run("preview", "--stack", STACK)
    assert done.status != 0
    for words in ("gcp:project", "gcp:zone", "machine_type", "allowed_cidrs"):
        assert words in done.text, done.text
    assert "Traceback" not in done.text
    assert stack.cloud.resources() == {}
    stack.forget("machine_type", "allowed_cidrs")


def test_a_stack_can_be_parked_from_the_start_and_has_no_machine(parked: Stack):
    outputs = parked.outputs()
    assert outputs["state"] == "parked"
    assert outputs["verification"] == {"status": "parked"}
    assert "endpoint_url" not in outputs
    assert parked.instances() == []
    bills = {entry["resource"]: entry["parked"] for entry in outputs["billing"]}
    assert any(bills.values())
    assert not all(bills.values())
    parked.no_changes()


def test_what_serves_has_answered_over_tls_with_a_key(serving: Stack):
    outputs = serving.outputs()
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == f"https://{ADDRESS}"
    assert outputs["verification"]["status"] == "passed"
    assert outputs["verification"]["boot"].startswith("gcp:a-project/europe-west4-a/")
    assert "BEGIN CERTIFICATE" in outputs["ca_certificate"]
    serving.no_changes()


def test_exactly_the_keys_are_secret_outputs(serving: Stack):
    shown = json.loads(serving.cloud.good("stack", "output", "--json", "--stack", STACK).stdout)
    assert {n for n, value in shown.items() if value == "[secret]"} == {"api_key", "api_keys"}


def test_no_key_lies_open_in_the_state_or_on_the_machine(serving: Stack):
    state, machine = serving.cloud.state(STACK), json.dumps(serving.instances())
    key = serving.outputs()["api_key"]
    assert key.startswith("sk-")
    for secret in (key, "PRIVATE KEY"):
        assert secret not in state
        assert secret not in machine
    assert "user-data" in machine


def test_another_key_needs_no_other_machine(serving: Stack):
    before, old = serving.instances(), serving.outputs()
    serving.configure(keys="default@2 alice")
    serving.up()
    assert serving.instances() == before
    assert serving.vm.made == 1
    new = serving.outputs()
    assert set(new["api_keys"]) == {"default", "alice"}
    assert new["api_key"] != old["api_key"]
    assert new["verification"] != old["verification"]


def test_other_settings_make_another_machine_and_keep_disk_address_and_keys(serving: Stack):
    before, outputs = set(serving.cloud.resources()), serving.outputs()
    serving.configure(context_tokens="2048")
    said = serving.up()
    assert set(serving.cloud.resources()) == before
    replaced = [line for line in said.splitlines() if "replaced" in line]
    assert any("gcp:compute:Instance" in line for line in replaced), said
    assert not any("Disk" in line or "Address" in line for line in replaced), said
    assert serving.outputs()["api_keys"] == outputs["api_keys"]
    assert serving.vm.made == 2


def test_labels_and_a_larger_boot_disk_need_no_other_machine(serving: Stack):
    made = serving.vm.made
    serving.configure(labels="team=search", boot_gb="60")
    serving.up()
    assert serving.vm.made == made
    (instance,) = serving.instances()
    assert instance["inputs"]["labels"]["team"] == "search"
    serving.forget("labels", "boot_gb")


def test_an_up_that_failed_half_way_is_repaired_by_the_next(serving: Stack):
    serving.vm.broken = True
    serving.configure(context_tokens="4096")
    done = serving.cloud.run("up", "--yes", "--skip-preview", "--stack", STACK)
    assert done.status != 0
    assert "no such machine left" in done.text
    assert serving.instances() == []
    serving.vm.broken = False
    serving.up()
    assert serving.outputs()["verification"]["status"] == "passed"
    serving.no_changes()


def taken_up_after_a_kill(serving: Stack) -> list[str]:
    """Kill `up` while it makes the machine, and let what it left be taken up; returns that."""
    serving.vm.ordered.clear()
    serving.vm.held.clear()
    killed = serving.cloud.start("up", "--yes", "--skip-preview", "--stack", STACK)
    try:
        assert serving.vm.ordered.wait(120), "the machine was never ordered"
    finally:
        checkouts.end_group(killed)
        serving.vm.held.set()
    serving.cloud.good("cancel", "--yes", "--stack", STACK)
    checkout, cli = Checkout(serving.cloud.root), Cli(serving.cloud.cli, "", "built here")
    settled = adoption.adopt(checkout, STACK, cli, serving.cloud.environment())
    return [urn.rsplit("::", 1)[-1] for urn in settled]


def assert_that_it_serves(serving: Stack, machine: dict, made: int) -> None:
    serving.up()
    assert serving.vm.made == made, "the machine that was begun is the one that serves"
    assert serving.instances() == [machine]
    assert serving.outputs()["verification"]["status"] == "passed"


def test_a_machine_that_a_killed_up_was_replacing_is_found_again(serving: Stack):
    serving.configure(context_tokens="8192")
    made = serving.vm.made
    assert taken_up_after_a_kill(serving) == ["cpu-vm-instance"]
    (machine,) = serving.instances()
    assert_that_it_serves(serving, machine, made + 1)


def test_a_schedule_is_attached_and_nothing_changes_by_itself(serving: Stack):
    schedule = {"start": "0 8 * * 1-5", "stop": "0 20 * * 1-5", "time_zone": "Europe/Berlin"}
    serving.configure(schedule=json.dumps(schedule))
    serving.up()
    found = serving.cloud.resources().items()
    policies = [made for name, made in found if "/resourcePolicies/" in name]
    assert [each["inputs"]["instanceSchedulePolicy"]["timeZone"] for each in policies] == [
        "Europe/Berlin"
    ]
    serving.no_changes()
    serving.forget("schedule")


def test_a_parked_stack_gives_its_machine_back_and_keeps_its_keys(serving: Stack):
    keys = serving.outputs()["api_keys"]
    serving.configure(parked="true")
    serving.up()
    outputs = serving.outputs()
    assert outputs["state"] == "parked"
    assert outputs["api_keys"] == keys
    assert serving.instances() == []
    assert any("/disks/" in identity for identity in serving.cloud.resources())


def test_a_machine_that_a_killed_up_had_begun_is_taken_up_again(serving: Stack):
    serving.configure(parked="false")
    made = serving.vm.made
    assert taken_up_after_a_kill(serving) == ["cpu-vm-instance"]
    (machine,) = serving.instances()
    assert_that_it_serves(serving, machine, made + 1)


def test_a_group_of_one_takes_the_place_of_the_machine(serving: Stack):
    serving.configure(parked="true", spot="true", spot_recovery="mig")
    serving.up()
    kinds = {identity.split("/")[-2] for identity in serving.cloud.resources()}
    assert "instanceGroupManagers" in kinds
    serving.no_changes()


def test_destroy_leaves_nothing(serving: Stack):
    serving.cloud.good("destroy", "--yes", "--skip-preview", "--stack", STACK)
    assert serving.cloud.resources() == {}
