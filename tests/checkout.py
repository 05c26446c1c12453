"""A clean checkout in a folder of its own, used as a person would who has nothing installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from scripts.bootstrap.places import cache_root

SOURCE = Path(__file__).resolve().parents[1]
UP_SECONDS = 900
_BACKEND = re.compile(r"^backend:.*\n?(?:[ \t#].*\n?|\n)*", re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """What a command came to: exit status, stdout, stderr."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return f"{self.stdout}\n{self.stderr}"


@dataclass(frozen=True)
class Checkout:
    """A copy of what git would have cloned, with an empty HOME beside it."""

    root: Path
    home: Path

    def environment(self, **changed: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PULUMI_", "LLM_ENDPOINT_", "VIRTUAL_ENV", "HF_"))
        }
        return {
            **kept,
            "HOME": str(self.home),
            # What is built once serves every clone; the person's own cache would too.
            "LLM_ENDPOINT_CACHE": str(cache_root(os.environ)),
            "PIP_CACHE_DIR": str(cache_root(os.environ) / "pip"),
            **changed,
        }

    def run(self, *command: str, seconds: float = UP_SECONDS, **environment: str) -> Done:
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def good(self, *command: str, **environment: str) -> Done:
        done = self.run(*command, **environment)
        assert done.status == 0, f"{' '.join(command)} came to {done.status}:\n{done.text}"
        return done

    def pulumi(self, *arguments: str) -> Done:
        return self.good("scripts/pulumi", *arguments, "--stack", "local")

    def outputs(self) -> dict[str, object]:
        done = self.pulumi("stack", "output", "--json", "--show-secrets")
        return json.loads(done.stdout)

    def configure(self, key: str, value: str) -> None:
        # A value may begin with a dash.
        words = ("--stack", "local", f"llm-endpoint:{key}", "--", value)
        self.good("scripts/pulumi", "config", "set", *words)

    def forget(self, key: str) -> None:
        self.pulumi("config", "rm", f"llm-endpoint:{key}")

    def servers(self) -> list[psutil.Process]:
        """Every server process on this machine that was started for this checkout."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                environment: Mapping[str, str] = process.environ()
            except (psutil.Error, OSError):
                continue
            home = environment.get("LLM_ENDPOINT_SERVER_HOME", "")
            if "LLM_ENDPOINT_SERVER" in environment and home.startswith(str(self.root)):
                found.append(process)
        return found

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, for tests that interrupt it."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def end_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL the whole process group of `process`, as a closed terminal or an OOM killer would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def make(folder: Path) -> Checkout:
    """Copy every file that is tracked, or neither tracked nor ignored, into `folder`.

    But for a team's stacks and its backend (docs/state.md): no test may meet those.
    """
    root, home = folder / "ein Klön mit späces", folder / "home"
    home.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = SOURCE / name
        if source.exists() and not name.startswith("stacks/Pulumi."):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    project = root / "Pulumi.yaml"
    project.write_text(without_backend(project.read_text(encoding="utf-8")), encoding="utf-8")
    return Checkout(root, home)


def without_backend(project: str) -> str:
    """Return a Pulumi.yaml's text without its `backend`."""
    return _BACKEND.sub("", project)
