"""The internet as a machine sees it: one server that answers by host, and a name server.

Every request is remembered. What no site answers is 404 and remembered too, and a name that no
site has does not exist, so nothing is fetched from where nobody thought of.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from guest.authority import Authority
from guest.namespace import INTERNET, METADATA, Network

_HANDSHAKE_SECONDS = 60
_CHUNK_BYTES = 1 << 20
_TYPE_A = 1
_FOUND, _NO_SUCH_NAME = 0x8180, 0x8183


@dataclass(frozen=True)
class Request:
    """`path` is unquoted and without its query; header names are in lower case."""

    method: str
    host: str
    path: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int = 200
    body: bytes | Path = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Site = Callable[[Request], Answer]


@dataclass(frozen=True)
class Seen:
    """A request as it was answered."""

    method: str
    host: str
    path: str
    status: int


class Internet:
    """Serves `sites` by their host names on ports 80 and 443, and resolves those names.

    `metadata` is what answers at the metadata server's address, whatever the host.
    """

    def __init__(
        self, network: Network, sites: Mapping[str, Site], metadata: Site, folder: Path
    ) -> None:
        self.sites = dict(sites)
        self.seen: list[Seen] = []
        self.authority = Authority(self.sites, folder)
        self._servers = [
            _Server(network.listen(INTERNET, 80, socket.SOCK_STREAM), self, None),
            _Server(network.listen(INTERNET, 443, socket.SOCK_STREAM), self, None, tls=True),
            _Server(network.listen(METADATA, 80, socket.SOCK_STREAM), self, metadata),
        ]
        self._names = network.listen(METADATA, 53, socket.SOCK_DGRAM)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._resolve, daemon=True).start()

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._names.close()

    def downloads(self) -> list[Seen]:
        """Return the requests to sites: all but the metadata server's and Google's APIs."""
        return [
            seen
            for seen in self.seen
            if not seen.host.endswith((".googleapis.com", ".google.internal"))
            and seen.host != METADATA
        ]

    def _resolve(self) -> None:
        while True:
            try:
                question, asker = self._names.recvfrom(1500)
            except OSError:
                return
            # Closed while a question was being answered, it is not asked any more.
            with contextlib.suppress(IndexError, struct.error, OSError):
                self._names.sendto(self._name_answer(question), asker)

    def _name_answer(self, question: bytes) -> bytes:
        labels: list[str] = []
        at = 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
        (kind,) = struct.unpack("!H", question[at + 1 : at + 3])
        asked = question[12 : at + 5]
        known = ".".join(labels).lower() in self.sites
        found = known and kind == _TYPE_A
        flags = _FOUND if known else _NO_SUCH_NAME
        answer = question[:2] + struct.pack("!HHHHH", flags, 1, int(found), 0, 0) + asked
        if found:
            address = socket.inet_aton(INTERNET)
            answer += struct.pack("!HHHIH", 0xC00C, _TYPE_A, 1, 60, 4) + address
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, listening: socket.socket, internet: Internet, site: Site | None, *, tls: bool = False
    ) -> None:
        super().__init__(listening.getsockname(), _handler(internet, site), False)
        self.socket.close()
        self.socket = listening
        self._context = internet.authority.context if tls else None

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        connection.settimeout(_HANDSHAKE_SECONDS)
        if self._context is not None:
            # The handshake is left to the connection's own thread.
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, *_: object) -> None:
        """Say nothing: guests are rebooted and killed in the middle of a request."""


def _handler(internet: Internet, site: Site | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            host = self.headers.get("Host", "").partition(":")[0].lower()
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Request(
                self.command,
                host,
                unquote(parts.path),
                self.path,
                parse_qs(parts.query),
                headers,
                body,
            )
            serve = site or internet.sites.get(host, _nobody)
            try:
                answer = serve(asked)
            except Exception as error:
                answer = Answer(500, f"the test's own site failed: {error!r}".encode())
            internet.seen.append(Seen(self.command, host, self.path, answer.status))
            self._send(answer)

        do_GET = do_POST = do_HEAD = answer

        def _send(self, answer: Answer) -> None:
            content = answer.body
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(size), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if isinstance(content, Path):
                with content.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile, _CHUNK_BYTES)
            else:
                self.wfile.write(content)

    return Handler


def _nobody(request: Request) -> Answer:
    return Answer(404, f"no site of the test is at {request.host}".encode())
