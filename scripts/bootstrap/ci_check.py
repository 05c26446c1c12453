"""The check of a `ci` stack with which scripts/up ends: what nobody configured may have changed."""

from __future__ import annotations

import subprocess

from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared


def again(ready: Prepared, name: str, wanted: str) -> None:
    """Check all that the stack `name` made: `wanted` is from its last receipt, as JSON.

    Raises `BootstrapError`.
    """
    done = subprocess.run(
        [str(ready.python), "-m", "scripts.gcp.ci_check"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ready.checkout.root,
        env={**ready.variables, "LLM_ENDPOINT_CI": wanted},
        check=False,
    )
    if done.returncode != 0:
        raise BootstrapError(
            f"{name} is not as it should be any more:\n{done.stderr.strip()}",
            f"see that message, then scripts/up {name} again",
        )
    note(f"{name} is as it should be: checked again.")
