"""The policy pack (`policy/`), for pulumi's command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import cast

from scripts.bootstrap import virtual_environment
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import write_whole

OPTION = "--policy"
"""What asks scripts/up for it."""
PACK = "policy"


def arguments(
    ready: Prepared, environment: Mapping[str, str], stack: str | None = None
) -> list[str]:
    """Return pulumi's arguments for the pack, whose own virtual environment is made ready.

    What `stack` is configured for is told to the rules; where that can't be read, or no stack is
    named, the pack says that it was told nothing. Raises `BootstrapError`.
    """
    from policy.configuration import SHIPPED, ConfigurationProblemError, read, with_told
    from policy.judging import Judge

    file = ready.checkout.root / PACK / SHIPPED.name
    try:
        given = read(file, Judge().rules())
    except ConfigurationProblemError as wrong:
        raise BootstrapError(
            str(wrong), f"mend {file}: docs/policy.md says what it takes"
        ) from None
    virtual_environment.ensure(ready.checkout, virtual_environment.POLICIES, environment)
    told = _told(ready, stack)
    short = (stack or "any").replace("/", "-")
    configuration = ready.checkout.make_state() / f"{short}-policy.json"
    write_whole(configuration, json.dumps(with_told(given, told), indent=2) + "\n")
    return ["--policy-pack", PACK, "--policy-pack-config", str(configuration)]


def _told(ready: Prepared, stack: str | None) -> Mapping[str, Mapping[str, object]]:
    """Return what the stack's configuration says to each rule; nothing where it can't be read."""
    if stack is None:
        return {}
    done = subprocess.run(
        [str(ready.python), "-m", "policy.told", stack],
        cwd=ready.checkout.root,
        env=dict(ready.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        note(f"The policies are not told what {stack} is configured for: {_last(done.stderr)}")
        return {}
    return cast("Mapping[str, Mapping[str, object]]", json.loads(done.stdout))


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason was given"
