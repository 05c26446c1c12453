"""The Google APIs that the deployer asks, on a free port of 127.0.0.1: answers as scripted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "ya29.the-token-of-the-test"


@dataclass(frozen=True)
class Asked:
    """One request: `query` has the values of each name."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


Reply = tuple[int, Any]
Script = Reply | Callable[[Asked], Reply]


def refusal(status: int, message: str, reason: str = "") -> Reply:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    return status, {"error": {"code": status, "message": message, "details": details}}


@dataclass
class FakeApis:
    """For a `with` statement. `on` scripts `SERVICE/v1/PATH`; all else is 404."""

    scripts: dict[str, Script] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads the scripts here."""
        return {"LLM_ENDPOINT_GOOGLE_API": self.url, "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}

    def on(self, path: str, script: Script) -> None:
        self.scripts[f"/{path}"] = script

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Request had invalid authentication credentials.")
        script = self.scripts.get(asked.path, refusal(404, f"{asked.path} was not found"))
        return script if isinstance(script, tuple) else script(asked)


def _handler(google: FakeApis) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            status, content = google.answer(
                Asked(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=json.loads(body) if body else None,
                )
            )
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
