"""The way to a notebook runtime, for a person: `python -m scripts.runtime.forward STACK`.

`scripts/colab` starts it. It stays open until Ctrl-C, also while the runtime's pod moves, and
prints the URL with the token, since that is what Colab asks for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from components.rendering.kubernetes.colab.names import ORIGIN, PORT
from scripts.bootstrap.places import Checkout, this_checkout
from scripts.gke.api import ClusterApi
from scripts.gke.forward import (
    NoWayError,
    ended_by_sigterm,
    keep_open,
    port_number,
    read_outputs,
    say,
)
from scripts.gke.pod_console import PodConsole
from scripts.gke.pods import RUNTIMES
from scripts.gke.port_forward import Forward, ForwardError, ready_pod
from scripts.gke.route import HOST
from scripts.runtime.outputs import Runtime, read
from scripts.runtime.watch import LOOK_SECONDS, Watch
from scripts.verify.boot import Boot
from scripts.verify.scrub import Scrubber
from scripts.verify.shape import Json

Wait = Callable[[float], bool]
"""Waits for so many seconds at most, or until the way is to be closed; whether it is."""


def lines(runtime: Runtime, stack: str, port: int) -> list[str]:
    """Return what to do while the way is open at `port` of this machine."""
    return [
        f"The runtime of {stack} is open at {HOST}:{port} until Ctrl-C. In {ORIGIN}, beside",
        'Connect: "Connect to a local runtime", and as its URL:',
        "",
        f"  {runtime.url_at(port)}",
        "",
        "That URL has the token in it, which runs commands in the runtime: share it with nobody.",
    ]


def forward(
    stack: str, port: int, checkout: Checkout, environment: Mapping[str, str], wait: Wait
) -> None:
    """Keep a way open until `wait` says so.

    Raises `NoWayError`, `CredentialsError`, `ClusterError`, and `OSError` where the port is taken.
    """
    outputs = read_outputs(checkout, stack, environment, secrets=True)
    runtime = read(cast("Mapping[str, Json]", outputs), stack)
    scrubber = Scrubber([runtime.token])

    def report(line: str) -> None:
        say(scrubber.text(line))

    api = ClusterApi(runtime.access, environment)
    try:
        ready_pod(api, runtime.at)
    except ForwardError as error:
        if not error.passing:
            raise NoWayError(str(error), f"scripts/up {stack}") from None
    console = PodConsole(runtime.at.namespace, environment, course=RUNTIMES, access=runtime.access)
    boot = Boot(report, scrubber.text, console, stack, subject="the runtime's start")
    watch = Watch(api, runtime.at, stack, boot, report)
    with Forward(api, runtime.at, report, port=port) as opened:
        print("\n".join(lines(runtime, stack, opened.port)), flush=True)
        watch.look()
        while not wait(LOOK_SECONDS):
            watch.look()


def main(arguments: Sequence[str], environment: Mapping[str, str], wait: Wait) -> int:
    """Open the way that `arguments` ask for; 1 where it can't be opened."""
    parser = argparse.ArgumentParser(
        prog="scripts/colab",
        description="Open a way to the notebook runtime of STACK, until Ctrl-C, and print its URL.",
        allow_abbrev=False,
    )
    parser.add_argument("stack", metavar="STACK")
    parser.add_argument(
        "--port", type=port_number, default=PORT, help=f"the port here ({PORT}; 0: a free one)"
    )
    parsed = parser.parse_args(arguments)
    return keep_open(
        lambda: forward(parsed.stack, parsed.port, this_checkout(), environment, wait), parsed.port
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, ended_by_sigterm().wait))
