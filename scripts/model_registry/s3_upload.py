"""A large object sent to S3 in parts, of which those that are there already are not sent again."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import SHA256, RegistryFault, Report
from scripts.model_registry.s3_client import UploadGone, faults
from scripts.model_registry.sending import FileChanged, parts
from scripts.model_registry.uploads import Uploads
from scripts.models.progress import Progress

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 32 * 1024 * 1024
_MOST_PARTS = 9_000
"""S3 takes 10 000 parts of at least 5 MiB each."""


class Multipart:
    """An upload in parts as one object."""

    def __init__(
        self,
        client: S3Client,
        url: RegistryUrl,
        key: str,
        *,
        uploads: Uploads,
        part_bytes: int,
        report: Report,
    ) -> None:
        self._client = client
        self._url = url
        self._key = key
        self._uploads = uploads
        self._part_bytes = part_bytes
        self._report = report

    def send(self, path: Path, sha256: str) -> str | None:
        """Send the file and return its version's name. Raises `RegistryFault`.

        What was sent before a fault stays with the storage, and the next call goes on with it.
        """
        upload, there = self._begin(sha256)
        try:
            version = self._send(upload, there, path, sha256)
        except UploadGone:
            self._forget(sha256)
            raise
        except FileChanged:
            self._forget(sha256)
            with suppress(RegistryFault), faults(self._url, self._key):
                self._client.abort_multipart_upload(
                    Bucket=self._url.bucket, Key=self._key, UploadId=upload
                )
            raise
        self._forget(sha256)
        return version

    def _send(
        self, upload: str, there: Mapping[int, tuple[str, int]], path: Path, sha256: str
    ) -> str | None:
        size = path.stat().st_size
        part_bytes = max(self._part_bytes, -(-size // _MOST_PARTS))
        progress = Progress("sending", path.name, size, self._report)
        sent: list[CompletedPartTypeDef] = []
        for number, data in enumerate(parts(path, sha256, part_bytes), start=1):
            md5 = hashlib.md5(data, usedforsecurity=False)
            # A part's ETag is its MD5, except where the storage encrypts by a key of its own.
            if there.get(number) == (md5.hexdigest(), len(data)):
                tag = md5.hexdigest()
            else:
                with faults(self._url, self._key):
                    tag = self._client.upload_part(
                        Bucket=self._url.bucket,
                        Key=self._key,
                        UploadId=upload,
                        PartNumber=number,
                        Body=data,
                        ContentMD5=base64.b64encode(md5.digest()).decode(),
                    )["ETag"]
            sent.append({"PartNumber": number, "ETag": tag})
            progress.add(len(data))
        with faults(self._url, self._key):
            done = self._client.complete_multipart_upload(
                Bucket=self._url.bucket,
                Key=self._key,
                UploadId=upload,
                MultipartUpload={"Parts": sent},
            )
        return done.get("VersionId")

    def _begin(self, sha256: str) -> tuple[str, Mapping[int, tuple[str, int]]]:
        """Return the upload to go on with, and its parts by number: their MD5 and size."""
        known = self._uploads.recall(str(self._url), self._key, sha256)
        if known is not None:
            try:
                return known, self._parts_of(known)
            except UploadGone:
                self._forget(sha256)
            except RegistryFault as fault:
                if not fault.lasting:
                    raise
                # Who may write need not be allowed to ask: all parts are sent again.
                return known, {}
        with faults(self._url, self._key):
            upload = self._client.create_multipart_upload(
                Bucket=self._url.bucket, Key=self._key, Metadata={SHA256: sha256}
            )["UploadId"]
        self._uploads.note(str(self._url), self._key, sha256, upload)
        return upload, {}

    def _parts_of(self, upload: str) -> Mapping[int, tuple[str, int]]:
        there: dict[int, tuple[str, int]] = {}
        with faults(self._url, self._key):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._url.bucket, Key=self._key, UploadId=upload
            )
            for page in pages:
                for part in page.get("Parts", []):
                    tag = part.get("ETag", "").strip('"')
                    there[part.get("PartNumber", 0)] = (tag, part.get("Size", 0))
        return there

    def _forget(self, sha256: str) -> None:
        self._uploads.forget(str(self._url), self._key, sha256)
