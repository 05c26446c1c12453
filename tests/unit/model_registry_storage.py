"""Buckets for tests of the registry: moto's S3 in this process, and our own fake of Google's."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from cutting_proxy import CuttingProxy
from fake_gcs import FakeGcs

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience
from scripts.model_registry.gcs import GcsBucket
from scripts.model_registry.gcs_client import open_client as open_gcs
from scripts.model_registry.pull import Pulled, pull
from scripts.model_registry.push import Pushed, push
from scripts.model_registry.s3 import S3Bucket
from scripts.model_registry.s3_client import open_client as open_s3
from scripts.model_registry.uploads import Uploads

KEY_ID, SECRET = "AKIAEXAMPLE000000000", "a-secret-key-that-nobody-sees"
TOKEN = "ya29.a-secret-token"
MODEL = RegistryModel("resnet50", 1)
PART = 256 * 1024
# Every client reads the description of all services anew, which takes longer than most tests.
botocore.session.create_loader = cache(botocore.session.create_loader)
_counter = itertools.count(1)


@cache
def moto_port() -> int:
    """Start moto's S3 once in this process, and return its port."""
    from moto.s3 import models
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    # What it writes in two pieces does not wait for the other side's word of the first.
    WSGIRequestHandler.disable_nagle_algorithm = True
    # Parts have at least 5 MiB in S3, which is much for so many tests.
    models.S3_UPLOAD_PART_MIN_SIZE = PART
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return server.get_host_and_port()[1]


@cache
def s3_proxy() -> CuttingProxy:
    return CuttingProxy(moto_port())


@cache
def client_through_proxy() -> Any:
    """Return the client that the registry makes: to make one takes longer than all it does."""
    url = RegistryUrl("s3", "any", "", f"http://127.0.0.1:{s3_proxy().port}", "us-east-1")
    return open_s3(url, {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET})


@cache
def s3_client(endpoint: str | None = None, key: str = "test", secret: str = "test") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint or f"http://127.0.0.1:{moto_port()}",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}),
    )


@dataclass
class Storage:
    """A registry in a bucket of its own, reached through a proxy that can cut."""

    kind: str
    tmp_path: Path
    proxy: CuttingProxy
    url: RegistryUrl
    environ: dict[str, str]
    gcs: FakeGcs | None = None
    reports: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def bucket(self) -> S3Bucket | GcsBucket:
        """Return a bucket as a process that was just started has it."""
        uploads = Uploads(self.tmp_path / "uploads")
        if self.gcs is not None:
            return GcsBucket(
                self.url,
                lambda: open_gcs(self.url, self.environ),
                uploads,
                part_bytes=PART,
                read_bytes=PART,
            )
        return S3Bucket(self.url, client_through_proxy, uploads, part_bytes=PART)

    @property
    def patience(self) -> Patience:
        return Patience(retries=3, sleep=self.pauses.append)

    def push(self, folder: Path, model: RegistryModel = MODEL) -> Pushed:
        return push(
            self.bucket(), self.url, model, folder, self.reports.append, patience=self.patience
        )

    def pull(self, model: RegistryModel = MODEL, into: Path | None = None) -> Pulled:
        return pull(
            self.bucket(),
            self.url,
            model,
            into or self.tmp_path / "pulled",
            self.reports.append,
            patience=self.patience,
        )

    def overwrite(self, path: str, content: bytes) -> None:
        """Change an object behind the registry's back, whose digest still claims the old one."""
        key = self.url.key(path)
        if self.gcs is not None:
            there = self.gcs.newest(key)
            self.gcs.put(key, content, there.metadata if there else {})
        else:
            client = s3_client()
            there = client.head_object(Bucket=self.url.bucket, Key=key)
            client.put_object(
                Bucket=self.url.bucket, Key=key, Body=content, Metadata=there["Metadata"]
            )

    def delete(self, path: str) -> None:
        """Delete an object with all its versions."""
        key = self.url.key(path)
        if self.gcs is not None:
            self.gcs.delete(key)
            return
        client = s3_client()
        for one in client.list_object_versions(Bucket=self.url.bucket, Prefix=key)["Versions"]:
            client.delete_object(Bucket=self.url.bucket, Key=one["Key"], VersionId=one["VersionId"])

    def names(self) -> list[str]:
        if self.gcs is not None:
            return sorted(self.gcs.objects)
        found = s3_client().list_objects_v2(Bucket=self.url.bucket).get("Contents", [])
        return sorted(one["Key"] for one in found)

    def close(self) -> None:
        if self.gcs is not None:
            self.proxy.close()
            self.gcs.close()


def storage(kind: str, tmp_path: Path) -> Storage:
    """Return an empty registry: `s3`, `s3-versions`, or `gcs`."""
    name = f"models-{os.getpid()}-{next(_counter)}"
    if kind == "gcs":
        gcs = FakeGcs(name)
        proxy = CuttingProxy(gcs.port)
        environ = {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{proxy.port}",
            "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN,
        }
        return Storage(kind, tmp_path, proxy, RegistryUrl("gs", name), environ, gcs)
    client = s3_client()
    client.create_bucket(Bucket=name)
    if kind == "s3-versions":
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    proxy = s3_proxy()
    proxy.reset()
    url = RegistryUrl("s3", name, "team/a", f"http://127.0.0.1:{proxy.port}", "us-east-1")
    return Storage(kind, tmp_path, proxy, url, {})


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ir(folder: Path, size: int = 300_000, seed: int = 1) -> Path:
    """Write what looks like an OpenVINO IR, with a file in a folder below."""
    (folder / "extra").mkdir(parents=True, exist_ok=True)
    (folder / "model.xml").write_text(f"<net name='m{seed}'/>")
    (folder / "model.bin").write_bytes(content(seed, size))
    (folder / "extra" / "mapping_config.json").write_text("{}")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
