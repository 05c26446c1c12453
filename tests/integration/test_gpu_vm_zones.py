"""scripts/up where a zone has no room: on the real engine, over a cloud that is a folder.

The commands run as in scripts/up, with what it prepares given by the test. In order, on one stack.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import emulated_cloud
import pytest
from emulated_cloud import EmulatedCloud
from fake_google_apis import FakeApis
from fake_vm import PORT, FakeVm
from machine_orders import Orders

from scripts.bootstrap import commands
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.plugins import Plan
from scripts.bootstrap.pulumi_cli import Cli

pytestmark = [pytest.mark.integration, pytest.mark.real, pytest.mark.timeout(600)]

STACK = "gpu-vm"
ADDRESS = "127.0.0.2"
"""Of this file alone: others use the same port at the same time."""
MODEL = "example-org/tiny-GGUF:tiny-q4_k_m.gguf"
A, B, ELSEWHERE = "europe-west4-a", "europe-west4-b", "europe-west1-b"
FAMILY = "ubuntu-accelerator-2404-amd64-with-nvidia-580"
IMAGES = "projects/ubuntu-os-accelerator-images/global/images"


@dataclass(frozen=True)
class Stack:
    """The stack, its cloud, and the VM that the cloud runs."""

    cloud: EmulatedCloud
    vm: FakeVm

    @property
    def ready(self) -> Prepared:
        return Prepared(
            checkout=Checkout(self.cloud.root),
            python=Path(sys.executable),
            cli=Cli(self.cloud.cli, "", "built here"),
            plugins=Plan("engine"),
            backend=Backend("", "the test's", self.cloud.folder / "state"),
            variables=self.cloud.environment(),
        )

    def configure(self, **values: str) -> None:
        self.cloud.configure(STACK, **values)

    def configured(self, key: str) -> str:
        return self.cloud.good("config", "get", key, "--stack", STACK).stdout.strip()

    def full(self, *zones: str) -> None:
        (self.cloud.folder / "cloud" / "full-zones").write_text("\n".join(zones), encoding="utf-8")

    def up(self, *words: str) -> int:
        return commands.up(Checkout(self.cloud.root), [STACK, *words])

    def places(self, kind: str) -> list[str]:
        """Where the cloud has resources of a `kind` such as `disks`: zones or regions."""
        found = [identity.split("/") for identity in self.cloud.resources()]
        return sorted(parts[-3] for parts in found if parts[-2] == kind)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    try:
        socket.create_server((ADDRESS, PORT)).close()
    except OSError as error:
        pytest.skip(f"an endpoint on port {PORT} can't be had here: {error}")
    made = emulated_cloud.make(tmp_path_factory.mktemp(STACK), ADDRESS)
    with FakeVm(made.folder / "cloud", ADDRESS, "tiny-q4_k_m") as vm, FakeApis() as google:
        google.on(f"compute/v1/{IMAGES}/family/{FAMILY}", (200, {"name": "ubuntu-v20261120"}))
        orders = Orders(made.folder / "orders.sock", vm.obey)
        cloud = dataclasses.replace(made, machine=orders.program, extra=google.environment)
        cloud.good("stack", "init", STACK)
        yield Stack(cloud, vm)
        orders.close()


@pytest.fixture(autouse=True)
def prepared(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What scripts/up prepares is there: the checkout's packages, its plugins and its state."""
    monkeypatch.setattr(commands, "prepare", lambda *_: stack.ready)


