"""The kubelets' own server: logs and port-forwards of what runs as processes here.

The API server gets to it by a proxy, so that nodes need no addresses.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import socket as Socket
from typing import Self

from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PROTOCOL = "v4.channel.k8s.io"
_PIECE_BYTES = 64 * 1024

Logs = Callable[[str, str, str], str | None]
"""Namespace, pod, container -> what it has printed; None where there is none."""
Connect = Callable[[str, str, int], Socket]
"""Namespace, pod, port -> a connection. Raises `OSError`."""


class Kubelets:
    """Serves for every node at the Unix socket `place`, for a `with` statement.

    `logs` and `connect` say what runs; until they are given nothing does.
    """

    logs: Logs
    connect: Connect

    def __init__(self, place: Path) -> None:
        self.place = place
        self.logs, self.connect = _no_log, _no_connection
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._log)
        app.router.add_route("*", "/portForward/{namespace}/{pod}", self._forward)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self._loop.run_until_complete(runner.setup())
        context = _context(self.place.parent)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        self._loop.run_until_complete(site.start())
        self._port = runner.addresses[0][1]
        proxy = self._loop.run_until_complete(
            asyncio.start_unix_server(self._proxy, str(self.place))
        )
        self._started.set()
        self._loop.run_forever()
        proxy.close()
        self._loop.run_until_complete(runner.cleanup())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer `CONNECT NODE:PORT`, whichever node it is."""
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"CONNECT "):
            writer.close()
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, outer), _copy(inner, writer))

    async def _log(self, request: web.Request) -> web.Response:
        where = request.match_info
        text = self.logs(where["namespace"], where["pod"], where["container"])
        if text is None:
            return web.Response(status=400, text=f"container {where['container']} has not begun")
        return web.Response(text=text)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        where, port = request.match_info, int(request.query["port"].split(",")[0])
        ws = web.WebSocketResponse(protocols=(_PROTOCOL,))
        await ws.prepare(request)
        for channel in (0, 1):
            await ws.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
        try:
            made = await asyncio.to_thread(self.connect, where["namespace"], where["pod"], port)
        except OSError as error:
            await ws.send_bytes(b"\1" + str(error).encode())
            await ws.close()
            return ws
        made.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=made)

        async def down() -> None:
            with suppress(ConnectionError):
                while data := await reader.read(_PIECE_BYTES):
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


def _no_log(_namespace: str, _pod: str, _container: str) -> None:
    return None


def _no_connection(_namespace: str, pod: str, _port: int) -> Socket:
    raise ConnectionRefusedError(f"pod {pod} does not run")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def _context(folder: Path) -> ssl.SSLContext:
    """Return a server's context with a certificate that signs itself, as a kubelet's does."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubelet")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    file = folder / "kubelet.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
