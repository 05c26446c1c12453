"""Google's metadata server, Secret Manager and group resizing, on 127.0.0.1 in this process.

Faults are scripted: each waits for a request whose path has its text, and is used up by it.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from machine.google import Google, crc32c

PROJECT = "a-project"
ZONE = "europe-west4-a"
ADDRESS = "203.0.113.10"
TOKEN = "ya29.the-token-of-the-machine"


@dataclass
class Fault:
    """What one request meets: a status with a Google error, a body, or a redirect."""

    path: str
    status: int = 200
    message: str = ""
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class FakeGoogle:
    """Holds `secrets` by name; `resized` are the groups that were set to a size."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}
        self.resized: list[tuple[str, int]] = []
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.checksums = True
        self.flavour = True
        self.address: str | None = ADDRESS
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def client(self) -> Google:
        return Google(
            metadata_url=f"{self.url}/computeMetadata/v1",
            secrets_url=f"{self.url}/secrets/v1",
            compute_url=f"{self.url}/compute/v1",
            seconds=5.0,
        )

    def put(self, name: str, content: object) -> None:
        self.secrets[name] = json.dumps(content).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault_for(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.path in path:
                self.faults.remove(fault)
                return fault
        return None

    def metadata(self, path: str) -> str | None:
        return {
            "project/project-id": PROJECT,
            "instance/zone": f"projects/123456/zones/{ZONE}",
            "instance/network-interfaces/0/access-configs/0/external-ip": self.address,
            "instance/service-accounts/default/token": json.dumps(
                {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
            ),
        }.get(path)


def _handler(google: FakeGoogle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.route()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.route()

        def route(self) -> None:
            google.seen.append(Seen(self.command, self.path, dict(self.headers)))
            fault = google.fault_for(self.path)
            if fault is not None and fault.body is not None:
                self.answer(fault.status, fault.body, fault.headers)
            elif fault is not None:
                self.error(fault.status, fault.message, fault.headers)
            elif self.path.startswith("/computeMetadata/v1/"):
                self.metadata(self.path.removeprefix("/computeMetadata/v1/"))
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.error(401, "Request had invalid authentication credentials.")
            elif self.path.startswith("/secrets/v1/"):
                self.secret()
            elif self.path.startswith("/compute/v1/") and self.command == "POST":
                self.resize()
            else:
                self.error(404, "Not found.")

        def metadata(self, path: str) -> None:
            if self.headers.get("Metadata-Flavor") != "Google":
                self.answer(403, b"Missing Metadata-Flavor:Google header.", {})
                return
            text = google.metadata(path)
            flavour = {"Metadata-Flavor": "Google"} if google.flavour else {}
            self.answer(404 if text is None else 200, (text or "").encode(), flavour)

        def secret(self) -> None:
            name = self.path.split("/")[-3]
            place = f"/secrets/v1/projects/{PROJECT}/secrets/{name}/versions/latest:access"
            if self.path != place or name not in google.secrets:
                self.error(404, f"Secret [projects/1/secrets/{name}] not found.")
                return
            data = google.secrets[name]
            payload = {"data": base64.b64encode(data).decode()}
            if google.checksums:
                payload["dataCrc32c"] = str(crc32c(data))
            version = f"projects/1/secrets/{name}/versions/1"
            self.answer(200, json.dumps({"name": version, "payload": payload}).encode(), {})

        def resize(self) -> None:
            path, _, query = self.path.partition("?")
            group = path.split("/")[-2]
            groups = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instanceGroupManagers"
            if path != f"{groups}/{group}/resize" or not query.startswith("size="):
                self.error(404, "The resource was not found.")
                return
            google.resized.append((group, int(query.removeprefix("size="))))
            self.answer(200, b'{"kind": "compute#operation", "status": "RUNNING"}', {})

        def error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
            content = {"error": {"code": status, "message": message}}
            self.answer(status, json.dumps(content).encode(), headers or {})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler
