"""A cluster's API server without a cluster, on a free port of 127.0.0.1.

It keeps objects, and who owns which of their fields as server-side apply has it; lists are owned as
a whole. Controllers are played at once: see `fake_controllers`. What a schema says is not checked:
`tests/real` has the real API server for that.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aiohttp import WSMsgType, web
from fake_controllers import defaulted, dependents, endpoint_slices, settle
from fake_objects import KINDS, Key, Refused, Store

CHANNELS = "v4.channel.k8s.io"
Reach = Callable[[str, str, int], tuple[str, int] | None]
"""Where a pod's port is to be had, by namespace, pod and port; None: nothing listens there."""


class FakeKubernetes:
    """The API server, for a `with` statement. It takes `token` alone.

    `journal` has every change that came by the API, such as `DELETE Namespace llm`. `looks_on` is
    called with each before it is made. While `starts` is false, new pods don't become ready.
    `reach` says what a port-forward leads to.
    """

    def __init__(self, tls: ssl.SSLContext, authority: Path, token: str) -> None:
        self.token = token
        self.authority = authority.read_text(encoding="utf-8")
        self.store = Store()
        self.journal: list[str] = []
        self.starts = True
        self.looks_on: Callable[[str], None] = lambda change: None
        self.reach: Reach = lambda namespace, pod, port: None
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def settings(self) -> str:
        """The file `kubernetes.json` of an emulated cloud whose clusters are this one."""
        return json.dumps({"server": self.server, "certificate_authority": self.authority})

    def objects(self, kind: str, namespace: str = "") -> dict[str, dict[str, Any]]:
        """What there is of a kind, by name."""
        return {
            key.name: made
            for key, made in dict(self.store.objects).items()
            if KINDS[key.version][key.plural][0] == kind and namespace in ("", key.namespace)
        }

    def names(self) -> set[str]:
        """What there is, such as `Service gateway`."""
        return {
            f"{made['kind']} {made['metadata']['name']}"
            for made in dict(self.store.objects).values()
        }

    def update(self, kind: str, name: str, change: dict[str, Any], manager: str) -> None:
        """Merge a change into an object, as somebody else in the cluster would."""
        (key,) = [k for k, made in self.store.objects.items() if _is(made, kind, name)]
        self._act(lambda: self.store.merge(key, change, manager)["metadata"]["name"])

    def _act(self, work: Callable[[], object]) -> object:
        """Do `work` where requests are served, then what controllers would."""
        done = asyncio.run_coroutine_threadsafe(self._acted(work), self._loop)
        return done.result(20)

    async def _acted(self, work: Callable[[], object]) -> object:
        result = work()
        settle(self.store, self.starts)
        return result

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0)

        async def start() -> None:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
            await site.start()
            self._port = runner.addresses[0][1]
            self._up.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refusal(Refused(401, "Unauthorized", "Unauthorized"))
        try:
            if request.path.endswith("/portforward"):
                return await self._forward(request)
            body = await request.read()
            found = self._handled(request, json.loads(body) if body else {})
            return web.json_response(found)
        except Refused as refused:
            return _refusal(refused)

    def _handled(self, request: web.Request, body: Any) -> dict[str, Any]:
        version, rest = _split(request.path)
        if not rest:
            return _discovery(version)
        key, subresource = _addressed(version, rest)
        if request.method == "GET":
            return self._read(key, subresource, request.query.get("labelSelector", ""))
        kind = KINDS[key.version][key.plural][0]
        name = key.name or str(body["metadata"]["name"])
        dry = request.query.get("dryRun") == "All"
        before = self.store.copy() if dry else None
        if not dry:
            change = f"{request.method} {kind} {name}" + (f"/{subresource}" if subresource else "")
            self.looks_on(change)
            self.journal.append(change)
        try:
            found = self._changed(request, key, subresource, body)
            if not dry:
                settle(self.store, self.starts)
                found = self.store.objects.get(Key(*key[:3], name), found)
            return found
        finally:
            if before is not None:
                self.store = before

    def _changed(
        self, request: web.Request, key: Key, subresource: str, body: Any
    ) -> dict[str, Any]:
        query, content = request.query, request.content_type
        manager = query.get("fieldManager", request.headers.get("User-Agent", "?").split("/")[0])
        match request.method, content:
            case "POST", _:
                return self.store.create(key, defaulted(body), manager)
            case "PATCH", "application/apply-patch+yaml":
                force = query["force"] == "true"
                return self.store.apply(key, body, manager, force=force, defaulted=defaulted)
            case "PATCH", "application/json-patch+json":
                return self.store.give_fields(key, body)
            case "PATCH", _:
                made = self.store.merge(key, body, manager)
                return _scale(made) if subresource == "scale" else made
            case "DELETE", _:
                for other in dependents(self.store, key):
                    self.store.objects.pop(other, None)
                return self.store.delete(key)
            case _:
                raise Refused(405, "MethodNotAllowed", request.method)

    def _read(self, key: Key, subresource: str, selector: str) -> dict[str, Any]:
        if key.name:
            made = self.store.get(key)
            return _scale(made) if subresource == "scale" else made
        if key.plural == "endpointslices":
            name = selector.removeprefix("kubernetes.io/service-name=")
            return {"kind": "EndpointSliceList", "items": endpoint_slices(self.store, key, name)}
        wanted = dict(pair.split("=", 1) for pair in selector.split(",") if "=" in pair)
        items = [
            made
            for at, made in self.store.objects.items()
            if at[:2] == key[:2]
            and key.namespace in ("", at.namespace)
            and wanted.items() <= made["metadata"].get("labels", {}).items()
        ]
        return {"kind": "List", "apiVersion": "v1", "items": items}

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        """Join a web socket with the port of a pod, in Kubernetes' channels."""
        parts = request.path.split("/")
        namespace, pod, port = parts[-4], parts[-2], int(request.query["ports"])
        socket = web.WebSocketResponse(protocols=[CHANNELS])
        await socket.prepare(request)
        number = port.to_bytes(2, "little")
        await socket.send_bytes(b"\0" + number)
        await socket.send_bytes(b"\1" + number)
        target = self.reach(namespace, pod, port)
        if target is None:
            await socket.send_bytes(b"\1" + b"connection refused")
            return socket
        reader, writer = await asyncio.open_connection(*target)

        async def back() -> None:
            while data := await reader.read(1 << 16):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        copying = asyncio.ensure_future(back())
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[:1] == b"\0":
                writer.write(message.data[1:])
                await writer.drain()
        copying.cancel()
        writer.close()
        return socket


def _is(made: dict[str, Any], kind: str, name: str) -> bool:
    return (made["kind"], made["metadata"]["name"]) == (kind, name)


def _split(path: str) -> tuple[str, list[str]]:
    steps = path.strip("/").split("/")
    if steps[0] == "api":
        return steps[1], steps[2:]
    return "/".join(steps[1:3]), steps[3:]


def _addressed(version: str, rest: list[str]) -> tuple[Key, str]:
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    if plural not in KINDS.get(version, {}):
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    return Key(version, plural, namespace, name), subresource


def _discovery(version: str) -> dict[str, Any]:
    if version not in KINDS:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    resources = [
        {"name": plural, "kind": kind, "namespaced": namespaced}
        for plural, (kind, namespaced) in KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _scale(made: dict[str, Any]) -> dict[str, Any]:
    replicas = made["spec"].get("replicas", 0)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": made["metadata"],
        # As the API server does, which leaves out what is zero.
        "spec": {"replicas": replicas} if replicas else {},
    }


def _refusal(refused: Refused) -> web.Response:
    status = {"kind": "Status", "status": "Failure", "message": str(refused)}
    return web.json_response(
        {**status, "reason": refused.reason, "code": refused.code}, status=refused.code
    )
