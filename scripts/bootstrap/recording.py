"""What scripts/up looks up and writes into a stack's configuration before it deploys.

An image's digest and the boot image that a family stands for now change under their names. Written
down, they stay what was deployed, and everybody sees what that is.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import cast

from scripts.bootstrap import exported, stack
from scripts.bootstrap.console import note
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import PROJECT

PROGRAMS = ("gpu-vm", "gke-ovms", "gke-colab")
"""Programs with images to look up."""
HAS_MACHINE = "--has-machine"

_MACHINES = (exported.INSTANCE, exported.GROUP_MEMBER)


def record(ready: Prepared, name: str) -> bool:
    """Look up what `name` deploys and write it down; whether all of it could be had.

    What could not be has been said. Raises `BootstrapError` where the state can't be read or the
    configuration not be written.
    """
    if stack.program(ready.checkout, name) not in PROGRAMS:
        return True
    state = exported.export(ready.checkout, name, ready.cli, ready.variables)
    found = _resolved(ready, name, has_machine=has_machine(state))
    if found:
        values = {f"{PROJECT}:{key}": value for key, value in found.items()}
        stack.configure(ready.checkout, name, values, ready.cli, ready.variables)
        listed = "".join(f"    {key}: {value}\n" for key, value in found.items())
        note(
            f"\n  WRITTEN to the configuration of {name}, so that it stays what is deployed now:\n"
            f"{listed}  Until you set another: scripts/pulumi config set KEY VALUE --stack {name}\n"
        )
    return found is not None


def has_machine(state: exported.Export) -> bool:
    """Whether the stack has a machine by its state; what that boots is left as it is."""
    return any(one.get("type") in _MACHINES for one in exported.resources(state))


def _resolved(ready: Prepared, name: str, *, has_machine: bool) -> Mapping[str, str] | None:
    """Return bare keys with their values; None where something that is needed can't be had."""
    # In a process of its own: it needs packages, and nothing here does.
    words = [str(ready.python), "-m", "scripts.resolve", name]
    done = subprocess.run(
        [*words, HAS_MACHINE] if has_machine else words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ready.checkout.root,
        env=dict(ready.variables),
        check=False,
    )
    return cast("dict[str, str]", json.loads(done.stdout)) if done.returncode == 0 else None
