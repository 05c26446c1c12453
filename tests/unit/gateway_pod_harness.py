"""The gateway of a pod in this process, before a server with the paths of OpenVINO Model Server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from gateway_harness import CHAT, KEY, Gateway, ModelServer, write_keys

from machine.gateway import pod
from machine.gateway.settings import Limits, Settings, Upstream
from machine.paths import Paths

ANSWER = "/v3/chat/completions"
READY = "/v2/models/tiny/ready"
STATES = "/v1/config"
OVMS_MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "OVMS"}]}


def says(body: object, status: int = 200, content_type: str = "application/json") -> Any:
    async def reply(_request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {"Access-Control-Allow-Origin": "*"}
        return web.Response(text=text, status=status, content_type=content_type, headers=headers)

    return reply


def ovms(**replies: Any) -> ModelServer:
    """A server with the paths of OpenVINO Model Server, whose model is ready."""
    own = {READY: says(""), STATES: says(states()), "/v3/models": says(OVMS_MODELS)}
    return ModelServer({**own, **replies})


def states(state: str = "AVAILABLE", code: str = "OK") -> dict[str, Any]:
    """What such a server says of its model at `STATES`."""
    status = {"error_code": code, "error_message": code}
    version = {"version": "1", "state": state, "status": status}
    return {"tiny": {"model_version_status": [version]}}


@dataclass
class Pod:
    """A gateway of a pod with its folder, and what it asks."""

    here: Gateway
    settings: pod.PodSettings

    async def activity(self) -> dict[str, Any]:
        async with self.here.get("/activity") as answer:
            assert answer.status == 200
            return await answer.json()

    async def error(self, path: str = CHAT, **options: Any) -> tuple[int, Any]:
        async with self.here.post(path, data=b"{}", **options) as answer:
            return answer.status, (await answer.json())["error"]


@asynccontextmanager
async def pod_gateway(
    root: Path, server: ModelServer | str, *, keys: bool = True
) -> AsyncIterator[Pod]:
    """Run a pod's gateway before `server`, or before an origin."""
    paths = Paths(root)
    if keys:
        write_keys(paths, default=KEY)
    running = server.server() if isinstance(server, ModelServer) else None
    if running is not None:
        await running.start_server()
    origin = f"http://127.0.0.1:{running.port}" if running is not None else str(server)
    upstream = Upstream("chat", origin, "/v3", READY, 404, STATES)
    settings = pod.PodSettings(
        Settings(0, (upstream,), Limits(4, 10_000, 30)), paths.keys, paths.activity
    )
    app = TestServer(pod.pod_application(settings))
    await app.start_server(shutdown_timeout=5)
    try:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client:
            here = Gateway(f"http://127.0.0.1:{app.port}", client, paths, app)
            yield Pod(here, settings)
    finally:
        await app.close()
        if running is not None:
            await running.close()