def test_the_next_zone_gets_the_machine_with_its_protected_disk_and_nothing_stays_behind(
    stack: Stack, capfd: pytest.CaptureFixture[str]
):
    stack.configure(
        gcp__project="a-project",
        gcp__zone=A,
        zones=f"{ELSEWHERE} {B}",
        keep_data="true",
        allowed_cidrs="198.51.100.7/32",
        model=MODEL,
    )
    stack.full(A)
    assert stack.up() == 0
    said = capfd.readouterr()
    assert [line for line in said.err.splitlines() if "NO ROOM" in line] == [
        f"  NO ROOM in {A} for the machine of {STACK}. It goes to {ELSEWHERE} (zones); its "
        "address becomes another one.",
    ]
    assert "should europe" not in said.out, "that is for who runs pulumi without scripts/up"
    assert stack.configured("gcp:zone") == ELSEWHERE
    assert stack.configured("zones") == f"{A} {ELSEWHERE} {B}"
    for kind in ("instances", "disks"):
        assert stack.places(kind) == [ELSEWHERE]
    assert '"protect": true' in stack.cloud.state(STACK)
    assert stack.places("addresses") == ["europe-west1"]
    assert stack.vm.made == 1
    assert stack.cloud.outputs(STACK)["verification"]["status"] == "passed"
    stack.cloud.good("preview", "--expect-no-changes", "--stack", STACK)


def test_what_the_image_family_stood_for_was_written_down_and_stays(
    stack: Stack, capfd: pytest.CaptureFixture[str]
):
    assert stack.configured("image") == f"{IMAGES}/ubuntu-v20261120"
    (machine,) = [made for made in stack.cloud.resources().values() if "/instances/" in str(made)]
    assert "ubuntu-v20261120" in json.dumps(machine["inputs"])
    assert stack.up() == 0
    assert "WRITTEN" not in capfd.readouterr().err
    assert stack.vm.made == 1


def test_pulumi_by_itself_stops_there_and_names_the_command_that_goes_on(stack: Stack):
    stack.full(ELSEWHERE)
    stack.configure(context_tokens="2048")
    done = stack.cloud.run("up", "--yes", "--skip-preview", "--stack", STACK)
    assert done.status != 0
    assert "does not have enough resources available" in done.text
    assert f"next: scripts/up {STACK} goes on with {A}, if no cache disk holds data" in done.text


def test_a_disk_that_may_hold_data_keeps_its_machine_in_its_zone(stack: Stack):
    with pytest.raises(BootstrapError, match="may hold data") as refused:
        stack.up()
    assert f"scripts/up {STACK} --move-cache" in refused.value.next_step
    assert stack.configured("gcp:zone") == ELSEWHERE
    assert stack.places("disks") == [ELSEWHERE]


def test_a_protected_disk_with_data_is_not_given_up_by_the_way(stack: Stack):
    with pytest.raises(BootstrapError, match="protected") as refused:
        stack.up("--move-cache")
    assert "config set keep_data false" in refused.value.next_step
    assert stack.places("disks") == [ELSEWHERE]


def test_a_disk_that_is_given_up_is_made_anew_where_there_is_room(
    stack: Stack, capfd: pytest.CaptureFixture[str]
):
    keys = stack.cloud.outputs(STACK)["api_keys"]
    stack.configure(keep_data="false")
    assert stack.up("--move-cache") == 0
    assert "gives up the disk llm-endpoint-gpu-vm-cache" in capfd.readouterr().err
    assert stack.configured("gcp:zone") == A
    assert stack.configured("zones") == f"{A} {ELSEWHERE} {B}"
    for kind in ("instances", "disks"):
        assert stack.places(kind) == [A]
    assert stack.cloud.outputs(STACK)["api_keys"] == keys
    stack.cloud.good("preview", "--expect-no-changes", "--stack", STACK)


def test_a_machine_that_runs_stays_where_it_is(stack: Stack):
    stack.full(A)
    made = stack.vm.made
    stack.configure(labels="team=search")
    assert stack.up() == 0
    assert stack.vm.made == made
    assert stack.configured("gcp:zone") == A


def test_nothing_is_given_up_for_a_machine_with_no_other_zone(stack: Stack):
    stack.configure(zones=A)
    with pytest.raises(BootstrapError, match=f"names none beside {A}"):
        stack.up("--move-cache")
    assert stack.places("instances") == [A]
