"""Who uses a runtime from a browser: Jupyter's own API, through a port-forward to the door."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
import websocket

from components.rendering.kubernetes.colab.names import ORIGIN

_SECONDS = 60.0


@dataclass(frozen=True)
class Notebook:
    """A notebook of Colab's website, with the runtime on `port` of 127.0.0.1."""

    port: int
    token: str
    origin: str = ORIGIN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        given: Mapping[str, str] = more.pop("headers", {})
        own = {"Origin": self.origin, "Authorization": f"token {self.token}"}
        return requests.request(
            method, f"{self.url}{path}", headers={**own, **given}, timeout=_SECONDS, **more
        )

    def write(self, path: str, content: bytes) -> None:
        """Put a file below /content, as an upload."""
        body = {
            "type": "file",
            "format": "base64",
            "content": base64.b64encode(content).decode(),
        }
        made = self.ask("PUT", f"/api/contents/content/{path}", json=body)
        assert made.status_code in (200, 201), made.text

    def read(self, path: str) -> bytes:
        found = self.ask("GET", f"/api/contents/content/{path}", params={"format": "base64"})
        assert found.status_code == 200, found.text
        return base64.b64decode(found.json()["content"])

    def run(self, code: str) -> str:
        """Return what `code` prints in a kernel of its own."""
        made = self.ask("POST", "/api/kernels", json={"name": "python3"})
        assert made.status_code == 201, made.text
        kernel = made.json()["id"]
        try:
            return self._run(kernel, code)
        finally:
            self.ask("DELETE", f"/api/kernels/{kernel}")

    def channel(self, kernel: str) -> websocket.WebSocket:
        """Return a kernel's websocket. Raises `WebSocketException` where it is refused."""
        return websocket.create_connection(
            f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels?token={self.token}",
            origin=self.origin,
            timeout=_SECONDS,
        )

    def _run(self, kernel: str, code: str) -> str:
        session = uuid.uuid4().hex
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "username": "",
            "session": session,
            "version": "5.3",
        }
        request = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "stop_on_error": True},
            "channel": "shell",
        }
        printed: list[str] = []
        channel = self.channel(kernel)
        try:
            channel.send(json.dumps(request))
            while True:
                message = json.loads(channel.recv())
                if message["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                content = message["content"]
                if message["msg_type"] == "stream":
                    printed.append(content["text"])
                elif message["msg_type"] == "error":
                    raise AssertionError("\n".join(content["traceback"]))
                elif message["msg_type"] == "execute_reply":
                    assert content["status"] == "ok", content
                elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                    return "".join(printed)
        finally:
            channel.close()
