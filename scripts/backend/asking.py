"""Backends' objects asked from where no client of storage is: by a Python that has them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from scripts.backend.held import Lock, Move
from scripts.backend.place import Place
from scripts.bootstrap import virtual_environment
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.virtual_environment import Purpose

CLIENTS = Purpose(".state/storage-clients", ("requirements/registry.txt",))
"""The storage's clients alone: those of the stacks' own environment start a cloud's plugins."""


def ask(
    checkout: Checkout,
    environment: Mapping[str, str],
    verb: str,
    stack: str,
    *given: Place | int | str,
) -> Mapping[str, object]:
    """Run a verb of `python -m scripts.backend` and return what it found.

    Raises `BootstrapError`: what the verb refuses too.
    """
    words = [one.url if isinstance(one, Place) else str(one) for one in given]
    in_bucket = any(isinstance(one, Place) and one.bucket is not None for one in given)
    python = _python(checkout, environment, with_clients=in_bucket)
    done = subprocess.run(
        [str(python), "-m", "scripts.backend", verb, stack, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout.root,
        env=dict(environment),
        check=False,
    )
    try:
        found = cast("dict[str, object]", json.loads(done.stdout))
    except ValueError:
        raise BootstrapError(
            f"python -m scripts.backend {verb} ended with status {done.returncode}",
            "see what it said above",
        ) from None
    if done.returncode != 0:
        raise BootstrapError(str(found["problem"]), str(found["next"]))
    return found


def locks_of(found: Mapping[str, object]) -> list[Lock]:
    """Return the locks that a verb found."""
    locks: list[Lock] = []
    for one in cast("list[dict[str, object]]", found["locks"]):
        move = cast("dict[str, str] | None", one["move"])
        fields = {**one, "move": None if move is None else Move(**move)}  # type: ignore[arg-type]
        locks.append(Lock(**fields))  # type: ignore[arg-type]
    return locks


def _python(checkout: Checkout, environment: Mapping[str, str], *, with_clients: bool) -> Path:
    if not with_clients:
        return Path(sys.executable)
    everything = virtual_environment.plan_for(checkout, virtual_environment.ANY_STACK, None)
    if everything.step == "nothing":
        return checkout.virtual_environment / "bin" / "python"
    return virtual_environment.ensure(checkout, CLIENTS, environment)
