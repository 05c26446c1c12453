"""Where plugins come from: the person's Pulumi home, the releases, or the project's stand-in."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from scripts.bootstrap import plugins
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.downloads import Unreachable
from scripts.bootstrap.pins import ReleasePin
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.plugins import Plan, Plugin
from scripts.bootstrap.published import Releases
from scripts.bootstrap.pulumi_cli import Cli

COMMAND = Plugin("command", "1.2.1")
GCP = Plugin("gcp", "9.7.0")

# `pulumi plugin install resource NAME VERSION [--file FOLDER …]`, as far as the file goes.
FAKE_PULUMI = """#!/bin/sh
echo "$@" >> "{log}"
folder=$PULUMI_HOME/plugins/resource-$4-v$5
mkdir -p "$folder"
if [ "$6" = --file ]; then cp "$7"/* "$folder/"; else {published}; fi
"""


@dataclass(frozen=True)
class Place:
    """A checkout, a person's Pulumi home and a CLI of a test's own."""

    checkout: Checkout
    home: Path
    cli: Cli
    releases: Releases

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PULUMI_HOME": str(self.home)}

    @property
    def calls(self) -> list[str]:
        log = self.home.parent / "calls"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def ensure(self, *needed: Plugin) -> Plan:
        # A run of its own: what a run has asked is not asked again in it.
        releases = Releases(self.releases.pin, self.releases.cache)
        return plugins.ensure(
            self.checkout, self.cli, releases, needed, self.environment, stack="cpu-vm"
        )

    def put_published(self, plugin: Plugin) -> None:
        folder = self.home / "plugins" / plugin.folder
        folder.mkdir(parents=True)
        (folder / plugin.program).touch()

    def write_cli(self, published: str) -> None:
        text = FAKE_PULUMI.format(log=self.home.parent / "calls", published=published)
        self.cli.program.write_text(text, encoding="utf-8")
        self.cli.program.chmod(0o755)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(Releases, "ask", lambda _: Unreachable("nothing answers"))
    root = tmp_path / "ä 'check' out"
    root.mkdir()
    cli = Cli(tmp_path / "pulumi", "v3.210.0", "built here")
    releases = Releases(ReleasePin("1", ("http://x/",), "c", "a", {}), tmp_path / "cache")
    place = Place(Checkout(root), tmp_path / "home", cli, releases)
    place.write_cli("exit 9")
    return place


def reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Releases, "ask", lambda _: ("http://x/", {"a": "0" * 64}))
    monkeypatch.setattr(Releases, "worth_asking", True)


def test_published_plugins_are_used_as_they_are(place: Place):
    place.put_published(COMMAND)
    assert place.ensure(COMMAND) == Plan("published")
    assert place.calls == []


def test_a_plugin_half_installed_is_not_there(place: Place):
    place.put_published(COMMAND)
    (place.home / "plugins" / f"{COMMAND.folder}.partial").touch()
    assert not COMMAND.is_in(place.home)


def test_the_published_plugin_is_fetched_where_it_is_reached(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    reach(monkeypatch)
    place.write_cli('touch "$folder/pulumi-resource-command"')
    assert place.ensure(COMMAND) == Plan("published")
    assert place.calls == ["plugin install resource command 1.2.1"]
    assert COMMAND.is_in(place.home)


def test_the_stand_in_is_put_into_a_home_of_the_checkout_s_own(
    place: Place, capfd: pytest.CaptureFixture[str]
):
    assert place.ensure(COMMAND) == Plan("stand-in")
    said = capfd.readouterr().err
    assert "The published plugin command 1.2.1 can't be had (nothing answers)." in said
    assert "uses its stand-in" in said
    assert not (place.home / "plugins").exists()
    assert COMMAND.is_in(place.checkout.state / "pulumi-home")


def test_the_person_is_told_once(place: Place, capfd: pytest.CaptureFixture[str]):
    place.ensure(COMMAND)
    capfd.readouterr()
    assert place.ensure(COMMAND) == Plan("stand-in")
    assert capfd.readouterr().err == ""
    assert len(place.calls) == 1


def test_the_stand_in_gives_way_to_the_published_plugin(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    place.ensure(COMMAND)
    reach(monkeypatch)
    place.write_cli('touch "$folder/pulumi-resource-command"')
    capfd.readouterr()
    assert place.ensure(COMMAND) == Plan("published")
    assert "the stand-in is not used any more" in capfd.readouterr().err
    assert place.ensure(COMMAND) == Plan("published")
    assert capfd.readouterr().err == ""


def test_a_fetch_that_fails_leads_to_the_stand_in(place: Place, monkeypatch: pytest.MonkeyPatch):
    reach(monkeypatch)
    place.write_cli("echo not found >&2; exit 1")
    assert place.ensure(COMMAND) == Plan("stand-in")


def test_the_stand_in_of_a_checkout_that_was_moved_is_put_in_place_anew(
    place: Place, tmp_path: Path
):
    place.ensure(COMMAND)
    moved = Checkout(tmp_path / "moved")
    place.checkout.root.rename(moved.root)
    now = Place(moved, place.home, place.cli, place.releases)
    assert now.ensure(COMMAND) == Plan("stand-in")
    program = moved.state / "pulumi-home" / "plugins" / COMMAND.folder / COMMAND.program
    assert program.read_text(encoding="utf-8") == plugins.stand_in(moved, COMMAND)


def test_a_plugin_without_a_stand_in_is_left_to_the_engine_where_releases_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    reach(monkeypatch)
    assert place.ensure(COMMAND, GCP) == Plan("engine")


def test_a_plugin_without_a_stand_in_is_named_where_releases_do_not_answer(place: Place):
    place.put_published(COMMAND)
    with pytest.raises(BootstrapError, match=r"\(gcp 9\.7\.0\).*nothing answers"):
        place.ensure(COMMAND, GCP)


def test_what_can_not_be_fetched_is_installed_by_whole_commands(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(BootstrapError) as caught:
        place.ensure(COMMAND, GCP)
    first, *commands, last = caught.value.next_step.splitlines()
    assert "archive" in first
    at = "https://github.com/pulumi/pulumi-{0}/releases/download/v{1}/{2}"
    expected: list[str] = []
    for name, version in (("command", "1.2.1"), ("gcp", "9.7.0")):
        file = f"pulumi-resource-{name}-v{version}-linux-amd64.tar.gz"
        expected += [
            f"    curl -fLO {at.format(name, version, file)}",
            f"    scripts/pulumi plugin install resource {name} {version} --file {file}",
        ]
    assert commands == expected
    assert last.startswith("scripts/doctor cpu-vm and .venv/bin/python -m scripts.render cpu-vm ")


def test_an_archive_is_named_for_the_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert GCP.archive == "pulumi-resource-gcp-v9.7.0-darwin-arm64.tar.gz"


def test_the_stand_in_starts_the_emulator_of_its_checkout(place: Place):
    python = place.checkout.virtual_environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    package = place.checkout.root / "emulator" / "command"
    package.mkdir(parents=True)
    shown = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('PYTHONPATH')]))"
    (package / "__main__.py").write_text(shown, encoding="utf-8")
    place.ensure(COMMAND)
    program = place.checkout.state / "pulumi-home" / "plugins" / COMMAND.folder / COMMAND.program
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    started = subprocess.run(
        [program, "127.0.0.1:1", "a b"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env=environment,
    )
    assert json.loads(started.stdout) == [["127.0.0.1:1", "a b"], None]


def test_the_stand_in_s_home_keeps_the_person_s_login(place: Place):
    variables = plugins.variables(place.checkout, Plan("stand-in"), place.environment)
    assert variables == {
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(place.checkout.state / "pulumi-home"),
        "PULUMI_CREDENTIALS_PATH": str(place.home),
    }


def test_the_engine_fetches_only_where_plugins_are_left_to_it(place: Place):
    off = "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"
    assert off in plugins.variables(place.checkout, Plan("published"), place.environment)
    assert off not in plugins.variables(place.checkout, Plan("engine"), place.environment)


@pytest.mark.parametrize("source", ["published", "engine"])
def test_pulumi_s_home_follows_the_home_folder(
    place: Place, source: Literal["published", "engine"]
):
    given = {"HOME": "/another"}
    assert (
        plugins.variables(place.checkout, Plan(source), given)["PULUMI_HOME"] == "/another/.pulumi"
    )


def test_what_is_needed_is_read_from_the_installed_packages(tmp_path: Path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for package, about in {
        "pulumi_command": {"resource": True, "name": "command", "version": "1.2.1"},
        "pulumi_gcp": {"resource": True, "name": "gcp", "version": "v9.7.0"},
        "pulumi_policy": {"resource": False, "name": "policy"},
    }.items():
        (packages / package).mkdir(parents=True)
        file = packages / package / "pulumi-plugin.json"
        file.write_text(json.dumps(about), encoding="utf-8")
    python = tmp_path / "bin" / "python"
    assert plugins.needed(python, local_only=False) == [COMMAND, GCP]
    assert plugins.needed(python, local_only=True) == [COMMAND]


def test_a_script_within_another_s_environment_sees_the_person_s_home(place: Place):
    place.ensure(COMMAND)
    inner = {
        **place.environment,
        **plugins.variables(place.checkout, Plan("stand-in"), place.environment),
    }
    outer = plugins.outer_environment(place.checkout, inner)
    assert outer["PULUMI_HOME"] == str(place.home)
    assert plugins.outer_environment(place.checkout, place.environment) == place.environment
