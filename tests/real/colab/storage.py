"""Storage that speaks S3, on a free port of 127.0.0.1: moto's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import requests
from moto.server import ThreadedMotoServer
from types_boto3_s3 import S3Client

BUCKET = "backups"
KEY_ID, SECRET_KEY = "AKIA-of-the-test", "secret-of-the-test"
_REPOSITORY = "colab/"


@dataclass(frozen=True)
class Storage:
    """A bucket with a backup. `port` is where it is served."""

    port: int
    client: S3Client

    def objects(self, folder: str = "") -> dict[str, int]:
        """Return the size of each object of the repository's `folder`, by its whole name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{_REPOSITORY}{folder}"
        )
        found = [one for page in pages for one in page.get("Contents", ())]
        return {one.get("Key", ""): one.get("Size", 0) for one in found}

    def damage(self, name: str) -> None:
        """Change one byte in the middle of an object."""
        content = bytearray(self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read())
        content[len(content) // 2] ^= 1
        self.client.put_object(Bucket=BUCKET, Key=name, Body=bytes(content))

    def lose(self, name: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=name)

    @contextmanager
    def checking_keys(self) -> Iterator[None]:
        """Have it refuse access keys that it did not give out, which is all of ours."""
        self._ask_freely(0)
        try:
            yield
        finally:
            self._ask_freely(1_000_000)

    def _ask_freely(self, requests_left: int) -> None:
        place = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        requests.post(place, data=str(requests_left), timeout=10).raise_for_status()


@contextmanager
def storage() -> Iterator[Storage]:
    """Yield a bucket that is empty."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
        )
        # What is in memory belongs to the whole process.
        client.create_bucket(Bucket=BUCKET)
        try:
            yield Storage(port, client)
        finally:
            for name in Storage(port, client).objects():
                client.delete_object(Bucket=BUCKET, Key=name)
            client.delete_bucket(Bucket=BUCKET)
    finally:
        server.stop()
