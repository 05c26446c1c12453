"""What a program and its state see of `local.Command`, on the real engine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pulumi_command
import pytest
from plugin_client import SIGNATURE

from scripts.bootstrap import pins, pulumi_cli
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import cache_root, this_checkout
from scripts.bootstrap.published import Releases

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

VERSION = json.loads((Path(pulumi_command.__file__).parent / "pulumi-plugin.json").read_text())[
    "version"
]
PROGRAM = """\
import os

import pulumi
from pulumi_command import local

key = pulumi.Output.secret("hidden-value")
trigger = os.environ.get("TRIGGER", "1")
marked = pulumi.ResourceOptions(additional_secret_outputs=["stdout"])
local.Command("plain", create="echo $K", environment={"K": key}, triggers=[trigger])
local.Command("secret", create="echo $K", update="echo updated", delete="echo gone > gone",
              environment={"K": key, "T": trigger}, opts=marked)
if os.environ.get("FAIL"):
    local.Command("failing", create="seq 1 20000; exit 3", logging="none")
"""


@dataclass(frozen=True)
class Project:
    """A project with a stack of its own: home, state and plugin are in its folder."""

    folder: Path
    environment: dict[str, str]

    def pulumi(self, *words: str, status: int = 0, **environment: str) -> str:
        """What `pulumi WORDS` prints; it must end with STATUS."""
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def commands(self) -> dict[str, dict]:
        """Id, inputs and outputs of each command in the state, by name; secrets are opened."""
        state = json.loads(self.pulumi("stack", "export", "--show-secrets"))
        found = state["deployment"].get("resources", [])
        return {
            it["urn"].rpartition("::")[2]: {key: it[key] for key in ("id", "inputs", "outputs")}
            for it in found
            if it["type"] == "command:local:Command"
        }


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CLI that scripts/up would take on this machine."""
    checkout = this_checkout()
    pinned = pins.load(checkout.root / "pins.toml")
    releases = Releases(pinned.release, cache_root(os.environ))
    memory = Memory(tmp_path_factory.mktemp("memory") / "answers.json")
    return pulumi_cli.choose(checkout, pinned, releases, os.environ, memory).program


@pytest.fixture
def project(executable: list[str], cli: Path, tmp_path: Path) -> Iterator[Project]:
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    launcher = plugin / "pulumi-resource-command"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(executable)} "$@"\n')
    launcher.chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: contract\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    project = Project(
        tmp_path,
        {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{cli.parent}:{os.environ['PATH']}",
            "PULUMI_HOME": str(tmp_path / "home"),
            "PULUMI_BACKEND_URL": (tmp_path / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "contract",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        },
    )
    project.pulumi("plugin", "install", "resource", "command", VERSION, "--file", str(plugin))
    project.pulumi("stack", "init", "dev")
    yield project
    project.pulumi("destroy", "--yes", "--stack", "dev")


def opened(value: str) -> dict[str, str]:
    """A secret VALUE as the state shows it when it is opened."""
    return {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def test_a_commands_life(project: Project):
    printed = project.pulumi("up", "--yes")
    # Where the language host comes from is not this plugin's to warn of.
    assert "warning: " not in printed.replace("warning: using pulumi-language-python", "")
    made = project.commands()
    plain, secret = made["plain"], made["secret"]
    assert plain["outputs"] == {
        "create": "echo $K", "environment": {"K": opened("hidden-value")}, "triggers": ["1"],
        "stdout": "hidden-value", "stderr": "",
    }  # fmt: skip
    assert secret["outputs"]["stdout"] == opened("hidden-value")

    project.pulumi("preview", "--expect-no-changes", "--refresh")
    project.pulumi("refresh", "--yes")
    assert project.commands() == made

    project.pulumi("up", "--yes", TRIGGER="2")
    changed = project.commands()
    assert changed["plain"]["id"] != plain["id"]
    assert changed["secret"]["id"] == secret["id"]
    assert changed["secret"]["outputs"]["stdout"] == opened("updated")

    project.pulumi("destroy", "--yes")
    assert (project.folder / "gone").read_text() == "gone\n"
    assert project.commands() == {}


def test_a_failing_command_leaves_no_state_and_shows_all_that_it_printed(project: Project):
    printed = project.pulumi("up", "--yes", "--skip-preview", status=255, FAIL="1")
    assert 'error: exit status 3: running "seq 1 20000; exit 3":' in printed
    assert "\n    20000\n" in printed
    assert "failing" not in project.commands()
