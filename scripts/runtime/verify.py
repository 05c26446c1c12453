"""Whether a notebook runtime works: `python -m scripts.runtime.verify`.

It is the one in `$LLM_ENDPOINT_NAMESPACE` of the cluster of `$LLM_ENDPOINT_CLUSTER`, and its token
is in `$LLM_ENDPOINT_RUNTIME_TOKEN`: never in an argument, and in nothing that is written.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from components.rendering.kubernetes.colab.names import DATA, LIBRARIES, PORT, RUNTIME
from components.rendering.process import Variable
from scripts.gke.access import AccessError, from_environment
from scripts.gke.api import ClusterApi
from scripts.gke.pod_console import PodConsole
from scripts.gke.pods import RUNTIMES
from scripts.runtime.checks import CHECKS, VERSION_PATH, Context, Found
from scripts.runtime.receipt import RuntimeReceipt
from scripts.runtime.rollout import Rollout
from scripts.verify.arguments import Parser, amount, amount_above_zero
from scripts.verify.boot import Boot
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.client import Client
from scripts.verify.options import Endpoint, UsageError
from scripts.verify.outcome import ExitStatus
from scripts.verify.output import Output
from scripts.verify.process import LocalServer
from scripts.verify.run import Step, perform, status_of
from scripts.verify.scrub import Scrubber
from scripts.verify.via import Route, needs_cluster, open_via, parse_via
from scripts.verify.wait import Waiter

HOST = "127.0.0.1"
_LOADING_STATUS = 502
"""What the pod's door answers until the notebook server does."""
_EPILOG = """\
The receipt goes to stdout as JSON, progress to stderr. Exit status: 0 every check passed, 1 one
failed, 2 this command line can't be followed, 3 the runtime never got ready, 130 interrupted.
"""


@dataclass(frozen=True)
class Options:
    """One verification: of the runtime at `via`, in `namespace` where that is in a cluster.

    `wait_seconds` bounds the wait for a ready runtime, `check_seconds` each later check. `disks`
    are folders of which it is told how much is free, `stack` is what the next steps name.
    """

    token: str = field(repr=False)
    via: str
    namespace: str | None
    disks: tuple[str, ...] = (DATA, LIBRARIES)
    wait_seconds: float = 1800.0
    check_seconds: float = 120.0
    stack: str | None = None

    @property
    def again(self) -> str:
        """What deploys the runtime anew."""
        return f"scripts/up {self.stack}" if self.stack else "scripts/up"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m scripts.runtime.verify",
        description="Check that a notebook runtime works, and lets in nobody else.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--via",
        metavar="SOURCE",
        help="where the runtime is, if not in $LLM_ENDPOINT_NAMESPACE: "
        "kubernetes:NAMESPACE/SERVICE/PORT or HOST:PORT",
    )
    add(
        "--disk",
        metavar="PATH",
        action="append",
        help=f"a folder of which is told how much is free ({DATA} and {LIBRARIES})",
    )
    add("--wait-seconds", metavar="S", type=amount, default=1800.0, help="until ready (1800)")
    add(
        "--check-seconds",
        metavar="S",
        type=amount_above_zero,
        default=120.0,
        help="each check (120)",
    )
    add("--stack", metavar="NAME", help="the stack that the next steps name")
    add("--quiet", action="store_true", help="nothing on stderr unless something is wrong")
    add("--json", action="store_true", help="the receipt on one line")
    add("--if-passed", action="store_true", help="no receipt of a failure: stderr has said it all")
    return parser


def _token(environment: Mapping[str, str]) -> str:
    token = environment.get(Variable.RUNTIME_TOKEN, "").strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            f"the environment variable {Variable.RUNTIME_TOKEN} has no token: it takes the "
            "runtime's, of which the output colab_url of its stack is made"
        )
    return token


