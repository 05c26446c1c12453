"""A kernel of a notebook server, over its websocket: begun, asked to run code, and ended.

Messages: Jupyter's messaging protocol 5.3, as JSON texts on `/api/kernels/ID/channels`, the form
without a subprotocol (jupyter_server, `services/kernels/connection`).
"""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import quote

from scripts.verify.bounds import Deadline
from scripts.verify.client import Client
from scripts.verify.outcome import Failure
from scripts.verify.shape import Json, dig, dig_text, parse_json
from scripts.verify.via import Route

KERNELS_PATH = "/api/kernels"
MOST_OUTPUT = 64 * 1024
"""How much output of the code is taken, in characters."""
_END_SECONDS = 10.0


class Socket(Protocol):
    """The part of `websocket.WebSocket` that is used here."""

    def settimeout(self, timeout: float) -> None:
        """Bound each of what follows, in seconds."""
        ...

    def send(self, payload: str) -> int:
        """Send a text."""
        ...

    def recv(self) -> str | bytes:
        """Wait for the next message."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class HandshakeError(Exception):
    """A websocket was answered with another `status` of HTTP than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def open_socket(
    route: Route, host: str, path: str, headers: Mapping[str, str], deadline: Deadline
) -> Socket:
    """Open a websocket to `path` by `route`, under the name `host`.

    Raises `HandshakeError`, and `Failure` where no answer came.
    """
    module = import_module("websocket")
    connect = cast("Callable[..., Socket]", module.create_connection)
    refused: type[Exception] = module.WebSocketBadStatusException
    timeout = max(deadline.remaining(), 0.001)
    try:
        # Connected here, since the library would ask the environment's proxy.
        below = socket.create_connection((route.host, route.port), timeout)
        return connect(
            f"ws://{host}{path}",
            socket=below,
            timeout=timeout,
            header=dict(headers),
            suppress_origin=True,
        )
    except refused as error:
        raise HandshakeError(int(getattr(error, "status_code", 0))) from None
    except Exception as error:  # the library's, or a socket's: all may quote what was sent
        raise route.problem() or Failure(
            "an answer to a websocket",
            f"none ({type(error).__name__})",
            "look whether the pod still runs, and at the runtime's log",
        ) from None


@contextmanager
def begun(client: Client, deadline: Deadline) -> Generator[str]:
    """Begin a kernel of the default kind, give its id, and end it. Raises `Failure`."""
    answer = client.ask("POST", KERNELS_PATH, deadline, {})
    if answer.status != 201:
        raise Failure(
            f"HTTP 201 to POST {KERNELS_PATH}",
            client.describe(answer),
            "look at the runtime's log: a kernel has to be able to start",
        )
    try:
        found = dig_text(parse_json(answer.body), "id")
    except ValueError:
        found = ""
    if not found:
        raise Failure(
            "the id of a new kernel", "none", "look whether a notebook server answers there"
        )
    try:
        yield found
    finally:
        # Its time may be up: an end of its own, since kernels hold memory for as long as they live.
        end = Deadline(_END_SECONDS)
        with suppress(Failure):
            client.ask("DELETE", f"{KERNELS_PATH}/{quote(found)}", end, retry=False)


def run(channels: Socket, code: str, deadline: Deadline) -> str:
    """Return what `code` prints on a kernel; `Failure` where it raises, or does not end in time."""
    message = secrets.token_hex(16)
    channels.send(json.dumps(request(message, code)))
    printed: list[str] = []
    replied = idle = False
    while not (replied and idle):
        deadline.note = "the kernel had not answered" if not replied else "the kernel was not idle"
        deadline.check()
        channels.settimeout(max(deadline.remaining(), 0.001))
        came = _received(channels, deadline)
        if dig(came, "parent_header", "msg_id") != message:
            continue
        content = dig(came, "content")
        match dig_text(came, "msg_type") or dig_text(came, "header", "msg_type"):
            case "stream":
                printed.append(dig_text(content, "text"))
                if sum(map(len, printed)) > MOST_OUTPUT:
                    raise _broken("more output than the code prints")
            case "status":
                idle = idle or dig_text(content, "execution_state") == "idle"
            case "execute_reply":
                replied = True
                if dig_text(content, "status") != "ok":
                    raise _broken(f"{dig_text(content, 'ename') or 'an error'} in the kernel")
            case _:
                pass
    return "".join(printed)


def _received(channels: Socket, deadline: Deadline) -> Json:
    try:
        data = channels.recv()
    except Exception as error:  # the library's, or a socket's
        deadline.check()
        raise _broken(f"the websocket broke off ({type(error).__name__})") from None
    if not data:
        raise _broken("the websocket was closed")
    try:
        return parse_json(data)
    except ValueError:
        # Binary ones have buffers, which nothing here asks for.
        return None


def _broken(seen: str) -> Failure:
    return Failure(
        "a kernel that runs a few lines of Python",
        seen,
        "look at the runtime's log, and whether its memory does",
    )


def request(message: str, code: str) -> dict[str, Json]:
    """Return the request, with the id `message`, to run `code`."""
    header: dict[str, Json] = {
        "msg_id": message,
        "msg_type": "execute_request",
        "username": "",
        "session": secrets.token_hex(16),
        "date": datetime.now(UTC).isoformat(),
        "version": "5.3",
    }
    content: dict[str, Json] = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
