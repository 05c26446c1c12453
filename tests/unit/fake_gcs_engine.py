"""Google Cloud Storage as Pulumi's engine asks it: what `fake_gcs` has, and what Go's client adds.

That reads objects by Google's older API (`GET /BUCKET/OBJECT`) and copies them at the server.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from fake_gcs import FakeGcs


class EngineGcs(FakeGcs):
    """One bucket, for the registry's client and the engine's alike."""

    def __init__(self, bucket: str) -> None:
        super().__init__(bucket)
        fake, base = self, self._server.RequestHandlerClass

        class Handler(base):  # type: ignore[misc,valid-type]
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                one = re.fullmatch(rf"/{re.escape(fake.bucket)}/(.+)", path)
                if one is None:
                    super().do_GET()
                    return
                self._begin()
                found = fake.newest(unquote(one[1]))
                if found is None:
                    self._answer(404, b"")
                    return
                headers = {"X-Goog-Generation": str(found.generation)}
                self._answer(200, found.content, {**headers, "Content-Type": "application/json"})

            @contextmanager
            def _whole_body(self) -> Iterator[None]:
                """Give a body that comes in chunks as one of a known length."""
                if self.headers.get("Transfer-Encoding") != "chunked":
                    yield
                    return
                body = bytearray()
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                self.headers["Content-Length"] = str(len(body))
                coming, self.rfile = self.rfile, io.BytesIO(body)
                try:
                    yield
                finally:
                    self.rfile = coming

            def do_POST(self) -> None:
                path = urlsplit(self.path).path
                copied = re.fullmatch(r"/storage/v1/b/[^/]+/o/(.+)/rewriteTo/b/[^/]+/o/(.+)", path)
                if copied is None:
                    with self._whole_body():
                        super().do_POST()
                    return
                self._body(self._begin())
                found = fake.newest(unquote(copied[1]))
                if found is None:
                    self._answer(404, {"error": {"code": 404, "message": "No such object"}})
                    return
                made = fake.put(unquote(copied[2]), found.content, found.metadata)
                size = str(len(made.content))
                answer = {"objectSize": size, "totalBytesRewritten": size, "done": True}
                self._answer(200, {**answer, "resource": made.resource()})

        self._server.RequestHandlerClass = Handler
