"""The model-registry program on the real engine: storage that speaks S3, and an emulated cloud's.

The tests run in order on one stack.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import checkout as checkouts
import emulated_cloud
import psutil
import pytest
import requests
from checkout import Done
from emulated_cloud import EmulatedCloud
from fake_gcs import FakeGcs
from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer

from scripts.bootstrap import backend, plugins, registry, summary
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli
from scripts.model_registry.s3_upload import PART_BYTES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

STACK = "model-registry"
BUCKET = "models-of-the-test"
ACCOUNT = "123456789012"
DESTROY = ("destroy", "--yes", "--skip-preview", "--stack", STACK)


@dataclass(frozen=True)
class Stack:
    """The stack, its folder of models, and the server with its storage."""

    cloud: EmulatedCloud
    models: Path
    endpoint: str
    key_id: str
    secret: str

    def configure(self, **values: str) -> None:
        self.cloud.configure(STACK, **values)

    def set_secret(self, key: str, value: str) -> None:
        words = ("config", "set", "--secret", f"llm-endpoint:{key}", "--stack", STACK)
        self.cloud.good(*words, "--", value)

    def up(self) -> Done:
        return self.cloud.up(STACK)

    def refused(self) -> str:
        done = self.cloud.run("up", "--yes", "--skip-preview", "--stack", STACK)
        assert done.status != 0, done.text
        return done.text

    def outputs(self) -> dict[str, Any]:
        return self.cloud.outputs(STACK)

    def no_changes(self) -> None:
        self.cloud.good("preview", "--expect-no-changes", "--stack", STACK)

    def write(self, folder: str, **files: bytes) -> None:
        """Write a model of ONNX's form, each file named before its dot."""
        (self.models / folder).mkdir(exist_ok=True)
        for name, content in files.items():
            (self.models / folder / f"{name}.onnx").write_bytes(content)

    def upload(self, **models: str) -> None:
        """Set what is uploaded: `NAME_VERSION=FOLDER`."""
        entries = [f"{name.replace('_', '@')}={self.models / to}" for name, to in models.items()]
        self.configure(uploads=json.dumps(entries))


def stored() -> dict[str, bytes]:
    """What the bucket holds, by name."""
    bucket = s3_backends[ACCOUNT]["aws"].buckets[BUCKET]
    return {key: found.value for key, found in bucket.keys.items()}


def has_bucket() -> bool:
    return BUCKET in s3_backends[ACCOUNT]["aws"].buckets


def access_key(endpoint: str) -> tuple[str, str]:
    """Make a user who may do everything in storage; from then on nobody else may do anything."""
    made: dict[str, str] = {"region_name": "us-east-1", "aws_access_key_id": "x"}
    iam = boto3.client("iam", endpoint_url=endpoint, aws_secret_access_key="x", **made)
    iam.create_user(UserName="deployer")
    rule = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName="deployer", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(STACK)
    made = emulated_cloud.make(folder, "203.0.113.7")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        key_id, secret = access_key(endpoint)
        models = folder / "models"
        models.mkdir()
        made.good("stack", "init", STACK)
        stack = Stack(made, models, endpoint, key_id, secret)
        stack.configure(registry=f"s3://{BUCKET}/all?endpoint={endpoint}&region=us-east-1")
        stack.set_secret("registry_key_id", key_id)
        yield stack
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=10)
        requests.post(f"{endpoint}/moto-api/reset", timeout=10)
        server.stop()


def test_a_wrong_key_is_one_clear_message_without_the_key(stack: Stack):
    stack.set_secret("registry_secret_key", "a-secret-key-that-is-wrong")
    said = stack.refused()
    assert "a-secret-key-that-is-wrong" not in said
    assert BUCKET in said
    assert "next: " in said
    assert not has_bucket()


@pytest.fixture(scope="module")
def serving(stack: Stack) -> Stack:
    """The stack after its first up, with one model of two files."""
    stack.set_secret("registry_secret_key", stack.secret)
    stack.write("first", model=b"weights", other=b"more")
    stack.upload(tiny_1="first")
    said = stack.up().text
    for secret in (stack.secret, stack.key_id):
        assert secret not in said
    return stack


def test_the_first_up_makes_a_private_bucket_uploads_and_reads_all_of_it_back(serving: Stack):
    outputs = serving.outputs()
    assert outputs["state"] == "serving"
    assert outputs.get("endpoint_url") is None
    assert outputs["registry"].startswith(f"s3://{BUCKET}/all?endpoint=http")
    assert outputs["models"] == ["tiny@1"]
    assert outputs["verification"]["status"] == "passed"
    assert outputs["verification"]["models"][0]["files"] == 2
    assert stored()["all/models/tiny/1/model.onnx"] == b"weights"
    bucket = s3_backends[ACCOUNT]["aws"].buckets[BUCKET]
    assert bucket.versioning_status == "Enabled"
    assert bucket.public_access_block is not None
    serving.no_changes()


