"""One verification from its options to its receipt."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from scripts.verify import capabilities, checks, classic, throughput
from scripts.verify.boot import Boot
from scripts.verify.boot_source import open_console, subject
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.caller import Caller
from scripts.verify.client import Client
from scripts.verify.context import Context, Findings
from scripts.verify.domain import DomainCheck
from scripts.verify.options import Options
from scripts.verify.outcome import ExitStatus, Failure, Skipped
from scripts.verify.output import Output
from scripts.verify.process import LocalServer
from scripts.verify.receipt import Check, Engine, Model, Receipt
from scripts.verify.scrub import Scrubber
from scripts.verify.shape import Json, dig_count, dig_text, excerpt
from scripts.verify.via import Route
from scripts.verify.wait import Waiter

Step: TypeAlias = Callable[[], str]

CHECKS: tuple[tuple[str, Callable[[Context, Deadline], str]], ...] = (
    ("refuses_without_key", checks.refuses_without_key),
    ("lists_model", checks.lists_model),
    ("chat", checks.chat),
    ("chat_stream", throughput.chat_stream),
    ("embeddings", capabilities.embeddings),
    ("tool_call", capabilities.tool_call),
    ("json_schema", capabilities.json_schema),
    ("concurrency", throughput.concurrency),
)
"""The checks after `domain` (of a machine whose address is given), `reachable` and `ready`.

