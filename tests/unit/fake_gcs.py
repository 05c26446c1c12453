"""Google Cloud Storage on 127.0.0.1: the part of its JSON API that a registry uses.

Objects keep their generations. A resumable upload keeps what came of a part in units of 256 KiB,
also when the connection breaks, as Google's does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

UNIT = 256 * 1024
PAGE = 2


@dataclass
class Object:
    name: str
    content: bytes
    generation: int
    metadata: dict[str, str]

    def resource(self) -> dict[str, Any]:
        md5 = base64.b64encode(hashlib.md5(self.content).digest()).decode()
        return {
            "kind": "storage#object",
            "name": self.name,
            "size": str(len(self.content)),
            "generation": str(self.generation),
            "metageneration": "1",
            "md5Hash": md5,
            "metadata": self.metadata,
        }


@dataclass
class Session:
    name: str
    metadata: dict[str, str]
    content: bytearray = field(default_factory=bytearray)
    done: Object | None = None


@dataclass
class Seen:
    """A request, and how many bytes of a body it brought."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    brought: int = 0


class FakeGcs:
    """One bucket, which `made` says is there from the start; else the next that is made is it.

    `tokens` None lets everybody in; `denied` answers 403 to all.
    """

    def __init__(self, bucket: str = "models", *, made: bool = True) -> None:
        self.bucket = bucket
        self.made = made
        self.objects: dict[str, list[Object]] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: set[str] | None = None
        self.denied = False
        self.statuses: list[int] = []
        self.seen: list[Seen] = []
        self._generation = 1_700_000_000_000_000
        self._lock = threading.Lock()
        fake = self

        class Handler(_Handler):
            gcs = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, content: bytes, metadata: dict[str, str] | None = None) -> Object:
        with self._lock:
            self._generation += 1
            made = Object(name, content, self._generation, metadata or {})
            self.objects.setdefault(name, []).append(made)
            return made

    def newest(self, name: str) -> Object | None:
        versions = self.objects.get(name)
        return versions[-1] if versions else None

    def find(self, name: str, generation: str | None) -> Object | None:
        if generation is None:
            return self.newest(name)
        versions = self.objects.get(name, [])
        return next((one for one in versions if str(one.generation) == generation), None)

    def delete(self, name: str, generation: str | None = None) -> bool:
        """Delete an object with all its generations, or one of them."""
        found = self.find(name, generation)
        if found is None:
            return False
        left = [one for one in self.objects.pop(name) if generation and one is not found]
        if left:
            self.objects[name] = left
        return True

    def requests(self, method: str, part: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and part in seen.path]


