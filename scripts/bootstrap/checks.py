"""scripts/test: lint, types, shell scripts, workflows, tests, in an environment of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bootstrap import go_tools, virtual_environment
from scripts.bootstrap.console import note
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.running import run_live

USAGE = """\
usage: scripts/test [--real | --update-inventory] [arguments of pytest]
  --real              the tests that take long, instead of lint, types and the other tests
  --update-inventory  no test: write what each stack makes into tests/inventory anew"""

_IN_PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
_IN_LANES = ("-n", "2", "--dist", "loadscope", "-v", "--durations", "15")
"""What a lane is, `tests/real/lanes.py` says."""
SHELL_FOLDERS = ("scripts", ".ci", "emulator", "components")
WORKFLOWS = ".github/workflows"

_REAL = "--real"
_UPDATE_INVENTORY = "--update-inventory"


def run_checks(checkout: Checkout, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run every check and return the first exit status that is not 0.

    `--real` runs the tests that need a guest, a server's build or a bare machine instead, and
    `--update-inventory` no test: it writes what each stack makes into `tests/inventory` anew.
    Further arguments are pytest's. Nothing of a person's own Pulumi reaches the tests.
    """
    python = virtual_environment.ensure(checkout, virtual_environment.TESTS, environment)
    tools = python.parent
    own = ("PULUMI_", "LLM_ENDPOINT_KEY")
    variables = {
        **{name: value for name, value in environment.items() if not name.startswith(own)},
        "PATH": f"{tools}:{environment.get('PATH', '')}",
    }
    rest = [argument for argument in arguments if argument not in (_REAL, _UPDATE_INVENTORY)]
    if _UPDATE_INVENTORY in arguments:
        steps = [[str(python), "-m", "scripts.inventory", "--update", *rest]]
    else:
        real = _REAL in arguments
        # One alone leaves a core idle, while an engine waits for its plugins, or for a guest.
        chosen = ["real", *_IN_LANES] if real else ["not real and not cloud", *_IN_PARALLEL]
        linters = [] if real else lint(checkout, tools, environment)
        steps = [*linters, [str(python), "-m", "pytest", "-m", *chosen, *rest]]
    for step in steps:
        note(f"$ {Path(step[0]).name} {' '.join(step[1:4])}{' …' if len(step) > 4 else ''}")
        status = run_live(step, checkout.root, variables)
        if status != 0:
            note(f"error: {Path(step[0]).name} ended with status {status}")
            return status
    return 0


def lint(checkout: Checkout, tools: Path, environment: Mapping[str, str]) -> list[list[str]]:
    """Return the commands that check the code without running it, the fastest first.

    Raises `BootstrapError` where actionlint can't be built.
    """
    actionlint = go_tools.ensure(checkout, go_tools.ACTIONLINT, environment)
    return [
        [str(tools / "ruff"), "check", "."],
        [str(tools / "ruff"), "format", "--check", "."],
        [str(tools / "shellcheck"), "--external-sources", *shell_scripts(checkout)],
        # Without this machine's pyflakes: no Python stands in a workflow.
        [str(actionlint), "-shellcheck", str(tools / "shellcheck"), "-pyflakes", ""],
        [
            *(str(tools / "zizmor"), "--offline", "--no-progress", "--strict-collection"),
            *("--persona", "pedantic", WORKFLOWS),
        ],
        [str(tools / "pyright")],
    ]


def shell_scripts(checkout: Checkout) -> list[str]:
    """Return every shell script of the checkout, known by its first line."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SHELL_FOLDERS],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if _is_shell(checkout.root / name)]


def _is_shell(path: Path) -> bool:
    try:
        first = path.open("rb").readline(100)
    except OSError:
        return False
    return first.startswith((b"#!/bin/sh", b"#!/usr/bin/env bash", b"# shellcheck shell="))
