"""What is used of google-cloud-storage, which says little of its types itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Blob(Protocol):
    """An object, or the name of one to be."""

    name: str
    size: int | None
    generation: int | None
    md5_hash: str | None
    metadata: Mapping[str, str] | None

    def download_as_bytes(
        self,
        *,
        start: int,
        end: int,
        raw_download: bool,
        checksum: str | None,
        timeout: tuple[int, int],
        retry: None,
    ) -> bytes:
        """Return the bytes from `start` to `end`, which is the last one."""
        ...

    def create_resumable_upload_session(
        self,
        *,
        content_type: str,
        size: int,
        timeout: tuple[int, int],
        checksum: str | None,
        retry: None,
    ) -> str:
        """Begin an upload and return the URL that takes its bytes."""
        ...

    def upload_from_string(
        self,
        data: bytes,
        *,
        content_type: str,
        if_generation_match: int | None,
        timeout: tuple[int, int],
        checksum: str | None,
        retry: None,
    ) -> None:
        """Write the object at once."""
        ...

    def delete(self, *, timeout: tuple[int, int], retry: None) -> None:
        """Delete the object."""
        ...


class BlobsOf(Protocol):
    """A bucket."""

    def blob(self, blob_name: str, *, generation: int | None = None) -> Blob:
        """Name an object."""
        ...

    def get_blob(
        self,
        blob_name: str,
        *,
        generation: int | None,
        timeout: tuple[int, int],
        retry: None,
    ) -> Blob | None:
        """Return an object with what is known of it; None where it is not there."""
        ...


class StorageClient(Protocol):
    """The client."""

    def bucket(self, bucket_name: str) -> BlobsOf:
        """Name a bucket."""
        ...

    def list_blobs(
        self, bucket_or_name: str, *, prefix: str, timeout: tuple[int, int], retry: None
    ) -> Iterable[Blob]:
        """Return the objects whose names begin with `prefix`."""
        ...
