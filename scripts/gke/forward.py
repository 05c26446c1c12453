"""A way to an endpoint inside of a cluster, for a person: `python -m scripts.gke.forward STACK`.

It stays open until Ctrl-C, also while the gateway's pod moves, and says what to type.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import cast

from components.targets.kubernetes.access import ClusterAccess
from scripts.bootstrap import summary
from scripts.bootstrap.places import Checkout, this_checkout
from scripts.gcp.credentials import CredentialsError
from scripts.gke.access import AccessError, parse
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.port_forward import Forward, ForwardError, ServicePort, ready_pod
from scripts.gke.route import HOST
from scripts.verify.via import service_of


class NoWayError(Exception):
    """There is nothing to open a way to. `next_step` is what to type."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.next_step = next_step


def read_outputs(
    checkout: Checkout, stack: str, environment: Mapping[str, str], *, secrets: bool = False
) -> dict[str, object]:
    """Return the outputs of `stack` by their names, secret ones if asked. Raises `NoWayError`."""
    command = [str(checkout.root / "scripts" / "pulumi"), "stack", "output", "--json"]
    if secrets:
        command.append("--show-secrets")
    done = subprocess.run(
        [*command, "--stack", stack],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=checkout.root,
        env=dict(environment),
        check=False,
    )
    if done.returncode != 0:
        problem, next_step = _complaint(done.stderr)
        if "no stack named" in problem:
            raise NoWayError(f"there is no stack {stack}", f"scripts/up {stack}")
        raise NoWayError(
            f"the outputs of {stack} can't be read: {problem}",
            next_step or "name a stack that is up: scripts/pulumi stack ls",
        )
    return cast("dict[str, object]", json.loads(done.stdout))


def _complaint(said: str) -> tuple[str, str]:
    """Return the problem and the next step, if any, of a scripts/pulumi that said `said`."""
    # Notes stand before the error, such as which backend it is.
    _, found, error = f"\n{said}".rpartition("\nerror: ")
    problem, _, next_step = (error if found else said).strip().partition("\nnext: ")
    return problem[-500:], next_step


def target(outputs: summary.Outputs, stack: str) -> tuple[ClusterAccess, ServicePort]:
    """Return the cluster and the Service that lead to the endpoint. Raises `NoWayError`."""
    if outputs.url is None:
        raise NoWayError(f"{stack} serves nothing: it is parked, or not up", f"scripts/up {stack}")
    service = None if outputs.via is None else service_of(outputs.via)
    if service is None or outputs.cluster is None:
        raise NoWayError(
            f"{stack} needs no way of its own: {outputs.url} can be reached as it is",
            f"curl {outputs.url}/v1/models, with a key",
        )
    try:
        return parse(outputs.cluster), ServicePort(*service)
    except AccessError as error:
        raise NoWayError(str(error), f"scripts/up {stack}") from None


def lines(outputs: summary.Outputs, stack: str, port: int, ca_file: Path | None) -> list[str]:
    """Return what to type while the way is open at `port` of this machine."""
    key = f"scripts/pulumi stack output api_key --show-secrets --stack {stack}"
    url = str(outputs.url)
    return [
        f"{url} is open at {HOST}:{port} until Ctrl-C:",
        "",
        f"  {summary.curl(url, outputs.model, key, ca_file, (HOST, str(port)))}",
        "",
        # The endpoint's certificate is for localhost too, and its authority is of the stack's own.
        f"Other clients take https://localhost:{port}/v1 as the URL"
        + (f" and {ca_file} as the certificate authority." if ca_file else "."),
    ]


def say(line: str) -> None:
    """Write `line` to stderr."""
    print(line, file=sys.stderr, flush=True)


def forward(
    stack: str,
    port: int,
    checkout: Checkout,
    environment: Mapping[str, str],
    wait: Callable[[], object],
) -> None:
    """Keep a way open until `wait` returns.

    Raises `NoWayError`, `CredentialsError`, `ClusterError`, and `OSError` where the port is taken.
    """
    outputs = summary.read(read_outputs(checkout, stack, environment))
    access, at = target(outputs, stack)
    api = ClusterApi(access, environment)
    try:
        ready_pod(api, at)
    except ForwardError as error:
        if not error.passing:
            raise NoWayError(str(error), f"scripts/up {stack}") from None
        say(f"note: {error}; connections go through once one is")
    named = checkout.state / f"{stack.replace('/', '-')}-ca.pem"
    ca_file = named if named.is_file() else None
    with Forward(api, at, say, port=port) as opened:
        print("\n".join(lines(outputs, stack, opened.port, ca_file)), flush=True)
        wait()


def port_number(text: str) -> int:
    """Return a port, 0 for a free one. Raises `ValueError`."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError
    return value


def main(
    arguments: Sequence[str], environment: Mapping[str, str], wait: Callable[[], object]
) -> int:
    """Open the way that `arguments` ask for; 1 where it can't be opened."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.gke.forward",
        description="Open a way to an endpoint inside of a cluster, until Ctrl-C.",
        allow_abbrev=False,
    )
    parser.add_argument("stack", metavar="STACK")
    parser.add_argument(
        "--port", type=port_number, default=0, help="the port here (default: a free one)"
    )
    parsed = parser.parse_args(arguments)
    return keep_open(
        lambda: forward(parsed.stack, parsed.port, this_checkout(), environment, wait), parsed.port
    )


def keep_open(way: Callable[[], None], port: int) -> int:
    """Do `way`, which listens on `port`; return its exit status, and say why it failed."""
    try:
        way()
    except NoWayError as error:
        say(f"error: {error}\nnext: {error.next_step}")
    except CredentialsError as error:
        say(f"error: {error.problem}\nnext: {error.next_step}")
    except ClusterError as error:
        say(f"error: {error}\nnext: see that message, then the same command again")
    except OSError as error:
        say(f"error: port {port}: {error.strerror}\nnext: another --port, or --port 0")
    except KeyboardInterrupt:
        return 0
    else:
        return 0
    return 1


def ended_by_sigterm() -> threading.Event:
    """Return what is set once this process is told to end."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    return ended


def _until_told_to_end() -> None:
    ended = ended_by_sigterm()
    while not ended.wait(3600):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, _until_told_to_end))