class _Handler(BaseHTTPRequestHandler):
    gcs: FakeGcs
    protocol_version = "HTTP/1.1"
    # An answer goes in one piece: in two, the second waits for the other side's word of the first.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def _begin(self) -> Seen:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        seen = Seen(self.command, parts.path, query, dict(self.headers))
        self.gcs.seen.append(seen)
        return seen

    def _body(self, seen: Seen) -> bytes:
        """Read a body, or what comes of it."""
        left = int(self.headers.get("Content-Length") or 0)
        data = bytearray()
        while left > 0:
            try:
                chunk = self.rfile.read1(min(left, 65536))
            except OSError:
                break
            if not chunk:
                break
            data += chunk
            left -= len(chunk)
        seen.brought = len(data)
        if left:
            self.close_connection = True
        return bytes(data)

    def _answer(
        self, status: int, body: bytes | dict[str, Any] = b"", headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refused(self, seen: Seen, bucket: str | None) -> bool:
        status = None
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.gcs.statuses:
            status = self.gcs.statuses.pop(0)
        elif self.gcs.tokens is not None and given not in self.gcs.tokens:
            status = 401
        elif self.gcs.denied:
            status = 403
        elif bucket is not None and not (self.gcs.made and bucket == self.gcs.bucket):
            status = 404
        if status is None:
            return False
        self._body(seen)
        self._answer(status, {"error": {"code": status, "message": f"refused {given}"}})
        return True

    def do_GET(self) -> None:
        seen = self._begin()
        listing = re.fullmatch(r"/storage/v1/b/([^/]+)/o", seen.path)
        one = re.fullmatch(r"(/download)?/storage/v1/b/([^/]+)/o/(.+)", seen.path)
        if listing:
            if not self._refused(seen, listing[1]):
                self._list(seen)
        elif one is None:
            self._answer(500, {"error": {"code": 500, "message": f"not faked: {seen.path}"}})
        elif not self._refused(seen, one[2]):
            found = self.gcs.find(unquote(one[3]), seen.query.get("generation"))
            if found is None:
                self._answer(404, {"error": {"code": 404, "message": "No such object"}})
            elif one[1] or seen.query.get("alt") == "media":
                self._media(found)
            else:
                self._answer(200, found.resource())

    def _list(self, seen: Seen) -> None:
        prefix = seen.query.get("prefix", "")
        found: list[Object] = []
        for name in sorted(name for name in self.gcs.objects if name.startswith(prefix)):
            versions = self.gcs.objects[name]
            found += versions if seen.query.get("versions") == "true" else versions[-1:]
        start = int(seen.query.get("pageToken", "0"))
        page: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [one.resource() for one in found[start:][:PAGE]],
        }
        if start + PAGE < len(found):
            page["nextPageToken"] = str(start + PAGE)
        self._answer(200, page)

    def _media(self, found: Object) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        size = len(found.content)
        if wanted is None:
            self._answer(200, found.content)
            return
        start = int(wanted[1])
        end = min(int(wanted[2] or size - 1), size - 1)
        if start >= size:
            self._answer(416)
            return
        headers = {"Content-Range": f"bytes {start}-{end}/{size}"}
        self._answer(206, found.content[start : end + 1], headers)

    def do_POST(self) -> None:
        seen = self._begin()
        upload = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", seen.path)
        if seen.path == "/storage/v1/b":
            self._make(seen)
            return
        if upload is None:
            self._body(seen)
            self._answer(400, {"error": "invalid_grant"})
            return
        if self._refused(seen, upload[1]):
            return
        body = self._body(seen)
        if seen.query["uploadType"] == "resumable":
            record = json.loads(body)
            key = f"session-{len(self.gcs.sessions) + 1}"
            self.gcs.sessions[key] = Session(record["name"], record.get("metadata", {}))
            place = f"http://{self.headers['Host']}/upload/{key}"
            self._answer(200, headers={"Location": place})
            return
        boundary = re.search(r'boundary="?([^";]+)"?', self.headers["Content-Type"])
        assert boundary is not None
        first, second = body.split(b"--" + boundary[1].encode())[1:3]
        record = json.loads(first.split(b"\r\n\r\n", 1)[1])
        content = second.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        if seen.query.get("ifGenerationMatch") == "0" and self.gcs.newest(record["name"]):
            self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
            return
        made = self.gcs.put(record["name"], content, record.get("metadata"))
        self._answer(200, made.resource())

    def _make(self, seen: Seen) -> None:
        name = json.loads(self._body(seen))["name"]
        if self.gcs.made:
            self._answer(409, {"error": {"code": 409, "message": "it is there"}})
            return
        self.gcs.bucket, self.gcs.made = name, True
        self._answer(200, {"kind": "storage#bucket", "name": name})

    def do_PUT(self) -> None:
        seen = self._begin()
        session = self.gcs.sessions.get(seen.path.removeprefix("/upload/"))
        if self.gcs.statuses:
            self._refused(seen, None)
            return
        body = self._body(seen)
        if session is None:
            self._answer(404)
            return
        wanted = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", self.headers["Content-Range"])
        assert wanted is not None
        size = int(wanted[3])
        if wanted[1] is not None and session.done is None:
            assert int(wanted[1]) == len(session.content), "a gap, or bytes sent twice"
            last = int(wanted[2]) == size - 1 and int(wanted[1]) + len(body) == size
            assert last or (int(wanted[2]) + 1) % UNIT == 0
            session.content += body if last else body[: len(body) // UNIT * UNIT]
        if session.done is None and len(session.content) == size:
            session.done = self.gcs.put(session.name, bytes(session.content), session.metadata)
        if session.done is not None:
            self._answer(200, session.done.resource())
        elif session.content:
            self._answer(308, headers={"Range": f"bytes=0-{len(session.content) - 1}"})
        else:
            self._answer(308)

    def do_DELETE(self) -> None:
        seen = self._begin()
        self._body(seen)
        if seen.path.startswith("/upload/"):
            self.gcs.sessions.pop(seen.path.removeprefix("/upload/"), None)
            self._answer(499)
            return
        one = re.fullmatch(r"/storage/v1/b/([^/]+)(?:/o/(.+))?", seen.path)
        if one is None or self._refused(seen, one[1]):
            return
        if one[2] is not None:
            there = self.gcs.delete(unquote(one[2]), seen.query.get("generation"))
            self._answer(204) if there else self._answer(404, {"error": {"code": 404}})
        elif self.gcs.objects:
            self._answer(409, {"error": {"code": 409, "message": "it is not empty"}})
        else:
            self.gcs.made = False
            self._answer(204)
