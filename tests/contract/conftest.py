"""Which plugin the contract tests talk to.

EMULATED=1, the default, is the stand-in of this checkout. EMULATED=0 is the published plugin: the
one at PULUMI_COMMAND_PLUGIN, else the `pulumi-resource-command` on PATH.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_client import EMULATED, Engine, Plugin, StartPlugin

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.append(str(CHECKOUT / "tests" / "unit"))


@pytest.fixture(scope="session")
def executable() -> list[str]:
    """How to start the plugin; the engine's address comes after it."""
    if EMULATED:
        return [sys.executable, "-I", str(CHECKOUT / "emulator" / "command")]
    published = os.environ.get("PULUMI_COMMAND_PLUGIN") or shutil.which("pulumi-resource-command")
    if published is None:
        pytest.skip(
            "EMULATED=0, and neither PULUMI_COMMAND_PLUGIN nor a pulumi-resource-command on PATH"
        )
    return [published]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The plugin's own environment, small and known."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the plugin is started, as the engine starts it in a project's."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="session")
def plugin(
    executable: list[str], engine: Engine, folder: Path, environment: dict[str, str]
) -> Iterator[Plugin]:
    """One plugin for all tests that leave it as it was."""
    plugin = Plugin(executable, engine, folder=folder, environment=environment)
    yield plugin
    plugin.close()


@pytest.fixture
def start_plugin(
    executable: list[str], engine: Engine, folder: Path, environment: dict[str, str]
) -> Iterator[StartPlugin]:
    """Starts plugins for this test alone; `engine`, `environment`… can be others."""
    started: list[Plugin] = []

    def start(**changed: object) -> Plugin:
        settings = {"engine": engine, "folder": folder, "environment": environment, **changed}
        started.append(Plugin(executable, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for plugin in started:
        plugin.close()
