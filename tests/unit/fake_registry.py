"""A container registry on a free port of 127.0.0.1, which wants an anonymous token as real ones."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
TOKEN = "an-anonymous-token"


@dataclass
class FakeRegistry:
    """For a `with` statement. `tags` has the manifest of each `REPOSITORY:TAG`.

    `token` None: it wants none. `broken` is the status that every manifest answers with, and
    `digest_header` what a manifest is said to have instead of its own digest.
    """

    tags: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    token: str | None = TOKEN
    realm: str | None = None
    kind: str = INDEX
    broken: int | None = None
    digest_header: str | None = None

    def publish(self, name: str) -> str:
        """Publish an index under `REPOSITORY:TAG` and return its digest."""
        content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "of": name}).encode()
        self.tags[name] = content
        return f"sha256:{hashlib.sha256(content).hexdigest()}"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.asked.append(self.path)
            parts = urlsplit(self.path)
            if parts.path == "/token":
                query = parse_qs(parts.query)
                right = query["service"] == ["a-registry"] and query["scope"][0].startswith(
                    "repository:"
                )
                self._send(200 if right else 400, json.dumps({"token": registry.token}).encode())
                return
            registry.accepted.append(self.headers.get("Accept", ""))
            repository, _, tag = parts.path.removeprefix("/v2/").partition("/manifests/")
            given = self.headers.get("Authorization")
            if registry.token is not None and given != f"Bearer {registry.token}":
                realm = registry.realm or f"http://{registry.host}/token"
                self._send(
                    401,
                    b"{}",
                    {
                        "WWW-Authenticate": f'Bearer realm="{realm}",service="a-registry",'
                        f'scope="repository:{repository}:pull"'
                    },
                )
                return
            content = registry.tags.get(f"{repository}:{tag}")
            if registry.broken is not None or content is None:
                self._send(registry.broken or 404, b'{"errors": []}')
                return
            digest = registry.digest_header
            headers = {"Content-Type": registry.kind}
            self._send(
                200, content, headers | ({"Docker-Content-Digest": digest} if digest else {})
            )

        def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
