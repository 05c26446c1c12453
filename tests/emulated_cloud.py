"""The whole program on the real Pulumi engine, over a cloud that is a folder of the test's own."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import checkout as checkouts
from checkout import Done

from emulator.plugin.serving import published_version
from scripts.bootstrap import pins, pulumi_cli
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import cache_root, this_checkout
from scripts.bootstrap.published import Releases

PLUGINS = ("gcp", "command", "kubernetes")
SECONDS = 900


@dataclass(frozen=True)
class EmulatedCloud:
    """A checkout with a stack in a cloud of its own; `prefix` runs each command elsewhere.

    `machine` is the program that runs machines; none: every machine runs and serves nothing.
    """

    root: Path
    folder: Path
    cli: Path
    address: str
    machine: Sequence[str] = ()
    prefix: Sequence[str] = ()
    extra: Mapping[str, str] = field(default_factory=dict[str, str])

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PULUMI_", "LLM_ENDPOINT_", "GOOGLE_", "VIRTUAL_ENV"))
        }
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{self.cli.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "person"),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "emulated",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "LLM_ENDPOINT_EMULATED_CLOUD": str(self.folder / "cloud"),
            "LLM_ENDPOINT_EMULATED_ADDRESS": self.address,
            "LLM_ENDPOINT_EMULATED_MACHINE": shlex.join(self.machine),
            **self.extra,
        }

    def run(self, *words: str, seconds: float = SECONDS) -> Done:
        """Run `pulumi WORDS`, wherever it ends."""
        done = subprocess.run(
            [*self.prefix, "pulumi", "--non-interactive", *words],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `pulumi WORDS` in a process group of its own, for a test that kills it."""
        return subprocess.Popen(
            [*self.prefix, "pulumi", "--non-interactive", *words],
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def good(self, *words: str) -> Done:
        done = self.run(*words)
        assert done.status == 0, f"pulumi {' '.join(words)} came to {done.status}:\n{done.text}"
        return done

    def up(self, stack: str, *words: str) -> Done:
        return self.good("up", "--yes", "--skip-preview", "--stack", stack, *words)

    def configure(self, stack: str, **values: str) -> None:
        for key, value in values.items():
            name = key.replace("__", ":") if "__" in key else f"llm-endpoint:{key}"
            self.good("config", "set", name, "--stack", stack, "--", value)

    def outputs(self, stack: str) -> dict[str, object]:
        done = self.good("stack", "output", "--json", "--show-secrets", "--stack", stack)
        return json.loads(done.stdout)

    def state(self, stack: str) -> str:
        return self.good("stack", "export", "--stack", stack).stdout

    def resources(self) -> dict[str, Mapping[str, object]]:
        """What the cloud holds, by its id."""
        found = [
            json.loads(file.read_text()) for file in self.folder.glob("cloud/resources/*.json")
        ]
        return {made["identity"]: made for made in found}


def make(folder: Path, address: str) -> EmulatedCloud:
    """Put a checkout with its plugins into `folder`."""
    made = checkouts.make(folder)
    # The packages are the test's own: which ones a stack installs is another test's subject.
    (made.root / ".venv").symlink_to(Path(sys.prefix))
    here = this_checkout()
    releases = Releases(pins.load(here.root / "pins.toml").release, cache_root(os.environ))
    memory = Memory(folder / "answers.json")
    cli = pulumi_cli.choose(here, pins.load(here.root / "pins.toml"), releases, os.environ, memory)
    for name in ("home", "state", "person", "cloud"):
        (folder / name).mkdir(exist_ok=True)
    cloud = EmulatedCloud(made.root, folder, cli.program, address)
    for name in PLUGINS:
        _install(cloud, name)
    return cloud


def _install(cloud: EmulatedCloud, name: str) -> None:
    plugin = cloud.folder / f"plugin-{name}"
    plugin.mkdir()
    launcher = plugin / f"pulumi-resource-{name}"
    emulator = [sys.executable, "-I", str(cloud.root / "emulator" / name)]
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(emulator)} "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    version = published_version(f"pulumi_{name}")
    cloud.good("plugin", "install", "resource", name, version, "--file", str(plugin))
    shutil.rmtree(plugin)
