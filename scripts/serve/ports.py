"""TCP ports on the loopback address: which are free, and who holds one that is not."""

from __future__ import annotations

import socket

import psutil

from scripts.serve.errors import ServeError

LOOPBACK = "127.0.0.1"
FIRST_PORT = 8080
TRIED_PORTS = 200


def is_free(port: int) -> bool:
    """Whether nothing listens on `port`. Binding tells; servers may share a port unnoticed."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            # A closed connection in TIME_WAIT refuses a plain bind as a listener does.
            return not _listener_answers(port)
    return True


def choose(configured: int | None, last: int | None) -> int:
    """Return the port to use: the configured one, else the last one, else a free one from 8080 on.

    Raises `ServeError` where the configured one is taken or none of the tried ones is free.
    """
    if configured is not None:
        _require_free(configured)
        return configured
    if last is not None and is_free(last):
        return last
    for port in range(FIRST_PORT, FIRST_PORT + TRIED_PORTS):
        if is_free(port):
            return port
    raise ServeError(
        f"no port from {FIRST_PORT} to {FIRST_PORT + TRIED_PORTS - 1} is free on {LOOPBACK}\n"
        "next: scripts/pulumi config set port PORT"
    )


def _require_free(port: int) -> None:
    """Raise `ServeError` where `port` is taken; the message names who holds it, if that shows."""
    if is_free(port):
        return
    raise ServeError(
        f"port {port} on {LOOPBACK} is taken{_holder(port)}\n"
        "next: end that program, or choose another port: scripts/pulumi config set port PORT"
    )


def _listener_answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr:
                continue
            if connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
