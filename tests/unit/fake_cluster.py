"""A Kubernetes API server for tests, on a free port of 127.0.0.1: objects, scale, port-forward."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import WSMsgType, web

from components.rendering.process import Variable
from components.targets.kubernetes.access import ClusterAccess

TOKEN = "ya29.the-token-of-the-test"
NAMESPACE = "llm"
CORE = f"/api/v1/namespaces/{NAMESPACE}"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
PROTOCOL = "v4.channel.k8s.io"


@dataclass
class FakeCluster:
    """For a `with` statement. `objects` answers GETs by their path, `logs` by pod and container.

    A port-forward to a pod connects to what `ports` has for its name, and says what `errors` has.
    """

    tls: ssl.SSLContext | None = None
    authority: str | None = None
    objects: dict[str, Any] = field(default_factory=dict)
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    selected: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

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
    def access(self) -> ClusterAccess:
        scheme = "http" if self.tls is None else "https"
        return ClusterAccess(f"{scheme}://127.0.0.1:{self.port}", self.authority)

    @property
    def environment(self) -> dict[str, str]:
        """What leads the scripts here."""
        return {Variable.CLUSTER: self.access.as_json(), "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}

    def serve(self, pod: str, port: int) -> None:
        """Put the Service `gateway` on 443 before `pod`, whose port 8443 is `port` here."""
        self.ports[pod] = port
        self.objects[f"{CORE}/services/gateway"] = {
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]}
        }
        self.put_endpoints({pod: True})

    def put_endpoints(self, pods: dict[str, bool]) -> None:
        self.objects[SLICES] = {
            "items": [
                {
                    "ports": [{"name": "metrics", "port": 1}, {"name": "https", "port": 8443}],
                    "endpoints": [
                        {"conditions": {"ready": ready}, "targetRef": {"name": name}}
                        for name, ready in pods.items()
                    ],
                }
            ]
        }

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.asked.append((request.method, request.path, json.loads(text) if text else None))
        self.selected[request.path] = request.query.get("labelSelector", "")
        self.tokens.add(request.headers.get("Authorization", ""))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized")
        refusals = self.refusals.get(request.path)
        if refusals:
            return _status(refusals.pop(0), "not now")
        if request.path.endswith("/portforward"):
            return await self._forward(request)
        if request.path.endswith("/log"):
            pod = request.path.split("/")[-2]
            log = self.logs.get((pod, request.query["container"]))
            return _status(400, "has not begun") if log is None else web.Response(text=log)
        found = self.objects.get(request.path)
        if found is None:
            return _status(404, f"{request.path} not found")
        if request.method == "PATCH":
            for part, values in json.loads(text).items():
                found.setdefault(part, {}).update(values)
        return web.json_response(found)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        pod = request.path.split("/")[-2]
        number = int(request.query["ports"])
        if pod not in self.ports and pod not in self.errors:
            return _status(404, f'pods "{pod}" not found')
        ws = web.WebSocketResponse(protocols=(PROTOCOL,))
        await ws.prepare(request)
        for channel in (0, 1):
            await ws.send_bytes(bytes([channel]) + number.to_bytes(2, "little"))
        if pod in self.errors:
            await ws.send_bytes(b"\1" + self.errors[pod].encode())
            await ws.close()
            return ws
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[pod])

        async def down() -> None:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    await ws.send_bytes(b"\0" + data)
            await ws.close()

        task = asyncio.create_task(down())
        try:
            async for message in ws:
                if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                    writer.write(message.data[1:])
                    await writer.drain()
        finally:
            writer.close()
            task.cancel()
        return ws


def _status(code: int, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "code": code}
    return web.json_response(body, status=code)
