"""The gateway's HTTP server: one port, until SIGTERM, and a bounded end."""

from __future__ import annotations

import asyncio
import logging
import signal
from types import TracebackType

from aiohttp import web

from machine.errors import described

ExceptionInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


async def serve(app: web.Application, host: str, port: int, grace_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, after which requests may run on for `grace_seconds`.

    Raises `OSError` where the port is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        logger=_server_log(),
        shutdown_timeout=grace_seconds,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
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
