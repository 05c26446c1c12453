"""A large object sent to Google Cloud Storage by a resumable upload, across processes.

A session's URL takes the bytes: `PUT` with `Content-Range: bytes A-B/SIZE`, parts of multiples of
256 KiB; 308 says how far it is by `Range: bytes=0-LAST`, and is the answer to `bytes */SIZE` too;
200 or 201 is the object; 404 and 410 end the session, which lives a week. (As Google documents
"resumable uploads" of the JSON API.)
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import requests

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import RegistryFault, Report
from scripts.model_registry.gcs_client import TIMEOUT_SECONDS, faults, refused, write_faults
from scripts.model_registry.gcs_types import Blob
from scripts.model_registry.sending import FileChanged, parts
from scripts.model_registry.uploads import Uploads
from scripts.models.progress import Progress

UNIT_BYTES = 256 * 1024
PART_BYTES = 64 * UNIT_BYTES
_RANGE = re.compile(r"bytes=0-(\d+)")


@dataclass(frozen=True)
class _Answer:
    """How many bytes Google has; the object, once it has all."""

    there: int
    stored: Mapping[str, object] | None


class ResumableUpload:
    """An upload as one object, whose session is noted on this machine."""

    def __init__(
        self,
        url: RegistryUrl,
        blob: Blob,
        *,
        uploads: Uploads,
        part_bytes: int,
        report: Report,
        own_identity: bool,
    ) -> None:
        self._url = url
        self._blob = blob
        self._uploads = uploads
        self._part_bytes = part_bytes
        self._report = report
        self._own_identity = own_identity

    def send(self, path: Path, sha256: str) -> str:
        """Send the file and return its generation.

        Raises `RegistryFault`. What was sent before a fault stays with Google, and the next call
        goes on with it.
        """
        with requests.Session() as http:
            # The session's URL is all that is needed; ~/.netrc is not asked for more.
            http.auth = _leave_as_is
            session = self._uploads.recall(str(self._url), self._blob.name, sha256)
            size = path.stat().st_size
            if session is None:
                session = self._begin(size, sha256)
                answer = _Answer(0, None)
            else:
                answer = self._put(http, session, b"", f"bytes */{size}", sha256)
            try:
                stored, md5 = self._send(http, session, answer, path, sha256)
            except FileChanged:
                self._forget(sha256)
                with suppress(requests.RequestException):
                    http.delete(session, timeout=TIMEOUT_SECONDS)
                raise
        self._forget(sha256)
        if stored.get("md5Hash") not in {None, md5}:
            # It claims the digest that the next try would trust.
            with suppress(RegistryFault), self._faults():
                self._blob.delete(timeout=TIMEOUT_SECONDS, retry=None)
            raise self._fault("has other bytes than were sent")
        return str(stored.get("generation"))

    def _begin(self, size: int, sha256: str) -> str:
        with write_faults(self._url, self._blob.name, own_identity=self._own_identity):
            session = self._blob.create_resumable_upload_session(
                content_type="application/octet-stream",
                size=size,
                timeout=TIMEOUT_SECONDS,
                checksum=None,
                retry=None,
            )
        self._uploads.note(str(self._url), self._blob.name, sha256, session)
        return session

    def _send(
        self, http: requests.Session, session: str, answer: _Answer, path: Path, sha256: str
    ) -> tuple[Mapping[str, object], str]:
        """Send what is missing; return the object, and the MD5 of the whole file in base64."""
        size = path.stat().st_size
        md5 = hashlib.md5(usedforsecurity=False)
        progress = Progress("sending", path.name, size, self._report)
        end = 0
        for data in parts(path, sha256, self._part_bytes):
            md5.update(data)
            start, end = end, end + len(data)
            # Google may keep less of a part than it was sent.
            while answer.stored is None and answer.there < end:
                before = answer.there
                rest = data[before - start :]
                answer = self._put(http, session, rest, f"bytes {before}-{end - 1}/{size}", sha256)
                if answer.stored is None and answer.there <= before:
                    raise self._fault(f"took none of {len(rest)} bytes")
            progress.add(len(data))
        if answer.stored is None:
            raise self._fault("did not end the upload")
        return answer.stored, base64.b64encode(md5.digest()).decode()

    def _put(
        self, http: requests.Session, session: str, data: bytes, content_range: str, sha256: str
    ) -> _Answer:
        headers = {"Content-Range": content_range}
        with self._faults():
            answer = http.put(session, data=data, headers=headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code == 308:
            seen = _RANGE.fullmatch(answer.headers.get("Range", ""))
            return _Answer(int(seen[1]) + 1 if seen else 0, None)
        if answer.status_code in {200, 201}:
            with suppress(ValueError):
                stored: object = answer.json()
                if isinstance(stored, dict):
                    return _Answer(0, cast(dict[str, object], stored))
            raise self._fault("answered with something that is no object")
        if answer.status_code in {404, 410}:
            self._forget(sha256)
            raise self._fault("ended the upload that was begun")
        raise refused(
            self._url, self._blob.name, answer.status_code, own_identity=self._own_identity
        )

    def _faults(self) -> AbstractContextManager[None]:
        return faults(self._url, self._blob.name, own_identity=self._own_identity)

    def _forget(self, sha256: str) -> None:
        self._uploads.forget(str(self._url), self._blob.name, sha256)

    def _fault(self, what: str) -> RegistryFault:
        return RegistryFault(
            f"{self._blob.name} in gs://{self._url.bucket}: Google {what}\n"
            "next: run it again, which goes on from where it was",
            lasting=False,
        )


def _leave_as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
