"""A Hugging Face hub on 127.0.0.1: the API's listing, LFS digests, and a store on another origin.

Faults are scripted: each waits for a request whose path has its text, and is used up by it.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE_ENTRIES = 2
LONGEST_HANG_SECONDS = 20


def gguf_bytes(seed: int, size: int = 700_000) -> bytes:
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Fault:
    """What one request meets instead of its answer, or to its answer.

    `status` answers with that, `headers` and `body`. `cut` ends the body after so many bytes,
    `hang` sends so many and then nothing, `silent` nothing at all. `damage` changes a byte.
    `ignore_range` answers 200.
    """

    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    hang: int | None = None
    damage: bool = False
    ignore_range: bool = False
    without_length: bool = False
    silent: bool = False


@dataclass(frozen=True)
class Seen:
    """A request as it came, and how many bytes of a body it got."""

    server: Literal["hub", "store"]
    path: str
    headers: dict[str, str]
    sent: int


class FakeHub:
    """Serves `repositories` (`owner/repo` to commits to files) and `plain` files by their path."""

    def __init__(self) -> None:
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.not_lfs: set[str] = set()
        self.without_oid: set[str] = set()
        self.gated: set[str] = set()
        self.plain: dict[str, bytes] = {}
        self.etags = True
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.hanging = threading.Event()
        self._let_go = threading.Event()
        self._guard = threading.Lock()
        self._servers = [self._serve("hub"), self._serve("store")]
        self.url, self.store_url = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )

    def let_go(self) -> None:
        """Cut off the connections that hang."""
        self._let_go.set()

    def close(self) -> None:
        self.let_go()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def put(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Commit `files` as all that `branch` of `repository` has; returns the commit."""
        text = repository + json.dumps({name: sha256(body) for name, body in files.items()})
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits.setdefault(repository, {})[commit] = files
        self.branches.setdefault(repository, {})[branch] = commit
        return commit

    def fetches(self, text: str = "/store/") -> list[Seen]:
        """Return the requests whose path has `text`."""
        return [seen for seen in self.seen if text in seen.path]

    def fault_for(self, path: str) -> Fault | None:
        with self._guard:
            for fault in self.faults:
                if fault.path in path:
                    self.faults.remove(fault)
                    return fault
        return None

    def hang(self) -> None:
        self.hanging.set()
        self._let_go.wait(LONGEST_HANG_SECONDS)

    def _serve(self, server: Literal["hub", "store"]) -> ThreadingHTTPServer:
        made = QuietServer(("127.0.0.1", 0), handler(self, server))
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, args=(0.005,), daemon=True).start()
        return made


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: clients here are killed, and break off, on purpose."""


def handler(hub: FakeHub, server: Literal["hub", "store"]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            fault = hub.fault_for(self.path)
            self.sent = 0
            try:
                if fault and fault.silent:
                    hub.hang()
                    self.close_connection = True
                elif fault and fault.status is not None:
                    self.answer(fault.status, fault.body, fault.headers)
                elif server == "store":
                    self.store(fault or Fault(""))
                elif self.path.startswith("/plain/"):
                    self.plain(fault or Fault(""))
                else:
                    self.hub(urlsplit(self.path))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
            hub.seen.append(Seen(server, self.path, dict(self.headers), self.sent))

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def error(self, status: int, code: str) -> None:
            self.answer(status, b'{"error": "no"}', {"X-Error-Code": code})

        def json(self, content: object, headers: dict[str, str] | None = None) -> None:
            self.answer(200, json.dumps(content).encode(), headers or {})

        def hub(self, url) -> None:
            names = [unquote(name) for name in url.path.strip("/").split("/")]
            if names[:2] == ["api", "models"] and len(names) == 2:
                self.json([])
                return
            api = names[:2] == ["api", "models"]
            repository = "/".join(names[2:4] if api else names[:2])
            if repository not in hub.commits:
                self.error(404 if "Authorization" in self.headers else 401, "RepoNotFound")
                return
            if repository in hub.gated:
                self.error(403 if "Authorization" in self.headers else 401, "GatedRepo")
                return
            action, revision, *rest = names[4:] if api else names[2:]
            branches = hub.branches[repository]
            commit = revision if revision in hub.commits[repository] else branches.get(revision)
            if commit is None:
                self.error(404, "RevisionNotFound")
            elif action == "revision":
                self.json({"id": repository, "sha": commit, "gated": False})
            elif action == "tree":
                self.tree(repository, commit, url)
            else:
                self.resolve(repository, commit, "/".join(rest))

        def tree(self, repository: str, commit: str, url) -> None:
            files = hub.commits[repository][commit]
            start = int(parse_qs(url.query).get("cursor", ["0"])[0])
            entries: list[dict] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "x"}]
            for path, body in sorted(files.items()):
                entry = {"type": "file", "oid": blob_id(body), "size": len(body), "path": path}
                if path not in hub.not_lfs and path.endswith((".gguf", ".safetensors")):
                    entry["lfs"] = {"oid": sha256(body), "size": len(body), "pointerSize": 134}
                    entry["oid"] = blob_id(b"pointer")
                elif path in hub.without_oid:
                    del entry["oid"]
                entries.append(entry)
            following = start + PAGE_ENTRIES
            link = f'<{hub.url}{url.path}?recursive=true&cursor={following}>; rel="next"'
            more = {"Link": link} if following < len(entries) else {}
            self.json(entries[start:following], more)

        def resolve(self, repository: str, commit: str, path: str) -> None:
            if path not in hub.commits[repository][commit]:
                self.error(404, "EntryNotFound")
                return
            place = f"{hub.store_url}/store/{repository}/{commit}/{quote(path)}"
            self.answer(302, b"", {"Location": f"{place}?X-Amz-Signature=a-signature"})

        def store(self, fault: Fault) -> None:
            _, _, owner, repo, commit, *rest = unquote(urlsplit(self.path).path).split("/")
            self.file(hub.commits[f"{owner}/{repo}"][commit]["/".join(rest)], fault)

        def plain(self, fault: Fault) -> None:
            content = hub.plain.get(unquote(urlsplit(self.path).path).removeprefix("/plain/"))
            if content is None:
                self.answer(404, b"", {})
            else:
                self.file(content, fault)

        def file(self, content: bytes, fault: Fault) -> None:
            etag = f'"{sha256(content)[:32]}"'
            total, start = len(content), 0
            if fault.damage:
                content = content[:-1] + bytes([content[-1] ^ 1])
            wanted = self.headers.get("Range")
            current = self.headers.get("If-Range", etag) == etag
            if wanted and current and not fault.ignore_range:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers = {"Content-Type": "application/octet-stream", **fault.headers}
            if hub.etags:
                headers["ETag"] = etag
            if start and start >= total:
                self.answer(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            if start:
                headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            self.send_response(206 if start else 200)
            if fault.without_length:
                self.close_connection = True
            else:
                headers["Content-Length"] = str(total - start)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.body(content[start:], fault)

        def body(self, content: bytes, fault: Fault) -> None:
            stop = next((n for n in (fault.cut, fault.hang) if n is not None), len(content))
            self.wfile.write(content[:stop])
            self.sent = stop
            if fault.hang is not None:
                hub.hang()
            if stop < len(content):
                self.close_connection = True

    return Handler
