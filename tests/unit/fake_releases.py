"""A web server on this machine that publishes files as Pulumi's releases do, or misbehaves."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class FakeReleases:
    """`files` by name. `cut_after` names how many bytes of a file come before the line breaks.

    `requests` has the name of each file asked for and the byte at which the answer began.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def publish(self, name: str, content: bytes, checksums: str, listed: str | None = None) -> None:
        """Publish a file and its line in the list `checksums`."""
        digest = listed or hashlib.sha256(content).hexdigest()
        self.files[name] = content
        self.files[checksums] = self.files.get(checksums, b"") + f"{digest}  {name}\n".encode()


@contextmanager
def fake_releases() -> Iterator[FakeReleases]:
    """Serve on 127.0.0.1, on a free port, while the block runs."""
    releases = FakeReleases()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path).removeprefix("/")
            status = releases.statuses.get(name, 200)
            content = releases.files.get(name)
            if status != 200 or content is None:
                self.send_error(404 if status == 200 else status)
                return
            began = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])
            releases.requests.append((name, began))
            if began and began >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if began else 200)
            self.send_header("Content-Length", str(len(content) - began))
            self.end_headers()
            cut = releases.cut_after.pop(name, None)
            self.wfile.write(content[began:cut])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    releases.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield releases
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def archive_of(programs: Mapping[str, str]) -> bytes:
    """Return a .tar.gz of the programs in one folder, `pulumi`, as a release packs them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in programs.items():
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()
