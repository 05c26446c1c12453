"""The gateway as an HTTP application: who gets in, and what becomes of a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Protocol

import aiohttp
from aiohttp import hdrs, web

from machine.gateway import answers, forward
from machine.gateway.access_log import End, Entry
from machine.gateway.activity import Activity
from machine.gateway.health import Health
from machine.gateway.keys import KeyFile, bearer
from machine.gateway.models import ListUnavailableError, all_models
from machine.gateway.routes import Asked, NoRoute, Route, route
from machine.gateway.settings import Settings
from machine.gateway.stages import Stages


class Classic(Protocol):
    """The paths of classic models, which the gateway of a pod may have (`gateway.classic`)."""

    def route(self, method: str, path: str) -> Route | NoRoute | None:
        """Return what becomes of a request; None where its path is none of these."""
        ...

    async def answer(
        self, forwarder: forward.Forwarder, exchange: forward.Exchange, found: Route, body: bytes
    ) -> web.StreamResponse:
        """Answer a request that passed."""
        ...


def application(
    settings: Settings,
    keys: KeyFile,
    activity: Activity,
    stages: Stages,
    write_line: Callable[[str], None],
    *,
    classic: Classic | None = None,
) -> web.Application:
    """Return the application; `write_line` takes the lines of the access log.

    It must be run with `handler_cancellation`: a client that leaves ends its request.
    """
    app = web.Application()

    async def running(app: web.Application) -> AsyncIterator[None]:
        async with forward.session() as session:
            health = Health(settings, keys, stages, activity, session)
            app[_GATEWAY] = _Gateway(
                settings, keys, activity, health, session, classic=classic, write_line=write_line
            )
            watch = asyncio.create_task(health.watch())
            yield
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    app.cleanup_ctx.append(running)
    app.on_shutdown.append(_stop)
    app.on_response_prepare.append(_unnamed)
    app.router.add_route("*", "/{path:.*}", _handle)
    return app


async def _unnamed(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall(hdrs.SERVER, None)


async def _stop(app: web.Application) -> None:
    app[_GATEWAY].stop()


async def _handle(request: web.Request) -> web.StreamResponse:
    return await request.app[_GATEWAY].handle(request)


class _Gateway:
    def __init__(
        self,
        settings: Settings,
        keys: KeyFile,
        activity: Activity,
        health: Health,
        session: aiohttp.ClientSession,
        *,
        classic: Classic | None,
        write_line: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._activity = activity
        self._health = health
        self._session = session
        self._forwarder = forward.Forwarder(session, health)
        self._classic = classic
        self._write_line = write_line
        self._stopping = False

    def stop(self) -> None:
        """Note that what is cancelled from now on was not left by its client."""
        self._stopping = True

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and write its line."""
        # Of what the client chose, a log line has nothing: a key may stand anywhere by mistake.
        method = request.method if request.method in hdrs.METH_ALL else ""
        found = self._route(request.method, request.raw_path.partition("?")[0])
        entry = Entry(method, found.shown)
        try:
            response = await self._answer(request, found, entry)
        except asyncio.CancelledError:
            entry.end = End.STOPPED if self._stopping else End.CLIENT_LEFT
            raise
        except Exception:
            # The application's server logs it, and answers with this.
            entry.status, entry.end = 500, End.FAULT
            raise
        else:
            entry.status = response.status
            return response
        finally:
            self._write_line(entry.line())

    def _route(self, method: str, path: str) -> Route | NoRoute:
        found = None if self._classic is None else self._classic.route(method, path)
        return route(method, path) if found is None else found

    async def _answer(
        self, request: web.Request, found: Route | NoRoute, entry: Entry
    ) -> web.StreamResponse:
        if isinstance(found, NoRoute):
            allow = found.allow
            return answers.no_such_path() if allow is None else answers.wrong_method(allow)
        if found.asked is Asked.HEALTH:
            status, body = self._health.answer()
            return web.json_response(body, status=status)
        key = bearer(request.headers.getall(hdrs.AUTHORIZATION, ()))
        entry.key = None if key is None else self._keys.name_of(key)
        if entry.key is None:
            return answers.wrong_key()
        limits = self._settings.limits
        if self._activity.active >= limits.active_requests:
            return answers.too_many(limits.active_requests)
        deadline = asyncio.get_running_loop().time() + limits.request_seconds
        with self._activity.request():
            if found.asked in (Asked.MODELS, Asked.MODEL):
                return await self._models(found, entry, deadline)
            return await self._forward(request, found, entry, deadline)

    async def _forward(
        self, request: web.Request, found: Route, entry: Entry, deadline: float
    ) -> web.StreamResponse:
        limits = self._settings.limits
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(deadline, now + limits.upload_seconds)):
                body = await _body(request, limits.body_bytes)
        except TimeoutError:
            entry.end = End.TIME_LIMIT
            return answers.too_slow()
        if body is None:
            return answers.too_large(limits.body_bytes)
        exchange = forward.Exchange(request, entry, deadline)
        if self._classic is not None and found.asked is Asked.CLASSIC:
            return await self._classic.answer(self._forwarder, exchange, found, body)
        embeds = found.asked is Asked.EMBEDDINGS
        upstream = self._settings.embeddings if embeds else self._settings.chat
        path = upstream.api_path + found.below
        return await self._forwarder.send(exchange, upstream, path, body)

    async def _models(self, found: Route, entry: Entry, deadline: float) -> web.Response:
        try:
            async with asyncio.timeout_at(deadline):
                models = await all_models(self._session, self._settings.listed)
        except TimeoutError:
            entry.end = End.TIME_LIMIT
            return answers.time_limit()
        except ListUnavailableError as error:
            entry.end = End.SERVER_ENDED
            self._health.doubt(error.upstream)
            why = self._health.why()
            return answers.not_ready(why.stage, why.message)
        if found.asked is Asked.MODELS:
            return web.json_response({"object": "list", "data": models})
        model = next((each for each in models if each.get("id") == found.model), None)
        return answers.no_such_model() if model is None else web.json_response(model)


async def _body(request: web.Request, limit_bytes: int) -> bytes | None:
    """Return the request's body; None where it is over the limit, of which no more is read."""
    if (request.content_length or 0) > limit_bytes:
        return None
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            return None
    return bytes(body)


_GATEWAY: web.AppKey[_Gateway] = web.AppKey("gateway", _Gateway)
