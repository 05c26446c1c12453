"""A request's way to a model server, and the answer's way back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from machine.gateway import answers
from machine.gateway.access_log import End, Entry
from machine.gateway.health import Health
from machine.gateway.settings import Upstream
from machine.gateway.tokens import TokenReader

_CONNECT_SECONDS = 5.0
_REFUSAL_BYTES = 64 * 1024
# The last one is KServe's, where tensors follow the JSON of a body as they are.
_TO_SERVER = (
    *(hdrs.ACCEPT, hdrs.CONTENT_TYPE, hdrs.USER_AGENT, "X-Request-Id"),
    "Inference-Header-Content-Length",
)
_NOT_TO_CLIENT = frozenset(
    name.lower()
    for name in (
        # Between two hops.
        *(hdrs.CONNECTION, hdrs.KEEP_ALIVE, hdrs.PROXY_AUTHENTICATE, hdrs.TE, hdrs.TRAILER),
        *(hdrs.TRANSFER_ENCODING, hdrs.UPGRADE),
        # Said by the gateway itself, or by nobody.
        *(hdrs.SERVER, hdrs.DATE, hdrs.SET_COOKIE),
    )
)


def session() -> aiohttp.ClientSession:
    """Return a client for the model servers.

    Each request has a connection of its own: its end is what tells a server that nobody waits for
    the answer, and a kept one may be closed by the server just when it is used again.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        # An answer comes as it is to be passed on, and not compressed: its tokens are counted.
        skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT),
        auto_decompress=False,
    )


@dataclass(frozen=True)
class Exchange:
    """A request, its line of the access log, and the event loop's time at which it must be over."""

    request: web.Request
    entry: Entry
    deadline: float


class Forwarder:
    """Passes requests on to the model servers."""

    def __init__(self, session: aiohttp.ClientSession, health: Health) -> None:
        self.session = session
        self._health = health

    async def send(
        self,
        exchange: Exchange,
        upstream: Upstream,
        path: str,
        body: bytes,
        *,
        errors_as_they_are: bool = False,
    ) -> web.StreamResponse:
        """Send `body` to a path of the server, and pass its answer on as it comes.

        The method is the request's own. Where the client leaves, this task is cancelled, and the
        server's connection closed.
        """
        try:
            async with asyncio.timeout_at(exchange.deadline):
                answer = await self.session.request(
                    exchange.request.method,
                    URL(upstream.origin + path, encoded=True),
                    data=body or None,
                    headers=_to_server(exchange.request.headers),
                    allow_redirects=False,
                )
        except aiohttp.ClientError:
            # Also where nobody takes the connection in time, which is a TimeoutError too.
            return self.absent(exchange, upstream)
        except TimeoutError:
            exchange.entry.end = End.TIME_LIMIT
            return answers.time_limit()
        except OSError:
            return self.absent(exchange, upstream)
        try:
            if answer.status < 400 or errors_as_they_are:
                return await _pass_on(exchange, answer)
            said = await _refusal(exchange, answer)
            if said.text is None:
                return await _pass_on(exchange, answer, said.read)
            exchange.entry.first_byte()
            return answers.of_server(answer.status, said.text, _besides_content(answer))
        finally:
            answer.close()

    def absent(self, exchange: Exchange, upstream: Upstream) -> web.Response:
        """Answer that nobody took the request, or that who took it left without an answer."""
        exchange.entry.end = End.SERVER_ENDED
        self._health.doubt(upstream)
        why = self._health.why()
        return answers.not_ready(why.stage, why.message)


@dataclass(frozen=True)
class _Refusal:
    """What was read of an answer with an error's status: all of it where it has a `text`."""

    read: bytes
    text: str | None = None


async def _refusal(exchange: Exchange, answer: aiohttp.ClientResponse) -> _Refusal:
    """Read an answer with an error's status until it says its error as a text alone.

    OpenVINO Model Server's are `{"error": "text"}`, and of the type of an event stream where one
    was asked for; its clients expect an object there.
    """
    read = b""
    # What went wrong here goes wrong again when the answer is passed on, and is told there.
    with suppress(TimeoutError, _ServerEndedError):
        async with asyncio.timeout_at(exchange.deadline):
            while len(read) < _REFUSAL_BYTES and (piece := await _next(answer)):
                read += piece
                if (text := answers.error_text(read)) is not None:
                    return _Refusal(read, text)
    return _Refusal(read)


async def _pass_on(
    exchange: Exchange, answer: aiohttp.ClientResponse, begun: bytes = b""
) -> web.StreamResponse:
    """Pass the answer on, each piece when it comes, after what was read of it before.

    An answer that does not come to its end does not get one here: the connection is closed in its
    midst, which every HTTP client notices.
    """
    request, entry = exchange.request, exchange.entry
    response = web.StreamResponse(
        status=answer.status, reason=answer.reason, headers=_to_client(answer)
    )
    entry.status = answer.status
    reader = TokenReader(streamed=answer.content_type == "text/event-stream")
    writer = await response.prepare(request)
    if writer is not None:
        # Not with the first piece of the body, which may be a long prompt away.
        writer.send_headers()
    try:
        async with asyncio.timeout_at(exchange.deadline):
            while piece := begun or await _next(answer):
                begun = b""
                entry.first_byte()
                await response.write(piece)
                reader.feed(piece)
    except _ServerEndedError:
        entry.end = End.SERVER_ENDED
        if request.transport is not None:
            request.transport.close()
    except TimeoutError:
        entry.end = End.TIME_LIMIT
        if request.transport is not None:
            # The client may be why: what it did not take so far is not waited for.
            request.transport.abort()
    except ConnectionError:
        entry.end = End.CLIENT_LEFT
    finally:
        entry.tokens = reader.tokens()
    return response


class _ServerEndedError(Exception):
    """The server's answer broke off."""


async def _next(answer: aiohttp.ClientResponse) -> bytes:
    """Return what has come of the answer, as soon as something has; nothing at its end.

    Raises `_ServerEndedError`, which can't be taken for a fault of the client's connection.
    """
    try:
        return await answer.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        raise _ServerEndedError from error


def _to_server(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what a server is told of the client: neither its key nor its cookies are."""
    return {name: headers[name] for name in _TO_SERVER if name in headers}


def _to_client(answer: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    """Return the answer's headers without those that let a browser's page of any origin in."""
    return [
        (name, value)
        for name, value in answer.headers.items()
        if name.lower() not in _NOT_TO_CLIENT and not name.lower().startswith("access-control-")
    ]


def _besides_content(answer: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    """Return the answer's headers that say nothing of its body."""
    return [each for each in _to_client(answer) if not each[0].lower().startswith("content-")]
