"""Which stacks the workflows are about: those whose configuration is committed."""

from __future__ import annotations

import subprocess
from enum import StrEnum

from scripts.bootstrap import stack
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.ci.joining import NAME

NIGHTLY = "nightly-"
"""What the names of the nightly test's stacks begin with, in a project of their own."""


class Purpose(StrEnum):
    """What stacks are listed for."""

    PREVIEW = "preview"
    DEPLOY = "deploy"
    DRIFT = "drift"
    NIGHTLY = "nightly"


_OF_A_PERSON = "local"
_OWN_RIGHTS = "ci"
"""The program that says what workflows may do: a person brings it up, no workflow."""


def programs(checkout: Checkout) -> dict[str, str]:
    """Return each program's name with its module in `stacks/`, told without any package."""
    files = sorted(checkout.stacks.glob("*.yaml"))
    modules = [file.stem for file in files if not file.stem.startswith("Pulumi.")]
    return {module.replace("_", "-"): module for module in modules}


def committed(checkout: Checkout) -> list[str]:
    """Return the stacks whose file (`stacks/Pulumi.STACK.yaml`) git has."""
    listed = git(checkout, "ls-files", "--", "stacks/Pulumi.*.yaml")
    names = (line.removeprefix("stacks/Pulumi.").removesuffix(".yaml") for line in listed)
    return sorted(name for name in names if NAME.fullmatch(name))


def of(checkout: Checkout, purpose: Purpose) -> list[str]:
    """Return the stacks that `purpose` is about.

    Where no stack's file is committed, previews are of every program, over its defaults.
    """
    names = committed(checkout)
    if purpose is Purpose.NIGHTLY:
        return [name for name in names if is_nightly(checkout, name)]
    lasting = [
        name
        for name in names
        if not name.startswith(NIGHTLY) and stack.program(checkout, name) != _OF_A_PERSON
    ]
    if purpose is Purpose.DEPLOY:
        return [name for name in lasting if stack.program(checkout, name) != _OWN_RIGHTS]
    if purpose is Purpose.PREVIEW and not lasting:
        return sorted(programs(checkout))
    return lasting


def is_nightly(checkout: Checkout, name: str) -> bool:
    """Whether the nightly test may destroy the stack: not what gives it its own rights."""
    return name.startswith(NIGHTLY) and stack.program(checkout, name) != _OWN_RIGHTS


def git(checkout: Checkout, *words: str) -> list[str]:
    """Return the lines that a git command prints. Raises `BootstrapError`."""
    done = subprocess.run(
        ["git", "-c", "core.quotePath=false", *words],
        cwd=checkout.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BootstrapError(
            f"git {' '.join(words[:2])} failed: {done.stderr.strip()[:300]}",
            "look whether the checkout has that commit (actions/checkout: fetch-depth)",
        )
    return done.stdout.splitlines()
