"""The command line: `python -m scripts.verify URL`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from components.launch import Capability
from scripts.verify.arguments import Parser, amount, amount_above_zero, positive
from scripts.verify.boot_source import parse_source
from scripts.verify.caller import services
from scripts.verify.options import (
    Options,
    UsageError,
    certificate_from_environment,
    key_from_environment,
    key_from_file,
    parse_address,
    parse_cidrs,
    parse_claims,
    parse_classic,
    parse_endpoint,
)
from scripts.verify.outcome import ExitStatus
from scripts.verify.output import Output
from scripts.verify.receipt import STAND_IN_NOTICE
from scripts.verify.scrub import Scrubber
from scripts.verify.via import Route, needs_cluster, open_via, parse_via

if TYPE_CHECKING:
    from scripts.verify.run import Verdict

_EPILOG = """\
The receipt goes to stdout as JSON, progress to stderr. Exit status: 0 every check passed, 1 one
failed, 2 this command line can't be followed, 3 the server never got ready or died, 130
interrupted.
"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m scripts.verify",
        description="Check that an OpenAI-compatible endpoint serves, and how fast.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("url", metavar="URL", help="the endpoint's origin, https://host[:port], with /v1 or not")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key-env", metavar="NAME", help="environment variable with the API key")
    key.add_argument("--key-file", metavar="PATH", type=Path, help="file with the API key")
    add("--model", metavar="ID", help="the model's id (default: the first that is listed)")
    add("--embedding-model", metavar="ID", help="the embeddings model's id")
    add(
        "--classic",
        metavar="LIST",
        default="",
        help="classic models below /models, by commas: NAME@VERSION",
    )
    add(
        "--claims",
        metavar="LIST",
        default="",
        help=f"what the engine claims, by commas: {', '.join(Capability)}",
    )
    add(
        "--probe-path",
        metavar="PATH",
        help="answers 200 when the server is ready (default: /health, else /v1/models)",
    )
    add("--probe-loading-status", metavar="N", type=positive, default=503)
    add("--concurrency", metavar="N", type=positive, default=3, help="streams at once (3)")
    add("--wait-seconds", metavar="S", type=amount, default=600.0, help="until ready (600)")
    add(
        "--check-seconds",
        metavar="S",
        type=amount_above_zero,
        default=120.0,
        help="each check (120)",
    )
    ca = parser.add_mutually_exclusive_group()
    ca.add_argument("--ca-file", metavar="PATH", type=Path, help="PEM file of the CA to trust")
    ca.add_argument("--ca-env", metavar="NAME", help="environment variable with that PEM text")
    add(
        "--min-tokens-per-second",
        metavar="F",
        type=amount,
        help="fail when the slowest of the streams at once is slower",
    )
    add("--engine", metavar="NAME", help="the engine's name, for the receipt and its version")
    add("--engine-package", metavar="NAME", help="the package it comes from, for the receipt")
    add("--process", metavar="PATH", type=Path, help="record of the server's process")
    add("--log", metavar="PATH", type=Path, help="the server's log, quoted when it dies")
    add("--address", metavar="IP", help="the address that the URL's domain has to point at")
    add(
        "--boot",
        metavar="SOURCE",
        help="where the start can be read: gcp:PROJECT/ZONE/INSTANCE, kubernetes:NAMESPACE or "
        "file:PATH",
    )
    add(
        "--via",
        metavar="SOURCE",
        help="connect there, not to the URL's host: kubernetes:NAMESPACE/SERVICE/PORT or HOST:PORT",
    )
    add(
        "--key-seconds",
        metavar="S",
        type=amount,
        default=0.0,
        help="how long a ready endpoint may still refuse the key (0)",
    )
    add(
        "--allowed-cidrs",
        metavar="LIST",
        default="",
        help="who may connect, by commas: a connection that times out is held against it",
    )
    add("--stack", metavar="NAME", help="the stack that the next steps name")
    add("--stand-in", action="store_true", help="the model is the project's stand-in: say so")
    add("--quiet", action="store_true", help="nothing on stderr unless something is wrong")
    add("--json", action="store_true", help="the receipt on one line")
    add("--if-passed", action="store_true", help="no receipt of a failure: stderr has said it all")
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed arguments. Raises `UsageError`."""
    for argument in arguments:
        if re.match(r"--?(api[-_]?)?key(=|$)", argument, re.IGNORECASE):
            raise UsageError(
                "a key is never taken as an argument, where other users of this machine can read "
                "it: put it into an environment variable and give that one's name by --key-env"
            )
    parsed, unknown = _parser().parse_known_args(arguments)
    if unknown:
        names = [name.partition("=")[0] for name in unknown if name.startswith("--")]
        raise UsageError(f"unknown: {', '.join(names) or 'an argument after the URL'}; see --help")
    return parsed


def _options(parsed: argparse.Namespace, environment: Mapping[str, str]) -> Options:
    """Return the options in the parsed arguments. Raises `UsageError`."""
    if parsed.key_env is not None:
        key = key_from_environment(parsed.key_env, environment)
    elif parsed.key_file is not None:
        key = key_from_file(parsed.key_file)
    else:
        key = None
    if parsed.ca_file is not None and not parsed.ca_file.is_file():
        raise UsageError(f"--ca-file: there is no file {parsed.ca_file}")
    if needs_cluster(parsed.boot) or needs_cluster(parsed.via):
        _require_cluster(environment)
    if parsed.probe_path is not None and not re.fullmatch(r"/[!-~]*", parsed.probe_path):
        raise UsageError("--probe-path takes a path that begins with /, such as /health")
    return Options(
        endpoint=parse_endpoint(parsed.url),
        key=key,
        model=parsed.model,
        embedding_model=parsed.embedding_model,
        classic=parse_classic(parsed.classic),
        claims=parse_claims(parsed.claims),
        probe_path=parsed.probe_path,
        probe_loading_status=parsed.probe_loading_status,
        concurrency=parsed.concurrency,
        wait_seconds=parsed.wait_seconds,
        check_seconds=parsed.check_seconds,
        ca_file=parsed.ca_file,
        minimum_tokens_per_second=parsed.min_tokens_per_second,
        engine=parsed.engine,
        engine_package=parsed.engine_package,
        process=parsed.process,
        log=parsed.log,
        stand_in=parsed.stand_in,
        address=None if parsed.address is None else parse_address(parsed.address),
        boot=None if parsed.boot is None else parse_source(parsed.boot),
        key_seconds=parsed.key_seconds,
        allowed_cidrs=parse_cidrs(parsed.allowed_cidrs),
        address_pages=services(environment),
        stack=parsed.stack,
        via=None if parsed.via is None else parse_via(parsed.via),
    )


def _require_cluster(environment: Mapping[str, str]) -> None:
    """Raise `UsageError` where the environment does not say which cluster is meant."""
    from scripts.gke.access import AccessError, from_environment

    try:
        from_environment(environment)
    except AccessError as error:
        raise UsageError(f"kubernetes: needs to know the cluster: {error}") from None


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> ExitStatus:
    """Verify as `arguments` say; return the exit status."""
    try:
        parsed = _parse(arguments)
        options = _options(parsed, environment)
        certificate = (
            certificate_from_environment(parsed.ca_env, environment) if parsed.ca_env else None
        )
    except UsageError as error:
        Output(Scrubber([])).trouble(f"usage: python -m scripts.verify URL [options]: {error}")
        return ExitStatus.USAGE
    scrubber = Scrubber([options.key] if options.key else [])
    output = Output(scrubber, quiet=parsed.quiet)
    try:
        with _ca_file(certificate) as ca_file, _route(options, output, environment) as route:
            verdict = _verify(
                replace(options, ca_file=ca_file or options.ca_file), scrubber, output, route
            )
    except UsageError as error:
        output.trouble(f"usage: python -m scripts.verify URL [options]: {error}")
        return ExitStatus.USAGE
    except KeyboardInterrupt:
        output.trouble("interrupted: nothing was decided")
        return ExitStatus.INTERRUPTED
    if verdict.exit_status is ExitStatus.PASSED or not parsed.if_passed:
        output.receipt(verdict.receipt, indent=None if parsed.json else 2)
    return verdict.exit_status


@contextmanager
def _ca_file(certificate: str | None) -> Generator[Path | None]:
    """Give a file with the PEM text `certificate`, which the TLS library takes from files alone."""
    if certificate is None:
        yield None
        return
    with NamedTemporaryFile("w", suffix=".pem", encoding="ascii") as file:
        file.write(certificate)
        file.flush()
        yield Path(file.name)


@contextmanager
def _route(
    options: Options, output: Output, environment: Mapping[str, str]
) -> Generator[Route | None]:
    """Give the way that `--via` names, None without."""
    if options.via is None:
        yield None
        return
    with open_via(options.via, output.progress, environment) as route:
        yield route


def _verify(options: Options, scrubber: Scrubber, output: Output, route: Route | None) -> Verdict:
    # requests takes most of the start, and neither --help nor a usage error needs it
    from scripts.verify.run import verify

    here = options.endpoint.is_loopback and options.via is None
    if options.key and not options.endpoint.is_https and not here:
        output.trouble("warning: the key travels unencrypted: that URL is http://")
    verdict = verify(options, scrubber, output, route)
    receipt = verdict.receipt
    if receipt.model.stand_in:
        output.trouble(STAND_IN_NOTICE)
    failed = receipt.failed_check
    output.progress(
        f"{receipt.endpoint_url}: verified" if failed is None else f"failed: {failed.name}"
    )
    return verdict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
