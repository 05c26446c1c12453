"""The gateway in this process, in front of model servers that do what a test says."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from machine.gateway.activity import Activity
from machine.gateway.app import application
from machine.gateway.keys import KeyFile
from machine.gateway.settings import Limits, Settings, Upstream
from machine.gateway.stages import MachineStages
from machine.paths import Paths
from machine.status import Status

KEY = "sk-default-0123456789"
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
BOUND_SECONDS = 60

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test that is a coroutine, for a bounded time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(BOUND_SECONDS):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


def bearer(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def write_keys(paths: Paths, **keys: str) -> None:
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in keys.items()}
    paths.keys.parent.mkdir(parents=True, exist_ok=True)
    fresh = paths.keys.with_suffix(".new")
    fresh.write_text(json.dumps(hashes))
    fresh.replace(paths.keys)


async def models(_request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "owner/model", "object": "model"}]})


async def healthy(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type="application/json")


class Stream:
    """An event stream of which a test sends every piece itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()

    def send(self, piece: bytes) -> None:
        self._pieces.put_nowait(piece)

    def end(self) -> None:
        self._pieces.put_nowait(None)

    def die(self) -> None:
        self._pieces.put_nowait(ConnectionAbortedError())

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        writer = await response.prepare(request)
        assert writer is not None
        writer.send_headers()
        self.begun.set()
        try:
            while (piece := await self._pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    assert request.transport is not None
                    request.transport.abort()
                    return response
                await response.write(piece)
        except asyncio.CancelledError:
            self.left.set()
            raise
        return response


@dataclass
class ModelServer:
    """A model server: what it answers by path, and what it was asked."""

    replies: dict[str, Reply] = field(
        default_factory=lambda: {"/health": healthy, "/v1/models": models, CHAT: echo}
    )
    asked: list[web.Request] = field(default_factory=list)

    @property
    def generations(self) -> list[web.Request]:
        return [request for request in self.asked if request.method == "POST"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        reply = self.replies.get(request.path)
        return web.Response(status=404) if reply is None else await reply(request)

    def server(self) -> TestServer:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return TestServer(app)


@dataclass
class Gateway:
    """A running gateway, a client of it, and its log."""

    url: str
    client: aiohttp.ClientSession
    paths: Paths
    server: TestServer
    lines: list[str] = field(default_factory=list)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(f"{self.url}{path}", **options)

    def post(self, path: str = CHAT, *, key: str | None = KEY, **options: Any) -> Any:
        headers = CIMultiDict(options.pop("headers", {}))
        headers.extend({} if key is None else bearer(key))
        return self.client.post(f"{self.url}{path}", headers=headers, **options)

    async def logged(self, count: int = 1) -> list[dict[str, Any]]:
        """Return the log's entries once there are `count` of requests other than for health."""

        def found() -> list[dict[str, Any]]:
            entries = [json.loads(line) for line in self.lines]
            return [entry for entry in entries if entry["path"] != "/health"]

        await until(lambda: len(found()) >= count)
        return found()

    def activity(self) -> dict[str, Any]:
        return json.loads(self.paths.activity.read_text())

    async def until_ready(self) -> None:
        async def ready() -> bool:
            async with self.get("/health") as answer:
                return answer.status == 200

        while not await ready():
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; the test's own bound ends a wait for what never does."""
    while not condition():
        await asyncio.sleep(0.005)


@asynccontextmanager
async def gateway(
    root: Path,
    servers: Mapping[str, ModelServer | int],
    *,
    limits: Limits | None = None,
    api_path: str = "/v1",
    keys: Mapping[str, str] | None = None,
    front_port: int | None = None,
) -> AsyncIterator[Gateway]:
    """Run a gateway in front of `servers`; one that is a port is not run here."""
    paths = Paths(root)
    if keys is None or keys:
        write_keys(paths, **(keys or {"default": KEY}))
    async with AsyncExitStack() as stack:
        upstreams: list[Upstream] = []
        for name, server in servers.items():
            port = server
            if isinstance(server, ModelServer):
                port = (await stack.enter_async_context(server.server())).port
            assert isinstance(port, int)
            upstreams.append(Upstream(name, f"http://127.0.0.1:{port}", api_path, "/health", 503))
        settings = Settings(0, tuple(upstreams), limits or Limits(4, 10_000, 30), front_port)
        lines: list[str] = []
        stages = MachineStages(Status(paths.run, paths.console, boot_id=paths.boot_id))
        app = application(
            settings, KeyFile(paths.keys), Activity(paths.activity), stages, lines.append
        )
        running = TestServer(app)
        await running.start_server(shutdown_timeout=5)
        stack.push_async_callback(running.close)
        # A connection for each request: one that a test breaks is not used by the next.
        client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        )
        url = f"http://127.0.0.1:{running.port}"
        yield Gateway(url, client, paths, running, lines)