`classic_models` comes after them, where there are some.
"""

VERSION_SOURCES = {
    "llama_cpp": ("/props", "build_info"),
    "ollama": ("/api/version", "version"),
    "vllm": ("/version", "version"),
}
"""Where an engine tells its version: a path and a field of the object there."""

_VERSION_SECONDS = 5.0


@dataclass(frozen=True)
class Verdict:
    """The receipt of a verification, without secrets, and the exit status that it means."""

    receipt: Receipt
    exit_status: ExitStatus


def verify(
    options: Options, scrubber: Scrubber, output: Output, route: Route | None = None
) -> Verdict:
    """Run the checks in their order, up to the first that fails, and return the verdict.

    `route` is where to connect to instead of the endpoint's host.
    """
    client = Client(
        options.endpoint, options.key, scrubber=scrubber, ca_file=options.ca_file, route=route
    )
    server = LocalServer(options.process, options.log, scrubber.text)
    context = Context(options, client, Findings())
    waiter = _waiter(options, client, server, scrubber, output)
    steps: list[tuple[str, Step]] = [
        *_domain_step(options, waiter),
        ("reachable", waiter.reachable),
        ("ready", waiter.ready),
        *((name, _bounded_step(check, context)) for name, check in CHECKS),
        *_classic_step(context),
    ]
    done, failure = perform(steps, server, waiter.boot, output)
    receipt = Receipt(
        status="passed" if failure is None else "failed",
        endpoint_url=options.endpoint.url,
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
        verified_from=socket.gethostname(),
        boot=options.boot,
        via=options.via,
        engine=Engine(
            options.engine,
            _engine_version(context) if failure is None else None,
            options.engine_package,
        ),
        model=_model(context),
        time_to_first_token_seconds=context.findings.time_to_first_token_seconds,
        tokens_per_second=context.findings.tokens_per_second,
        concurrency=context.findings.concurrency,
        checks=done,
    )
    return Verdict(output.scrubbed(receipt), status_of(failure))


def perform(
    steps: Iterable[tuple[str, Step]], server: LocalServer, boot: Boot, output: Output
) -> tuple[tuple[Check, ...], Failure | None]:
    """Do the steps in their order up to the first that fails; return all checks, and why it did."""
    done: list[Check] = []
    failure: Failure | None = None
    for name, step in steps:
        if failure is not None:
            reason = f'after "{next(c.name for c in done if c.status == "failed")}" failed'
            done.append(Check(name, "skipped", 0.0, reason=reason))
            continue
        check, failure = _perform(name, step, server, boot)
        done.append(check)
        output.check(check)
    return tuple(done), failure


def status_of(failure: Failure | None) -> ExitStatus:
    """Return the exit status that the end of a verification means."""
    if failure is None:
        return ExitStatus.PASSED
    return ExitStatus.NEVER_READY if failure.never_ready else ExitStatus.FAILED


def _waiter(
    options: Options, client: Client, server: LocalServer, scrubber: Scrubber, output: Output
) -> Waiter:
    console = open_console(options.boot) if options.boot else None
    cidrs = options.allowed_cidrs
    return Waiter(
        client=client,
        stranger=client.copy(key=None),
        server=server,
        boot=Boot(
            output.progress, scrubber.text, console, options.stack, subject=subject(options.boot)
        ),
        probe_path=options.probe_path,
        loading_status=options.probe_loading_status,
        deadline=Deadline(options.wait_seconds),
        report=output.progress,
        caller=Caller(cidrs, options.address_pages, options.stack) if cidrs else None,
        key_seconds=options.key_seconds,
        classic=classic.Loading(client, options.classic).look if options.classic else None,
    )


def _classic_step(context: Context) -> list[tuple[str, Step]]:
    """Return the check of the classic models, where there are some."""
    if not context.options.classic:
        return []
    return [("classic_models", lambda: classic.classic_models(context))]


def _domain_step(options: Options, waiter: Waiter) -> list[tuple[str, Step]]:
    """Return the check of the domain, where it is known what it should point at."""
    if options.address is None:
        return []
    check = DomainCheck(options.endpoint, options.address, waiter.deadline, waiter.report)
    return [("domain", check.points_here)]


def _bounded_step(check: Callable[[Context, Deadline], str], context: Context) -> Step:
    def step() -> str:
        deadline = Deadline(context.options.check_seconds)
        return bounded(deadline, lambda: check(context, deadline))

    return step


def _perform(
    name: str, step: Step, server: LocalServer, boot: Boot
) -> tuple[Check, Failure | None]:
    """Do one step; return its check and, where it failed, why.

    A check that fails because the server died, or its machine, says that it died.
    """
    began = time.perf_counter()

    def seconds() -> float:
        return round(time.perf_counter() - began, 3)

    try:
        seen = step()
        return Check(name, "passed", seconds(), seen=seen), None
    except Skipped as skip:
        return Check(name, "skipped", 0.0, reason=str(skip)), None
    except Failure as error:
        failure = error
    except Exception as error:  # a defect of ours must still give a receipt, and no traceback
        failure = Failure(
            "the check to run",
            excerpt(server.scrub(f"{type(error).__name__}: {error}")),
            "this is a defect of scripts.verify: report it",
        )
    death = None if failure.never_ready else server.death() or boot.failure()
    if death is not None:
        death.seen = f"{death.seen}, and before that: {failure.seen}"
        failure = death
    check = Check(
        name,
        "failed",
        seconds(),
        seen=failure.seen,
        expected=failure.expected,
        next_step=failure.next_step,
        log_tail=failure.log_tail,
    )
    return check, failure


def _engine_version(context: Context) -> str | None:
    """Return the version that the server reports of itself; None where it tells none.

    Asked of the engine's own path where it has one, which a gateway may not pass on. llama.cpp
    also gives its build as the `system_fingerprint` of each chat.
    """
    engine = context.options.engine
    if engine not in VERSION_SOURCES:
        return None
    path, field = VERSION_SOURCES[engine]
    deadline = Deadline(_VERSION_SECONDS)
    try:
        answer: Json = bounded(deadline, lambda: context.client.ask_json("GET", path, deadline))
    except Failure:
        answer = None
    version = dig_text(answer, field)
    if not version and engine == "llama_cpp":
        version = context.findings.fingerprint or ""
    return context.client.quote(version) or None


def _model(context: Context) -> Model:
    """Return what is known of the model: sizes as llama.cpp lists them under `meta`."""
    listed = context.findings.listed
    return Model(
        id=context.findings.model or context.options.model,
        owned_by=context.client.quote(dig_text(listed, "owned_by")) or None,
        parameters=dig_count(listed, "meta", "n_params"),
        size_bytes=dig_count(listed, "meta", "size"),
        stand_in=context.options.stand_in,
    )
