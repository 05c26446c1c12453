"""Pulumi Cloud on 127.0.0.1: as much of its API as a stack's export and import ask for.

Paths and fields as in Pulumi 3.210, pkg/backend/httpstate/client.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OWNER = "ann"
_MASK = 0x5A


class FakePulumiCloud:
    """Stacks by `ORG/PROJECT/STACK`, each with its deployment. `token` lets in."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.stacks: dict[str, dict[str, Any]] = {}
        fake = self

        class Handler(_Handler):
            cloud = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cloud: FakePulumiCloud

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer_to("GET", {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._answer_to("POST", json.loads(body or b"{}"))

    def _answer_to(self, method: str, body: dict[str, Any]) -> None:
        if self.headers.get("Authorization") != f"token {self.cloud.token}":
            self._send(401, {"code": 401, "message": "Unauthorized"})
            return
        path = self.path.partition("?")[0]
        found = re.fullmatch(r"/api/stacks/([^/]+/[^/]+/[^/]+)(?:/(.+))?", path)
        if path == "/api/user":
            self._send(200, {"githubLogin": OWNER, "organizations": []})
        elif method == "POST" and (made := re.fullmatch(r"/api/stacks/([^/]+/[^/]+)", path)):
            name = f"{made[1]}/{body['stackName']}"
            self.cloud.stacks[name] = body.get("state") or {"version": 3, "deployment": {}}
            self._send(200, {})
        elif found is None or found[1] not in self.cloud.stacks:
            self._send(404, {"code": 404, "message": "Not Found"})
        else:
            self._send(200, self._of_stack(found[1], found[2] or "", body))

    def _of_stack(self, name: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        match verb:
            case "":
                owner, project, stack = name.split("/")
                return {"orgName": owner, "projectName": project, "stackName": stack, "tags": {}}
            case "export":
                return self.cloud.stacks[name]
            case "import":
                self.cloud.stacks[name] = body
                return {"updateId": "1"}
            case "encrypt":
                return {"ciphertext": _turned(body["plaintext"])}
            case "decrypt":
                return {"plaintext": _turned(body["ciphertext"])}
            case "batch-encrypt":
                return {"ciphertexts": [_turned(one) for one in body["plaintexts"]]}
            case "batch-decrypt":
                return {"plaintexts": {one: _turned(one) for one in body["ciphertexts"]}}
            case _:
                return {"status": "succeeded", "events": [], "updates": []}

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _turned(text: str) -> str:
    """Encrypt, or decrypt again, what came as base64."""
    return base64.b64encode(bytes(one ^ _MASK for one in base64.b64decode(text))).decode()
