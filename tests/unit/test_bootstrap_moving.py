"""What `up` does with pulumi where a zone has no room, in which order, and when it lets it be."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fake_machine import lines, write_program

from scripts.bootstrap import moving
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.plugins import Plan
from scripts.bootstrap.pulumi_cli import Cli

HERE, NEXT, FAR = "europe-west4-a", "europe-west4-b", "europe-west1-b"
FULL = "The zone does not have enough resources available to fulfill the request."
QUOTA = "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region europe-west4."
DESTROY = "destroy --yes --skip-preview --refresh=false --target-dependents"
PULUMI = """#!/bin/sh
printf '%s\\n' "$*" >> "{folder}/calls"
case "$1 $2" in
    "config --json") cat "{folder}/config.json" ;;
    "stack export") cat "{folder}/export.json" ;;
    "refresh --yes") exit "$(cat "{folder}/refresh-status")" ;;
esac
"""


def urn(kind: str) -> str:
    return f"urn:pulumi:gpu-vm::llm-endpoint::gcp:compute/{kind}::{kind.partition(':')[2]}"


class Pulumi:
    """A pulumi whose `up` ends as the test says, in one zone after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ends: list[tuple[int, str]] = []
        self.given: list[Mapping[str, str]] = []
        write_program(folder / "pulumi", PULUMI.format(folder=folder))
        (folder / "refresh-status").write_text("0")
        self.configure(HERE, f"{HERE} {NEXT} {FAR}")
        self.has()

    def configure(self, zone: str, zones: str) -> None:
        keys = {"gcp:zone": {"value": zone}, "llm-endpoint:zones": {"value": zones}}
        (self._folder / "config.json").write_text(json.dumps(keys))

    def has(self, **kinds: dict[str, object]) -> None:
        """Put resources into the state, by the class of their type, such as `Disk`."""
        found = []
        for name, more in kinds.items():
            kind = f"{name[0].lower()}{name[1:]}:{name}"
            found.append({"urn": urn(kind), "type": f"gcp:compute/{kind}", **more})
        export = {"deployment": {"resources": found}}
        (self._folder / "export.json").write_text(json.dumps(export))

    def refresh_fails(self) -> None:
        (self._folder / "refresh-status").write_text("1")

    def up(self, *, give_up_cache: bool = False) -> int:
        ready = Prepared(
            checkout=Checkout(self._folder),
            python=Path("python"),
            cli=Cli(self._folder / "pulumi", "", "on PATH"),
            plugins=Plan("engine"),
            backend=Backend("", "", None),
            variables={"PATH": "/usr/bin:/bin"},
        )
        return moving.up(ready, "gpu-vm", self._run, give_up_cache=give_up_cache)

    def _run(self, arguments: Sequence[str], variables: Mapping[str, str]) -> int:
        self.given.append(variables)
        status, message = self.ends.pop(0)
        said = {"urn": urn("instance:Instance"), "severity": "error", "message": message}
        option, log = arguments
        assert option == "--event-log"
        if message:
            Path(log).write_text(json.dumps({"diagnosticEvent": said}) + "\n", encoding="utf-8")
        return status

    @property
    def changing(self) -> list[str]:
        """The calls that change something, without what is the same in all."""
        calls = lines(self._folder / "calls")
        reading = ("config --json", "stack export")
        return [
            call.removesuffix(" --non-interactive --color never").replace(" --stack gpu-vm", "")
            for call in calls
            if not call.startswith(reading)
        ]


@pytest.fixture
def pulumi(tmp_path: Path) -> Pulumi:
    return Pulumi(tmp_path)


def test_where_there_is_room_nothing_is_asked(pulumi: Pulumi):
    pulumi.ends = [(0, "")]
    assert pulumi.up() == 0
    assert pulumi.changing == []
    assert pulumi.given == [{"PULUMI_DEBUG_COMMANDS": "true"}]


def test_the_next_zone_is_written_down_and_gone_to(
    pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
):
    pulumi.ends = [(255, FULL), (0, "")]
    assert pulumi.up() == 0
    assert pulumi.changing == [f"config set-all --plaintext gcp:zone={NEXT}"]
    said = capsys.readouterr().err
    assert f"NO ROOM in {HERE} for the machine of gpu-vm. It goes to {NEXT} (zones)." in said
    assert f"Written to its configuration: gcp:zone = {NEXT}" in said


@pytest.mark.parametrize("status", [130, 137, 143])
def test_an_up_that_was_ended_goes_nowhere(pulumi: Pulumi, status: int):
    pulumi.ends = [(status, FULL)]
    assert pulumi.up() == status
    assert pulumi.changing == []


def test_a_quota_is_said_to_be_one_and_goes_nowhere(
    pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
):
    pulumi.ends = [(255, QUOTA)]
    assert pulumi.up() == 255
    assert pulumi.changing == []
    said = capsys.readouterr().err
    assert "the quota NVIDIA_L4_GPUS is used up: that is no lack of room" in said
    assert "scripts/doctor gpu-vm" in said


def test_whether_a_disk_holds_data_is_asked_of_the_cloud_and_not_of_an_old_state(pulumi: Pulumi):
    pulumi.has(Disk={}, Address={})
    pulumi.ends = [(255, FULL), (0, "")]
    assert pulumi.up() == 0
    assert pulumi.changing == [
        f"refresh --yes --skip-preview --target {urn('disk:Disk')}",
        f"{DESTROY} --target {urn('disk:Disk')}",
        f"config set-all --plaintext gcp:zone={NEXT}",
    ]


def test_where_the_cloud_can_t_be_asked_nothing_is_moved(pulumi: Pulumi):
    pulumi.has(Disk={})
    pulumi.refresh_fails()
    pulumi.ends = [(255, FULL)]
    with pytest.raises(BootstrapError, match="whether a disk of gpu-vm holds data"):
        pulumi.up()
    assert not any("set-all" in call for call in pulumi.changing)


def test_what_a_machine_has_in_a_region_that_it_leaves_goes_with_it(pulumi: Pulumi):
    pulumi.configure(HERE, FAR)
    pulumi.has(Disk={}, Instance={"outputs": {"currentStatus": "TERMINATED"}}, Address={})
    pulumi.ends = [(255, FULL), (0, "")]
    assert pulumi.up() == 0
    assert pulumi.changing[1:] == [
        f"{DESTROY} --target {urn('disk:Disk')} --target {urn('instance:Instance')} "
        f"--target {urn('address:Address')}",
        f"config set-all --plaintext gcp:zone={FAR} --plaintext llm-endpoint:zones={HERE} {FAR}",
    ]


def test_an_empty_disk_loses_its_protection_and_one_with_data_stops_all(pulumi: Pulumi):
    pulumi.has(Disk={"protect": True})
    pulumi.ends = [(255, FULL), (0, "")]
    assert pulumi.up() == 0
    assert f"state unprotect {urn('disk:Disk')} --yes" in pulumi.changing
    pulumi.has(Disk={"protect": True, "outputs": {"lastAttachTimestamp": "2026-11-21"}})
    pulumi.ends = [(255, FULL)]
    before = len(pulumi.changing)
    with pytest.raises(BootstrapError, match="protected"):
        pulumi.up(give_up_cache=True)
    assert [call.partition(" ")[0] for call in pulumi.changing[before:]] == ["refresh"]


def test_where_all_are_full_the_search_ends(pulumi: Pulumi):
    pulumi.configure(HERE, HERE)
    pulumi.ends = [(255, FULL)]
    with pytest.raises(BootstrapError, match=f"none of {HERE} has room"):
        pulumi.up()
