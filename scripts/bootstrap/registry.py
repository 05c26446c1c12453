"""The look at a model registry with which scripts/up ends: is there still what was uploaded?

The bucket of storage that speaks S3 is no resource that Pulumi could ask for.
"""

from __future__ import annotations

import json
import subprocess
from typing import cast

from scripts.bootstrap import stack, summary
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import PROJECT

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "registry_key_id",
    "AWS_SECRET_ACCESS_KEY": "registry_secret_key",
}
"""Variables of the storage's client, with the keys of the configuration that have them."""


def look(ready: Prepared, name: str, outputs: summary.Outputs) -> None:
    """Check that the registry of the stack `name` lists every model of its `outputs`.

    Their content was read when they were uploaded, and is not read again. Raises `BootstrapError`.
    """
    listed = subprocess.run(
        [str(ready.python), "-m", "scripts.model_registry", "list", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ready.checkout.root,
        env={
            **ready.variables,
            **_credentials(ready, name),
            "LLM_ENDPOINT_REGISTRY": str(outputs.registry),
        },
        check=False,
    )
    if listed.returncode != 0:
        raise BootstrapError(
            f"{outputs.registry} can't be read as it should be:\n{listed.stderr.strip()}",
            f"see that message; where the bucket is gone, scripts/down {name} and scripts/up "
            f"{name} make it anew",
        )
    found = cast("dict[str, list[dict[str, object]]]", json.loads(listed.stdout))
    there = {str(entry["model"]) for entry in found["models"]}
    missing = [model for model in outputs.models if model not in there]
    if missing:
        raise BootstrapError(
            f"{outputs.registry} lacks {', '.join(missing)}, which somebody has taken out of it",
            ".venv/bin/python -m scripts.model_registry push URL NAME@VERSION FOLDER puts one "
            f"back; scripts/down {name} and scripts/up {name} make all of it anew",
        )
    note(f"{outputs.registry} has all it should have.")


def _credentials(ready: Prepared, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable, key in _CREDENTIALS.items():
        words = ["config", "get", f"{PROJECT}:{key}", "--stack", name]
        done = stack.run(ready.checkout, ready.cli, ready.variables, words)
        if done.returncode == 0 and done.stdout.strip():
            found[variable] = done.stdout.strip()
    # A token of the deployer's own login is none of this key's.
    return {**found, "AWS_SESSION_TOKEN": ""} if found else {}
