"""`python -m machine.gateway`: the key checker, on loopback, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from aiohttp import web

from machine.config import Config
from machine.errors import Permanent, described
from machine.gateway.app import application
from machine.gateway.settings import Settings, from_config
from machine.paths import Paths

GRACE_SECONDS = 10.0
"""How long requests may run on after SIGTERM."""
HTTPS_PORT = "LLM_ENDPOINT_HTTPS_PORT"
"""The environment variable, Caddy's too, that moves Caddy from port 443."""
_PERMANENT = 78

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


async def serve(settings: Settings, paths: Paths) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` where the port is taken."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(
        application(settings, paths, lambda line: print(line, flush=True)),
        handler_cancellation=True,
        access_log=None,
        logger=_server_log(),
        shutdown_timeout=GRACE_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", settings.port).start()
        await stopped.wait()
    finally:
        await runner.cleanup()


class _Described(logging.Formatter):
    """Tells of an exception where it came from: its text may quote what a client sent."""

    def formatException(self, ei: ExceptionInfo) -> str:
        """Return the lines of the exception that is being logged."""
        error = ei[1]
        return "" if error is None else "\n".join(described(error))


def _server_log() -> logging.Logger:
    """Return what the HTTP server reports its own errors to: this process's stderr."""
    log = logging.Logger(__name__, logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(_Described())
    log.addHandler(handler)
    return log


def main(arguments: Sequence[str]) -> int:
    """Serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.gateway", description=__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the machine's files are"
    )
    paths = Paths(parser.parse_args(arguments).root)
    try:
        settings = from_config(Config.load(paths.config), int(os.environ.get(HTTPS_PORT, "443")))
    except Permanent as error:
        print(error.message, file=sys.stderr)
        return _PERMANENT
    asyncio.run(serve(settings, paths))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
