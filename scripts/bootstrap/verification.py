"""The verifications with which scripts/up ends where it had nothing to change."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from scripts.bootstrap import stack, summary
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.running import INTERRUPTED, run_live

SERVER_SECONDS = 60
BOOT_SECONDS = 1200
"""How long a machine that was started again may take: it boots, and loads a model that it has."""
KEY_SECONDS = 150
_KEY_VARIABLE = "LLM_ENDPOINT_KEY"
_CLUSTER_VARIABLE = "LLM_ENDPOINT_CLUSTER"
_TOKEN_VARIABLE = "LLM_ENDPOINT_RUNTIME_TOKEN"  # noqa: S105 - a name


def command(
    ready: Prepared, name: str, outputs: summary.Outputs, ca_file: Path | None
) -> list[str]:
    """Return the command that verifies the endpoint of the stack `name` by its `outputs`."""
    words = [str(ready.python), "-m", "scripts.verify", str(outputs.url), "--json", "--if-passed"]
    words += ["--key-env", _KEY_VARIABLE, "--concurrency", "1"]
    if outputs.model:
        words += ["--model", outputs.model]
    if ca_file is not None:
        words += ["--ca-file", str(ca_file)]
    if outputs.boot is None:
        return [*words, "--quiet", "--wait-seconds", str(SERVER_SECONDS)]
    if outputs.via is not None:
        words += ["--via", outputs.via]
    words += ["--wait-seconds", str(BOOT_SECONDS), "--boot", outputs.boot, "--stack", name]
    words += ["--key-seconds", str(KEY_SECONDS)]
    cidrs = _networks(stack.configured(ready.checkout, name, "allowed_cidrs") or "")
    return [*words, "--allowed-cidrs", ",".join(cidrs)] if cidrs else words


def _networks(text: str) -> list[str]:
    """Return the IPv4 networks in a configured list, in whichever of its forms it was written."""
    return re.findall(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}", text)


def again(ready: Prepared, name: str, outputs: summary.Outputs, ca_file: Path | None) -> None:
    """Check that an endpoint which this run did not change answers still.

    Raises `BootstrapError`, and `KeyboardInterrupt` where the checks were interrupted.
    """
    words = command(ready, name, outputs, ca_file)
    variables = {**ready.variables, _KEY_VARIABLE: outputs.key or ""}
    if outputs.cluster is not None:
        variables[_CLUSTER_VARIABLE] = outputs.cluster
    if outputs.boot is None:
        _verify_server(words, ready, variables)
    else:
        _verify_machine(words, ready, variables, name, str(outputs.url))
    note(f"{outputs.url} answers.")


def runtime_again(ready: Prepared, name: str, outputs: summary.Outputs) -> None:
    """Check that a notebook runtime which this run did not change works still.

    Raises `BootstrapError`, and `KeyboardInterrupt` where the checks were interrupted.
    """
    runtime = outputs.runtime
    if runtime is None or runtime.via is None or outputs.cluster is None:
        return
    words = [str(ready.python), "-m", "scripts.runtime.verify", "--json", "--if-passed"]
    words += ["--via", runtime.via, "--wait-seconds", str(BOOT_SECONDS), "--stack", name]
    (token,) = parse_qs(urlsplit(runtime.url or "").query).get("token", [""])
    variables = {
        **ready.variables,
        _CLUSTER_VARIABLE: outputs.cluster,
        _TOKEN_VARIABLE: token,
    }
    _verify_machine(words, ready, variables, name, "the notebook runtime")
    note("The notebook runtime works.")


def _verify_server(words: list[str], ready: Prepared, variables: dict[str, str]) -> None:
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ready.checkout.root,
        env=variables,
        check=False,
    )
    if done.returncode != 0:
        raise BootstrapError(
            f"nothing had to be changed, but the endpoint does not answer as it should:\n"
            f"{done.stderr.strip()}",
            "scripts/down and scripts/up make it anew; its log is in the message above",
        )


def _verify_machine(
    words: list[str], ready: Prepared, variables: dict[str, str], name: str, what: str
) -> None:
    """Verify before the person's eyes: a machine that was stopped takes minutes to serve again."""
    note(
        f"Checking that {what} answers. Where it was stopped or parked and has just been started "
        f"again, that takes some minutes ({BOOT_SECONDS // 60} at most); its stages show here."
    )
    # Its stdout is the receipt, which nobody asked for.
    status = run_live(words, ready.checkout.root, variables, stdout=False)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != 0:
        raise BootstrapError(
            f"nothing had to be changed, but {what} does not answer as it should",
            f"what to do stands after 'next:' above; then scripts/up {name}",
        )
