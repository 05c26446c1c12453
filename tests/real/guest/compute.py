"""Compute Engine as the deployer meets it: VMs that are made, started, stopped and looked at.

The stand-in for the gcp plugin gives the orders (`machine_orders`); the REST API is what
`scripts.gcp` asks, at `LLM_ENDPOINT_GOOGLE_API`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SOCK_STREAM
from urllib.parse import parse_qs, urlsplit

from machine_orders import Orders

from components.rendering.machine.plan import CACHE_DISK
from guest.cloud import Cloud
from guest.machine import Machine

PORT = 8123
_OFF_SECONDS = 120


class Compute:
    """One VM at a time, as a guest of `cloud`; a new one finds `disk_content` on its disk."""

    def __init__(self, cloud: Cloud, disk_content: Path | None) -> None:
        self.machine: Machine | None = None
        self.made = 0
        self._cloud = cloud
        self._disk_content = disk_content
        self._instance: Mapping[str, object] = {}
        self._stopped = self._started = ""
        self._orders = Orders(cloud.folder / "orders.sock", self.order)
        listening = cloud.network.listen("127.0.0.1", PORT, SOCK_STREAM)
        api = ThreadingHTTPServer(listening.getsockname(), self._api(), False)
        api.socket.close()
        api.socket = listening
        self._server = api
        threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def program(self) -> list[str]:
        """The program that runs machines, for the plugin."""
        return self._orders.program

    @property
    def variables(self) -> dict[str, str]:
        """What the deployer's environment needs to ask this API."""
        return {
            "LLM_ENDPOINT_GOOGLE_API": f"http://127.0.0.1:{PORT}",
            "GOOGLE_OAUTH_ACCESS_TOKEN": "a-token-of-the-deployers",
        }

    def close(self) -> None:
        self._orders.close()
        self._server.shutdown()
        self._server.server_close()
        if self.machine is not None:
            self.machine.close()

    def order(self, action: str, instance: Mapping[str, object]) -> str:
        """Carry out what the plugin orders, and return what it is told."""
        if action == "create":
            assert self.machine is None, "there is a machine already"
            metadata = instance["metadata"]
            assert isinstance(metadata, Mapping)
            self._instance = instance
            self._cloud.google.attributes.clear()
            self._cloud.google.attributes.update({str(k): str(v) for k, v in metadata.items()})
            self.machine = self._cloud.machine(
                metadata["user-data"], metadata["startup-script"], CACHE_DISK, self._disk_content
            )
            self.made += 1
        machine = self.machine
        assert machine is not None
        if action in ("create", "start"):
            machine.start()
            self._started = _now()
        elif action == "stop":
            machine.run("systemctl", "--no-block", "poweroff")
            machine.wait_for_end(_OFF_SECONDS)
        elif action == "delete":
            machine.close()
            self.machine = None
            return ""
        return self.status()

    def status(self) -> str:
        """Return the VM's status in Compute's words."""
        assert self.machine is not None
        if self.machine.is_on:
            return "RUNNING"
        if self._stopped <= self._started:
            self._stopped = _now()
        return "TERMINATED"

    def answer(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        """Answer the REST API's `instances.get` and `instances.getSerialPortOutput`."""
        if self.machine is None or "/instances/" not in path:
            return 404, {"error": {"code": 404, "message": "was not found"}}
        if path.endswith("/serialPort"):
            text = self.machine.console.read_bytes() if self.machine.console.exists() else b""
            start = int(query.get("start", ["0"])[0])
            contents = text[start:].decode(errors="replace")
            return 200, {"contents": contents, "start": str(start), "next": str(len(text))}
        return 200, {
            "id": str(self._instance.get("instanceId", "")),
            "status": self.status(),
            "lastStartTimestamp": self._started,
            "lastStopTimestamp": self._stopped,
        }

    def _api(self) -> type[BaseHTTPRequestHandler]:
        compute = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, content = compute.answer(parts.path, parse_qs(parts.query))
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _now() -> str:
    return datetime.now(UTC).isoformat()
