"""The environment in which Pulumi runs, made ready: interpreter, CLI, plugins, state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.bootstrap import backend as backends
from scripts.bootstrap import pins, plugins, pulumi_cli, stack, virtual_environment
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import note
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.places import Checkout, cache_root
from scripts.bootstrap.published import Releases
from scripts.bootstrap.pulumi_cli import Cli


@dataclass(frozen=True)
class Prepared:
    """Everything that Pulumi needs here. `variables` is the whole environment to run it in."""

    checkout: Checkout
    python: Path
    cli: Cli
    plugins: plugins.Plan
    backend: Backend
    variables: Mapping[str, str]


def prepare(
    checkout: Checkout,
    stack_name: str | None,
    environment: Mapping[str, str],
    *,
    state_alone: bool = False,
) -> Prepared:
    """Make ready what the stack needs, or what is there already when no stack is named.

    With `state_alone` it will do to read the state of a cloud's stack, without plugins: see
    `add_plugins`. Raises `BootstrapError`. The state (passphrase) is made last, when the rest is
    there.
    """
    environment = plugins.outer_environment(checkout, environment)
    local = stack_name is not None and stack.is_local(checkout, stack_name)
    purpose = (
        virtual_environment.LOCAL_STACK
        if local or stack_name is None
        else virtual_environment.ANY_STACK
    )
    python = virtual_environment.ensure(checkout, purpose, environment)
    pinned = pins.load(checkout.root / "pins.toml")
    releases = Releases(pinned.release, cache_root(environment))
    memory = Memory(checkout.make_state() / "answers.json")
    cli = pulumi_cli.choose(checkout, pinned, releases, environment, memory)
    needed = plugins.needed(python, local_only=local)
    if (stack_name is None or state_alone) and not plugins.can_stand_in(needed):
        # Whether this command needs them at all is not known.
        plan = plugins.Plan("engine")
    else:
        plan = plugins.ensure(checkout, cli, releases, needed, environment, stack=stack_name)
    backend = backends.choose(checkout, environment)
    variables = assemble(
        environment,
        python=python,
        cli=cli,
        backend=backend,
        plugin_variables=plugins.variables(checkout, plan, environment),
        passphrase_variables=backends.passphrase_variables(checkout, stack_name, environment),
    )
    if backend.why == "the default" and backend.folder is not None:
        backend.folder.mkdir(exist_ok=True)
    note(f"Backend: {backend.shown} ({backend.why})")
    return Prepared(checkout, python, cli, plan, backend, variables)


def add_plugins(ready: Prepared, stack_name: str, environment: Mapping[str, str]) -> Prepared:
    """Return what was prepared for the state alone with the plugins of a cloud's stack.

    Raises `BootstrapError`.
    """
    environment = plugins.outer_environment(ready.checkout, environment)
    pinned = pins.load(ready.checkout.root / "pins.toml")
    releases = Releases(pinned.release, cache_root(environment))
    needed = plugins.needed(ready.python, local_only=False)
    plan = plugins.ensure(
        ready.checkout, ready.cli, releases, needed, environment, stack=stack_name
    )
    variables = {**ready.variables, **plugins.variables(ready.checkout, plan, environment)}
    return replace(ready, plugins=plan, variables=variables)


def assemble(
    environment: Mapping[str, str],
    *,
    python: Path,
    cli: Cli,
    backend: Backend,
    plugin_variables: Mapping[str, str],
    passphrase_variables: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment to run Pulumi in: the virtual environment and the CLI first on PATH.

    A language host that is built here starts the `python3` that is first there, and ignores
    `runtime.options.virtualenv`.
    """
    variables = {name: value for name, value in environment.items() if name != "PYTHONHOME"}
    folders = [str(python.parent), str(cli.program.parent), environment.get("PATH", os.defpath)]
    return {
        **variables,
        "PATH": os.pathsep.join(folders),
        "VIRTUAL_ENV": str(python.parents[1]),
        "PULUMI_BACKEND_URL": backend.url,
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_SUPPRESS_NEO_LINK": "true",
        **_language_host(cli, environment),
        **plugin_variables,
        **passphrase_variables,
    }


def _language_host(cli: Cli, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what makes the language host that is built here fast; see `pulumi-python`."""
    if cli.origin != "built here" or "PULUMI_PYTHON_CMD" in environment:
        return {}
    return {"PULUMI_PYTHON_CMD": str(cli.program.with_name("pulumi-python"))}