def _namespace(environment: Mapping[str, str], via: str | None) -> str | None:
    """Return the namespace of a runtime in a cluster; None for one at an address."""
    if via is not None:
        parse_via(via)
        return via.removeprefix("kubernetes:").partition("/")[0] if needs_cluster(via) else None
    namespace = environment.get(Variable.NAMESPACE)
    if not namespace:
        raise UsageError(f"{Variable.NAMESPACE} is not set: it takes the runtime's namespace")
    return namespace


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> ExitStatus:
    """Verify as `arguments` and the environment say; return the exit status."""
    token = environment.get(Variable.RUNTIME_TOKEN, "").strip()
    scrubber = Scrubber([token])
    output = Output(scrubber)
    try:
        parsed, unknown = _parser().parse_known_args(arguments)
        if unknown:
            raise UsageError("there is an argument that it does not know; see --help")
        output = Output(scrubber, quiet=parsed.quiet)
        namespace = _namespace(environment, parsed.via)
        options = Options(
            token=_token(environment),
            via=parsed.via or f"kubernetes:{namespace}/{RUNTIME}/{PORT}",
            namespace=namespace,
            disks=tuple(parsed.disk or (DATA, LIBRARIES)),
            wait_seconds=parsed.wait_seconds,
            check_seconds=parsed.check_seconds,
            stack=parsed.stack,
        )
        if namespace is not None:
            from_environment(environment)
        with open_via(options.via, output.progress, environment) as route:
            receipt, status = verify(options, scrubber, output, route, environment)
    except (UsageError, AccessError) as error:
        output.trouble(f"usage: python -m scripts.runtime.verify [options]: {error}")
        return ExitStatus.USAGE
    except KeyboardInterrupt:
        output.trouble("interrupted: nothing was decided")
        return ExitStatus.INTERRUPTED
    failed = receipt.failed_check
    output.progress("the runtime works" if failed is None else f"failed: {failed.name}")
    if status is ExitStatus.PASSED or not parsed.if_passed:
        output.json(receipt.as_json(), indent=None if parsed.json else 2)
    return status


def verify(
    options: Options,
    scrubber: Scrubber,
    output: Output,
    route: Route,
    environment: Mapping[str, str],
) -> tuple[RuntimeReceipt, ExitStatus]:
    """Run the checks in their order, up to the first that fails; return receipt and status."""
    endpoint = Endpoint(f"http://{HOST}:{PORT}", HOST)

    def client(to: Endpoint, headers: dict[str, str]) -> Client:
        return Client(to, None, scrubber=scrubber, route=route, headers=headers)

    context = Context(endpoint, route, options.token, client, options.disks, Found())
    waiter = _waiter(options, client(endpoint, {}), scrubber, output, environment)
    steps: list[tuple[str, Step]] = [
        *_pod_step(options, waiter, environment),
        ("reachable", waiter.reachable),
        ("ready", waiter.ready),
        *((name, _bounded_step(check, context, options)) for name, check in CHECKS),
    ]
    done, failure = perform(steps, waiter.server, waiter.boot, output)
    receipt = RuntimeReceipt(
        status="passed" if failure is None else "failed",
        url=endpoint.url,
        via=options.via,
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
        verified_from=socket.gethostname(),
        server=context.found.server,
        python=context.found.python,
        disks=context.found.disks,
        checks=done,
    )
    return receipt, status_of(failure)


def _waiter(
    options: Options,
    client: Client,
    scrubber: Scrubber,
    output: Output,
    environment: Mapping[str, str],
) -> Waiter:
    console = (
        None
        if options.namespace is None
        else PodConsole(options.namespace, environment, course=RUNTIMES)
    )
    boot = Boot(
        output.progress, scrubber.text, console, options.stack, subject="the runtime's start"
    )
    return Waiter(
        client=client,
        stranger=client,
        server=LocalServer(None, None, scrubber.text),
        boot=boot,
        probe_path=VERSION_PATH,
        loading_status=_LOADING_STATUS,
        deadline=Deadline(options.wait_seconds),
        report=output.progress,
    )


def _pod_step(
    options: Options, waiter: Waiter, environment: Mapping[str, str]
) -> list[tuple[str, Step]]:
    """Return the check that the newest pod is ready, where the runtime is in a cluster.

    Else an old one that is about to end could be verified.
    """
    if options.namespace is None:
        return []

    @cache
    def api() -> ClusterApi:
        return ClusterApi(from_environment(environment), environment)

    rollout = Rollout(api, options.namespace, options.again)
    return [("pod", lambda: waiter.until("pod", "a runtime with a ready pod", rollout.look))]


def _bounded_step(
    check: Callable[[Context, Deadline], str], context: Context, options: Options
) -> Step:
    def step() -> str:
        deadline = Deadline(options.check_seconds)
        return bounded(deadline, lambda: check(context, deadline))

    return step


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
