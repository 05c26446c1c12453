"""A bucket of Google Cloud Storage."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import (
    SHA256,
    MissingObject,
    RegistryFault,
    Report,
    Stored,
)
from scripts.model_registry.gcs_client import TIMEOUT_SECONDS, Gcs, faults, write_faults
from scripts.model_registry.gcs_types import Blob, BlobsOf
from scripts.model_registry.gcs_upload import PART_BYTES, ResumableUpload
from scripts.model_registry.sending import FileChanged
from scripts.model_registry.uploads import Uploads

_READ_BYTES = 16 * 1024 * 1024
_BINARY = "application/octet-stream"
_GENERATION = re.compile(r"[0-9]{1,19}")


class GcsBucket:
    """The objects of one bucket; a version is an object's generation.

    The client is made by `connect` when it is first needed, since a pod's identity may be late.
    """

    def __init__(
        self,
        url: RegistryUrl,
        connect: Callable[[], Gcs],
        uploads: Uploads,
        part_bytes: int = PART_BYTES,
        read_bytes: int = _READ_BYTES,
    ) -> None:
        self._url = url
        self._connect = connect
        self._uploads = uploads
        self._part_bytes = part_bytes
        self._read_bytes = read_bytes

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `prefix`."""
        with self._faults(None):
            found = self._gcs.client.list_blobs(
                self._url.bucket, prefix=prefix, timeout=TIMEOUT_SECONDS, retry=None
            )
            for blob in found:
                yield _stored(blob)

    def stat(self, key: str) -> Stored | None:
        """Return what is known of an object; None where there is none."""
        blob = self._find(key, None)
        return None if blob is None else _stored(blob)

    @contextmanager
    def open(self, key: str, *, version: str | None, start: int) -> Generator[Iterator[bytes]]:
        """Give an object's content from byte `start` on, all of it of one generation."""
        blob = self._find(key, version)
        if blob is None:
            raise MissingObject(f"{key} in gs://{self._url.bucket} is not there")
        yield self._chunks(blob, start)

    def put_file(self, key: str, path: Path, sha256: str, report: Report) -> Stored:
        """Write a file, in parts where it is large; what was sent before stays."""
        size = path.stat().st_size
        if size > self._part_bytes:
            upload = ResumableUpload(
                self._url,
                self._named(key, sha256),
                uploads=self._uploads,
                part_bytes=self._part_bytes,
                report=report,
                own_identity=self._gcs.own_identity,
            )
            generation = upload.send(path, sha256)
            return Stored(key, size, generation, sha256)
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FileChanged(path)
        return self._put(key, data, sha256, only_new=False)

    def put_bytes(self, key: str, data: bytes, *, only_new: bool) -> Stored:
        """Write a small object. Raises `ObjectExists` where it is there and `only_new` is set."""
        return self._put(key, data, hashlib.sha256(data).hexdigest(), only_new=only_new)

    def delete(self, key: str) -> None:
        """Delete an object; where the bucket keeps versions, the older ones stay."""
        with suppress(MissingObject), self._faults(key):
            self._bucket.blob(key).delete(timeout=TIMEOUT_SECONDS, retry=None)

    @cached_property
    def _gcs(self) -> Gcs:
        return self._connect()

    @property
    def _bucket(self) -> BlobsOf:
        return self._gcs.client.bucket(self._url.bucket)

    @contextmanager
    def _faults(self, key: str | None) -> Generator[None]:
        gcs = self._gcs
        with faults(self._url, key, own_identity=gcs.own_identity):
            yield

    def _named(self, key: str, sha256: str) -> Blob:
        blob = self._bucket.blob(key)
        blob.metadata = {SHA256: sha256}
        return blob

    def _find(self, key: str, version: str | None) -> Blob | None:
        if version is not None and _GENERATION.fullmatch(version) is None:
            # Of other storage, from which the registry was copied.
            return None
        generation = None if version is None else int(version)
        with self._faults(key):
            return self._bucket.get_blob(
                key, generation=generation, timeout=TIMEOUT_SECONDS, retry=None
            )

    def _put(self, key: str, data: bytes, sha256: str, *, only_new: bool) -> Stored:
        with write_faults(self._url, key, own_identity=self._gcs.own_identity):
            blob = self._named(key, sha256)
            blob.upload_from_string(
                data,
                content_type=_BINARY,
                if_generation_match=0 if only_new else None,
                timeout=TIMEOUT_SECONDS,
                checksum="md5",
                retry=None,
            )
            return _stored(blob)

    def _chunks(self, found: Blob, start: int) -> Iterator[bytes]:
        size, generation = found.size or 0, found.generation
        while start < size:
            end = min(start + self._read_bytes, size) - 1
            with self._faults(found.name):
                # One for each part: a download may make the library forget the generation.
                blob = self._bucket.blob(found.name, generation=generation)
                chunk = blob.download_as_bytes(
                    start=start,
                    end=end,
                    raw_download=True,
                    checksum=None,
                    timeout=TIMEOUT_SECONDS,
                    retry=None,
                )
            if len(chunk) != end + 1 - start:
                raise RegistryFault(
                    f"{found.name} in gs://{self._url.bucket} came with {len(chunk)} bytes where "
                    f"{end + 1 - start} were asked for\nnext: run it again",
                    lasting=False,
                )
            start = end + 1
            yield chunk


def _stored(blob: Blob) -> Stored:
    return Stored(
        blob.name,
        blob.size or 0,
        None if blob.generation is None else str(blob.generation),
        (blob.metadata or {}).get(SHA256),
    )
