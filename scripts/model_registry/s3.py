"""A bucket in storage that speaks S3: AWS's, VK Cloud's, MinIO's, Ceph's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import (
    SHA256,
    MissingObject,
    ObjectExists,
    Report,
    Stored,
)
from scripts.model_registry.s3_client import answer_of, faults
from scripts.model_registry.s3_upload import PART_BYTES, Multipart
from scripts.model_registry.sending import FileChanged
from scripts.model_registry.uploads import Uploads

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import GetObjectRequestTypeDef, PutObjectRequestTypeDef

_CHUNK_BYTES = 1024 * 1024


class S3Bucket:
    """The objects of one bucket. Versions are named where the bucket keeps them.

    The client is made by `connect` when it is first needed.
    """

    def __init__(
        self,
        url: RegistryUrl,
        connect: Callable[[], S3Client],
        uploads: Uploads,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._url = url
        self._connect = connect
        self._uploads = uploads
        self._part_bytes = part_bytes

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `prefix`, without their digests."""
        with faults(self._url):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._url.bucket, Prefix=prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    yield Stored(found.get("Key", ""), found.get("Size", 0), None, None)

    def stat(self, key: str) -> Stored | None:
        """Return what is known of an object; None where there is none."""
        with suppress(MissingObject), faults(self._url, key):
            head = self._client.head_object(Bucket=self._url.bucket, Key=key)
            return Stored(
                key,
                head["ContentLength"],
                version_of(head.get("VersionId")),
                head["Metadata"].get(SHA256),
            )
        return None

    @contextmanager
    def open(self, key: str, *, version: str | None, start: int) -> Generator[Iterator[bytes]]:
        """Give an object's content from byte `start` on."""
        request: GetObjectRequestTypeDef = {"Bucket": self._url.bucket, "Key": key}
        if version is not None:
            request["VersionId"] = version
        if start:
            request["Range"] = f"bytes={start}-"
        with faults(self._url, key):
            try:
                answer = self._client.get_object(**request)
            except ClientError as error:
                said = answer_of(error)
                if start and said.status == 416:
                    answer = None
                elif version is not None and (said.status, said.code) == (400, "InvalidArgument"):
                    # Of other storage, from which the registry was copied.
                    raise MissingObject(
                        f"{key} in s3://{self._url.bucket} is not there in that version"
                    ) from None
                else:
                    raise
        if answer is None:
            yield iter(())
            return
        body = answer["Body"]
        # Storage that knows no ranges sends all of it.
        skipped = start if start and not answer.get("ContentRange") else 0
        try:
            yield self._chunks(body, key, skipped)
        finally:
            body.close()

    def put_file(self, key: str, path: Path, sha256: str, report: Report) -> Stored:
        """Write a file, in parts where it is large; parts that were sent before stay."""
        size = path.stat().st_size
        if size > self._part_bytes:
            parts = Multipart(
                self._client,
                self._url,
                key,
                uploads=self._uploads,
                part_bytes=self._part_bytes,
                report=report,
            )
            version = parts.send(path, sha256)
        else:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise FileChanged(path)
            version = self._put(key, data, sha256, only_new=False)
        return Stored(key, size, version_of(version), sha256)

    def put_bytes(self, key: str, data: bytes, *, only_new: bool) -> Stored:
        """Write a small object. Raises `ObjectExists` where it is there and `only_new` is set."""
        sha256 = hashlib.sha256(data).hexdigest()
        if only_new and self.stat(key) is not None:
            raise ObjectExists(f"{key} in s3://{self._url.bucket} is there already")
        version = self._put(key, data, sha256, only_new=only_new)
        return Stored(key, len(data), version_of(version), sha256)

    def delete(self, key: str) -> None:
        """Delete an object; where the bucket keeps versions, the older ones stay."""
        with suppress(MissingObject), faults(self._url, key):
            self._client.delete_object(Bucket=self._url.bucket, Key=key)

    @cached_property
    def _client(self) -> S3Client:
        return self._connect()

    def _put(self, key: str, data: bytes, sha256: str, *, only_new: bool) -> str | None:
        request: PutObjectRequestTypeDef = {
            "Bucket": self._url.bucket,
            "Key": key,
            "Body": data,
            "ContentMD5": content_md5(data),
            "Metadata": {SHA256: sha256},
        }
        if only_new:
            request["IfNoneMatch"] = "*"
        with faults(self._url, key):
            try:
                answer = self._client.put_object(**request)
            except ClientError as error:
                if not only_new or not answer_of(error).unknown_here:
                    raise
                # Storage without conditional writes: the look before has to do.
                del request["IfNoneMatch"]
                answer = self._client.put_object(**request)
        return answer.get("VersionId")

    def _chunks(self, body: StreamingBody, key: str, skipped: int) -> Iterator[bytes]:
        with faults(self._url, key):
            left = skipped
            while chunk := body.read(_CHUNK_BYTES):
                if left < len(chunk):
                    yield chunk[left:]
                left = max(0, left - len(chunk))


def version_of(version: str | None) -> str | None:
    """Return the name of an object's version; "null" is what buckets without versions may say."""
    return None if version in {None, "", "null"} else version


def content_md5(data: bytes) -> str:
    """Return the header that has storage refuse what was damaged on the way."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
