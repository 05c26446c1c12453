"""A notebook server without notebooks, and the door before it, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web

TOKEN = "the-token-of-the-runtime-of-this-test"
COLAB = "https://colab.research.google.com"


def answers(code: str) -> list[dict[str, Any]]:
    """What a kernel sends that has run `code` of ours."""
    printed: list[str] = []
    exec(code, {"print": printed.append})
    return [
        {"msg_type": "status", "content": {"execution_state": "busy"}},
        {"msg_type": "execute_input", "content": {"code": code}},
        {"msg_type": "stream", "content": {"name": "stdout", "text": "\n".join(printed) + "\n"}},
        {"msg_type": "status", "content": {"execution_state": "idle"}},
        {"msg_type": "execute_reply", "content": {"status": "ok"}},
    ]


@dataclass
class FakeRuntime:
    """For a `with` statement. `has_door`, `has_token` and `kernel` are what can be wrong with it.

    `paths` are the requests in their order, `kernels` those that were begun and not ended.
    """

    token: str = TOKEN
    has_door: bool = True
    has_token: bool = True
    echoes: bool = False
    kernel: Callable[[str], list[dict[str, Any]]] = answers
    starting: int = 0
    paths: list[str] = field(default_factory=list)
    kernels: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def via(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.port = runner.addresses[0][1]
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(f"{request.method} {request.path}")
        if self.starting:
            self.starting -= 1
            return web.Response(status=502)
        host = request.headers["Host"].partition(":")[0]
        origin = request.headers.get("Origin", COLAB)
        if self.has_door and (host not in ("127.0.0.1", "localhost") or origin != COLAB):
            return web.Response(status=403)
        if request.path == "/api":
            return web.json_response({"version": "2.20.0"})
        if request.path == "/colab/tty":
            return await self._terminal(request)
        given = request.headers.get("Authorization")
        if self.has_token and given != f"token {self.token}":
            return web.json_response({"message": given if self.echoes else "no"}, status=403)
        return await self._known(request)

    async def _known(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["api", "status"]:
                return web.json_response({"kernels": len(self.kernels), "connections": 0})
            case "POST", ["api", "kernels"]:
                self.kernels.add("k-1")
                return web.json_response({"id": "k-1"}, status=201)
            case "DELETE", ["api", "kernels", name]:
                self.kernels.discard(name)
                return web.Response(status=204)
            case "GET", ["api", "kernels", _, "channels"]:
                return await self._channels(request)
            case _:
                return web.Response(status=404)

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.close()
        return ws

    async def _channels(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_json({"msg_type": "status", "parent_header": {"msg_id": "of another"}})
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                continue
            asked = json.loads(message.data)
            for sent in self.kernel(asked["content"]["code"]):
                await ws.send_json({**sent, "parent_header": asked["header"]})
            if not self.kernel("print(0)"):
                await ws.close()
        return ws
