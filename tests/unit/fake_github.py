"""GitHub's REST API for comments and issues, on a free port of 127.0.0.1."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_the-token-of-the-test"
REPOSITORY = "octo/llm-endpoint"
BOT = "github-actions[bot]"
MOST_CHARACTERS = 65_536


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeGitHub:
    """One repository, for a `with` statement. `faults` are statuses that the next requests get."""

    issues: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
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
        """What a workflow's step would have."""
        return {
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "77",
            "GH_TOKEN": TOKEN,
        }

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(asked.method, asked.path) for asked in self.asked if asked.method != "GET"]

    def has_comment(self, issue: int, body: str, login: str = BOT) -> int:
        """Let a comment be there, and return its id."""
        there = self.comments.setdefault(issue, [])
        number = 1000 * issue + len(there)
        there.append({"id": number, "user": {"login": login}, "body": body})
        return number

    def has_issue(self, body: str, login: str = BOT, **more: Any) -> int:
        """Let an open issue be there, and return its number."""
        number = len(self.issues) + 1
        entry = {"number": number, "user": {"login": login}, "body": body, "state": "open", **more}
        self.issues.append(entry)
        return number

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}
        if self.faults:
            status = self.faults.pop(0)
            return status, {"message": f"the fault {status}"}
        begin = f"/repos/{REPOSITORY}/issues"
        if not asked.path.startswith(begin):
            return 404, {"message": "Not Found"}
        if isinstance(asked.body, dict) and len(asked.body.get("body", "")) > MOST_CHARACTERS:
            return 422, {"message": f"body is too long (maximum is {MOST_CHARACTERS} characters)"}
        match (asked.method, *asked.path.removeprefix(begin).strip("/").split("/")):
            case ("GET", ""):
                wanted = asked.query.get("state", ["open"])[0]
                return 200, self._page([i for i in self.issues if i["state"] == wanted], asked)
            case ("POST", ""):
                return 201, {"number": self.has_issue(**asked.body)}
            case ("PATCH", "comments", number):
                found = next(
                    one for all_ in self.comments.values() for one in all_
                    if one["id"] == int(number)
                )  # fmt: skip
                found.update(asked.body)
                return 200, found
            case ("PATCH", number):
                found = next(one for one in self.issues if one["number"] == int(number))
                found.update(asked.body)
                return 200, found
            case ("GET", number, "comments"):
                return 200, self._page(self.comments.get(int(number), []), asked)
            case ("POST", number, "comments"):
                return 201, {"id": self.has_comment(int(number), asked.body["body"])}
        return 404, {"message": "Not Found"}

    def _page(self, entries: list[Any], asked: Asked) -> list[Any]:
        size, page = (int(asked.query.get(name, ["30"])[0]) for name in ("per_page", "page"))
        return entries[(page - 1) * size : page * size]


def _handler(github: FakeGitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = github.answer(
                Asked(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=json.loads(body) if body else None,
                )
            )
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _any

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler
