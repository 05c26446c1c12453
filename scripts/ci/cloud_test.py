"""`python -m scripts.ci.cloud_test`: what the nightly test does around `scripts/up` and `down`.

python -m scripts.ci.cloud_test clear nightly-cpu-vm
python -m scripts.ci.cloud_test configure nightly-cpu-vm
python -m scripts.ci.cloud_test sweep
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from scripts.bootstrap import stack, virtual_environment
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared, prepare
from scripts.bootstrap.places import Checkout, this_checkout
from scripts.ci import reports
from scripts.ci.reports import ReportError
from scripts.ci.stacks import NIGHTLY, is_nightly
from scripts.verify.caller import own_address, services

LABEL = "llm-endpoint-nightly"
"""The label of all that a nightly test makes; its value is the run's number."""


def values(
    checkout: Checkout, name: str, environment: Mapping[str, str], address: Callable[[], str | None]
) -> dict[str, str]:
    """Return what the stack gets for this run: its label, and who may come.

    `allowed_cidrs` is this machine's own `address`, where the stack's file has that key.
    Raises `BootstrapError`.
    """
    _refuse_others(checkout, [name])
    run = environment.get("GITHUB_RUN_ID", "by-hand")
    found = {"labels": f"{LABEL}={run}"}
    if stack.configured(checkout, name, "allowed_cidrs") is not None:
        seen = address()
        if seen is None:
            raise BootstrapError(
                "no page told this machine's public address, and only who is in allowed_cidrs can "
                "verify the endpoint",
                "name another page: LLM_ENDPOINT_ADDRESS_SERVICE=https://…",
            )
        found["allowed_cidrs"] = f"{seen}/32"
    return found


def configure(checkout: Checkout, name: str, environment: Mapping[str, str]) -> int:
    """Write into the stack's configuration what this run needs; the first status that is not 0."""

    def address() -> str | None:
        seen = own_address(services(environment))
        return None if seen is None else str(seen)

    for key, value in values(checkout, name, environment, address).items():
        words = [str(checkout.root / "scripts" / "pulumi"), "config", "set", key, value]
        status = _run(checkout, [*words, "--stack", name], environment)
        if status != 0:
            return status
    return 0


def clear(checkout: Checkout, name: str, environment: Mapping[str, str]) -> int:
    """Destroy what an earlier night left of the stack; make a stack that the backend lacks.

    Raises `BootstrapError`.
    """
    _refuse_others(checkout, [name])
    lacking = _lacking(checkout, name, environment)
    if lacking is None:
        return _down(checkout, name, environment)
    stack.create(checkout, name, lacking.backend, lacking.cli, lacking.variables)
    return 0


def _lacking(checkout: Checkout, name: str, environment: Mapping[str, str]) -> Prepared | None:
    """Return what the stack can be made with; None where the backend has it."""
    ready = prepare(checkout, name, environment, state_alone=True)
    there = stack.exists(checkout, name, ready.backend, ready.cli, ready.variables)
    return None if there else ready


def _down(checkout: Checkout, name: str, environment: Mapping[str, str]) -> int:
    # The permalink is a signed URL, which these credentials can't make.
    words = [str(checkout.root / "scripts" / "down"), name, "--suppress-permalink=true"]
    return _run(checkout, words, environment)


def sweep(checkout: Checkout, stacks: Sequence[str], environment: Mapping[str, str]) -> int:
    """Destroy what the state of each stack has, then look for what no state has; worst status.

    Raises `BootstrapError`.
    """
    project = environment.get("PROJECT", "")
    if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", project):
        raise BootstrapError(
            f"PROJECT is {project!r}, which is no project's id", "set it to the test's project"
        )
    _refuse_others(checkout, stacks)
    worst = 0
    for name in stacks:
        try:
            there = _lacking(checkout, name, environment) is None
        except BootstrapError as error:
            # What it left may still be found by its label.
            note(f"error: {error}")
            worst = 1
            continue
        if there:
            worst = _down(checkout, name, environment) or worst
    python = virtual_environment.ensure(checkout, virtual_environment.ANY_STACK, environment)
    words = [str(python), "-m", "scripts.ci.sweep", "--project", project, "--label", LABEL]
    return _run(checkout, [*words, "--delete"], environment) or worst


def _refuse_others(checkout: Checkout, names: Sequence[str]) -> None:
    others = [name for name in names if not is_nightly(checkout, name)]
    if others:
        raise BootstrapError(
            f"{', '.join(others)}: no stack of the nightly test, which destroys what it names",
            f"name stacks that begin with {NIGHTLY} and are not of the program ci",
        )


def _run(checkout: Checkout, words: Sequence[str], environment: Mapping[str, str]) -> int:
    sys.stdout.flush()
    return subprocess.run(words, cwd=checkout.root, env=dict(environment), check=False).returncode


def parse(arguments: Sequence[str]) -> tuple[str, str | None]:
    """Return what is asked for, and the stack; None for a sweep."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.cloud_test",
        description="Prepare a stack of the nightly test, or take away what such tests left.",
        epilog="Environment of sweep: PROJECT, and STACKS (what scripts.ci.touched wrote).",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, what in (
        ("clear", "destroy what an earlier night left of it, or make it where there is none"),
        ("configure", "its label, and this machine let in"),
    ):
        commands.add_parser(command, help=what).add_argument("stack", metavar="STACK")
    commands.add_parser("sweep", help="destroy the stacks, and what their label is on")
    given = parser.parse_args(arguments)
    return given.command, getattr(given, "stack", None)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one of the three; 1 where it can't be done."""
    command, name = parse(arguments)
    try:
        if name is not None:
            one = clear if command == "clear" else configure
            return one(this_checkout(), name, environment)
        return sweep(this_checkout(), reports.expected(environment), environment)
    except (BootstrapError, ReportError) as error:
        note(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