def test_what_up_ends_with_finds_out_what_is_missing_by_the_stacks_own_key(serving: Stack):
    cloud, outputs = serving.cloud, summary.read(serving.outputs())
    ready = Prepared(
        checkout=Checkout(cloud.root),
        python=Path(sys.executable),
        cli=Cli(cloud.cli, "", "built here"),
        plugins=plugins.Plan("engine"),
        backend=backend.Backend("", "", None),
        variables=cloud.environment(),
    )
    more = dataclasses.replace(outputs, models=("tiny@1", "tiny@7"))
    with pytest.raises(BootstrapError, match="lacks tiny@7, which somebody"):
        registry.look(ready, STACK, more)


def test_the_secrets_are_encrypted_in_the_state_and_no_output_is_one(serving: Stack):
    state = serving.cloud.state(STACK)
    for secret in (serving.secret, serving.key_id):
        assert secret not in state
    shown = serving.cloud.good("stack", "output", "--json", "--stack", STACK).stdout
    assert "[secret]" not in shown
    assert json.loads(shown) == serving.outputs()


def test_other_content_under_the_same_version_is_refused(serving: Stack):
    serving.write("first", model=b"changed")
    said = serving.refused()
    assert "tiny@2" in said
    assert stored()["all/models/tiny/1/model.onnx"] == b"weights"
    serving.write("first", model=b"weights")


def watched(see: Callable[[int], None]) -> Any:
    """Storage that tells `see` the number of each part before it takes it."""
    upload_part = S3Backend.upload_part

    def take(backend: S3Backend, bucket: str, upload: str, part: int, *rest: Any, **named: Any):
        see(part)
        return upload_part(backend, bucket, upload, part, *rest, **named)

    return patch.object(S3Backend, "upload_part", take)


def pushing(endpoint: str) -> list[psutil.Process]:
    """Every process that pushes to this server."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            registry = process.environ().get("LLM_ENDPOINT_REGISTRY", "")
            if endpoint in registry and "scripts.model_registry" in process.cmdline():
                found.append(process)
    return found


def test_an_up_that_was_killed_in_an_upload_goes_on_with_the_next_part(serving: Stack):
    content = bytes(2 * PART_BYTES + 1)
    serving.write("second", model=b"changed")
    serving.write("large", model=content)
    serving.upload(tiny_1="first", tiny_2="second", large_1="large")
    ordered, held = threading.Event(), threading.Event()

    def hold(part: int) -> None:
        if part == 2:
            ordered.set()
            held.wait(120)

    with watched(hold):
        killed = serving.cloud.start("up", "--yes", "--skip-preview", "--stack", STACK)
        try:
            assert ordered.wait(120), "the second part was never sent"
        finally:
            checkouts.end_group(killed)
            # A command is in no group of pulumi's.
            for process in pushing(serving.endpoint):
                process.kill()
                process.wait(30)
            held.set()
    assert "all/manifests/large/1.json" not in stored()
    serving.cloud.good("cancel", "--yes", "--stack", STACK)
    serving.configure(keep_data="true")
    sent: list[int] = []
    with watched(sent.append):
        serving.up()
    assert 3 in sent
    assert 1 not in sent
    assert stored()["all/models/large/1/model.onnx"] == content
    assert stored()["all/models/tiny/2/model.onnx"] == b"changed"
    assert serving.outputs()["models"] == ["large@1", "tiny@1", "tiny@2"]
    serving.no_changes()


def test_data_that_is_kept_outlives_a_destroy_and_is_taken_up_again(serving: Stack):
    before = stored()
    serving.cloud.good(*DESTROY, "--exclude-protected")
    assert stored() == before
    serving.configure(keep_data="false")
    serving.up()
    assert stored() == before
    assert serving.outputs()["verification"]["status"] == "passed"


def test_destroy_deletes_the_bucket_with_all_that_is_in_it(serving: Stack):
    serving.cloud.good(*DESTROY)
    assert not has_bucket()


GOOGLES = "a-project-llm-endpoint-googles-models"


@pytest.fixture(scope="module")
def googles(stack: Stack) -> Iterator[tuple[EmulatedCloud, FakeGcs]]:
    """Another stack of the same program, with a bucket of Google's."""
    storage = FakeGcs(GOOGLES)
    host = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage.port}"}
    cloud = dataclasses.replace(stack.cloud, extra=host)
    stack.write("kept", model=b"weights")
    cloud.good("stack", "init", "googles")
    cloud.configure(
        "googles",
        program=STACK,
        gcp__project="a-project",
        gcp__region="europe-west4",
        uploads=f"tiny@1={stack.models / 'kept'}",
    )
    yield cloud, storage
    storage.close()


def test_a_bucket_of_googles_is_filled_and_goes_with_all_that_is_in_it(
    googles: tuple[EmulatedCloud, FakeGcs],
):
    cloud, storage = googles
    cloud.up("googles")
    outputs = cloud.outputs("googles")
    assert (outputs["registry"], outputs["models"]) == (f"gs://{GOOGLES}", ["tiny@1"])
    assert outputs["verification"]["status"] == "passed"
    assert cloud.resources()[GOOGLES]["inputs"]["publicAccessPrevention"] == "enforced"
    assert storage.objects.keys() == {
        "models/tiny/1/model.onnx",
        "manifests/tiny/1.json",
    }
    cloud.good("destroy", "--yes", "--skip-preview", "--stack", "googles")
    assert cloud.resources() == {}
    assert storage.objects == {}
