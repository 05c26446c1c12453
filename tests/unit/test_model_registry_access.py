"""Whose credentials open a bucket, what is said when they do not, and how S3's is made."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fake_gcs import FakeGcs
from model_registry_storage import MODEL, files_of, ir, moto_port, s3_client

from components.models.registry import RegistryUrl, parse_registry_url
from scripts.model_registry import bucket_life
from scripts.model_registry.__main__ import main
from scripts.model_registry.bucket import Denied, RegistryFault
from scripts.model_registry.bucket_life import MARK
from scripts.model_registry.opening import open_bucket
from scripts.model_registry.push import push
from scripts.model_registry.s3_client import open_client

TOKEN = "ya29.a-secret-token"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def s3_url(bucket: str, folder: str = "") -> RegistryUrl:
    return RegistryUrl("s3", bucket, folder, f"http://127.0.0.1:{moto_port()}", "us-east-1")


@pytest.fixture
def gcs() -> Iterator[FakeGcs]:
    made = FakeGcs()
    yield made
    made.close()


def gcs_environ(gcs: FakeGcs, **more: str) -> dict[str, str]:
    return {"STORAGE_EMULATOR_HOST": f"127.0.0.1:{gcs.port}", **more}


def refusal(url: RegistryUrl, environ: dict[str, str]) -> RegistryFault:
    with pytest.raises(RegistryFault) as caught:
        list(open_bucket(url, environ).list(""))
    assert "\nnext: " in caught.value.message
    return caught.value


GS = RegistryUrl("gs", "models")


def test_a_given_token_opens_googles_bucket(gcs: FakeGcs):
    gcs.tokens = {TOKEN}
    bucket = open_bucket(GS, gcs_environ(gcs, GOOGLE_OAUTH_ACCESS_TOKEN=TOKEN))
    assert list(bucket.list("")) == []


def test_a_token_that_ran_out_is_refused_and_not_shown(gcs: FakeGcs):
    gcs.tokens = {"another"}
    fault = refusal(GS, gcs_environ(gcs, GOOGLE_OAUTH_ACCESS_TOKEN=TOKEN))
    assert fault.lasting
    assert "are not accepted, or have run out" in fault.message
    assert TOKEN not in fault.message


def test_missing_rights_are_said_with_the_roles(gcs: FakeGcs):
    gcs.denied = True
    fault = refusal(GS, gcs_environ(gcs, GOOGLE_OAUTH_ACCESS_TOKEN=TOKEN))
    assert fault.lasting
    assert "roles/storage.objectViewer" in fault.message


@pytest.mark.parametrize(
    "content", ["no json", '{"type": "service_account", "private_key": "KEY"}']
)
def test_a_key_file_that_is_none_is_refused_and_not_shown(
    gcs: FakeGcs, tmp_path: Path, content: str
):
    key = tmp_path / "key.json"
    key.write_text(content)
    fault = refusal(GS, gcs_environ(gcs, GOOGLE_APPLICATION_CREDENTIALS=str(key)))
    assert fault.lasting
    assert "GOOGLE_APPLICATION_CREDENTIALS has no key" in fault.message
    assert "KEY" not in fault.message.replace("GOOGLE_", "")


def test_a_key_that_google_does_not_know_any_more_is_refused_and_not_shown(
    gcs: FakeGcs, tmp_path: Path
):
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    key = tmp_path / "key.json"
    account = {
        "type": "service_account",
        "client_email": "reader@project.iam.gserviceaccount.com",
        "private_key_id": "a-key-id",
        "private_key": pem,
        "token_uri": f"http://127.0.0.1:{gcs.port}/token",
    }
    for variable, value in (
        ("GOOGLE_APPLICATION_CREDENTIALS", str(key)),
        ("GOOGLE_CREDENTIALS", json.dumps(account)),
    ):
        key.write_text(json.dumps(account))
        fault = refusal(GS, gcs_environ(gcs, **{variable: value}))
        assert fault.lasting
        assert "are not accepted, or have run out" in fault.message
        assert "reader@" not in fault.message
    assert [seen.path for seen in gcs.seen] == ["/token", "/token"]


@pytest.mark.parametrize("in_pod", [False, True])
def test_who_has_no_credentials_is_told_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, in_pod: bool
):
    from google.auth import exceptions

    def none(**_: object) -> object:
        raise exceptions.DefaultCredentialsError("nothing there")

    monkeypatch.setattr("google.auth.default", none)
    fault = refusal(GS, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"} if in_pod else {})
    # The metadata server of a pod that has just begun may be late.
    assert fault.lasting is not in_pod
    assert ("Workload Identity" in fault.message) is in_pod


def test_the_rights_of_a_pods_own_identity_are_waited_for(
    gcs: FakeGcs, monkeypatch: pytest.MonkeyPatch
):
    from google.auth import credentials
    from google.auth.compute_engine import Credentials

    class Own(credentials.AnonymousCredentials):
        pass

    Own.__module__ = Credentials.__module__
    monkeypatch.setattr("google.auth.default", lambda **_: (Own(), None))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{gcs.port}")
    gcs.denied = True
    fault = refusal(GS, {})
    assert not fault.lasting
    assert "takes minutes to spread" in fault.message


@pytest.fixture
def signed() -> Iterator[dict[str, str]]:
    """Have moto check signatures and rights; give a key that may do anything."""
    import boto3

    make = partial(
        boto3.client,
        endpoint_url=f"http://127.0.0.1:{moto_port()}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    iam = make("iam")
    iam.create_user(UserName="reader")
    made = iam.create_access_key(UserName="reader")["AccessKey"]
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [everything]}
    iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(policy))
    _let_in(0)
    yield {
        "AWS_ACCESS_KEY_ID": made["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
    }
    _let_in("inf")
    iam.delete_user_policy(UserName="reader", PolicyName="all")
    iam.delete_access_key(UserName="reader", AccessKeyId=made["AccessKeyId"])
    iam.delete_user(UserName="reader")


def _let_in(calls: int | str) -> None:
    """Have moto look at nobody's rights for so many calls."""
    address = f"http://127.0.0.1:{moto_port()}/moto-api/reset-auth"
    headers = {"Content-Type": "text/plain"}
    with urlopen(Request(address, data=str(calls).encode(), headers=headers)):
        pass


def test_wrong_s3_credentials_are_refused_and_the_right_ones_are_not(signed: dict[str, str]):
    url = s3_url("guarded")
    _let_in(1)
    s3_client().create_bucket(Bucket="guarded")
    assert list(open_bucket(url, signed).list("")) == []
    wrong = {**signed, "AWS_SECRET_ACCESS_KEY": "a-wrong-secret-key"}
    fault = refusal(url, wrong)
    assert isinstance(fault, Denied)
    assert fault.lasting
    assert "refuses these credentials (403 SignatureDoesNotMatch)" in fault.message
    assert "a-wrong-secret-key" not in fault.message
    unknown = {**signed, "AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}
    fault = refusal(url, unknown)
    assert fault.lasting
    assert "403 InvalidAccessKeyId" in fault.message
    assert "AKIAUNKNOWN" not in fault.message


def test_half_a_key_is_refused():
    fault = refusal(s3_url("any"), {"AWS_ACCESS_KEY_ID": "AKIA"})
    assert fault.lasting
    assert "AWS_SECRET_ACCESS_KEY is not set" in fault.message


def test_storage_that_is_not_there_may_be_there_later():
    url = RegistryUrl("s3", "any", "", "http://127.0.0.1:9", "us-east-1")
    fault = refusal(url, KEYS)
    assert not fault.lasting
    assert "http://127.0.0.1:9 can't be reached" in fault.message


def test_a_bucket_is_made_private_with_versions_and_taken_the_next_time():
    url = s3_url("made-once", "team")
    client = open_client(url, KEYS)
    first = bucket_life.make(client, url, print)
    again = bucket_life.make(client, url, print)
    assert first.as_json() == {"url": str(url), "made": True, "versioned": True}
    assert again.as_json() == {"url": str(url), "made": False, "versioned": True}
    shut = s3_client().get_public_access_block(Bucket="made-once")
    assert all(shut["PublicAccessBlockConfiguration"].values())
    rules = s3_client().get_bucket_lifecycle_configuration(Bucket="made-once")["Rules"]
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_a_bucket_that_was_made_is_unmade_with_all_versions(tmp_path: Path):
    url = s3_url("made-and-unmade")
    client = open_client(url, KEYS)
    bucket_life.make(client, url, print)
    for _ in range(2):
        client.put_object(Bucket=url.bucket, Key="models/a/1/m.onnx", Body=b"x")
    client.delete_object(Bucket=url.bucket, Key="models/a/1/m.onnx")
    client.create_multipart_upload(Bucket=url.bucket, Key="models/a/2/m.onnx")
    assert bucket_life.unmake(client, url, print)
    names = [one["Name"] for one in s3_client().list_buckets()["Buckets"]]
    assert url.bucket not in names
    assert not bucket_life.unmake(client, url, print)


def test_a_bucket_that_was_there_before_keeps_all_but_the_registry(tmp_path: Path):
    s3_client().create_bucket(Bucket="of-a-person")
    s3_client().put_object(Bucket="of-a-person", Key="photos/1.jpg", Body=b"x")
    url = s3_url("of-a-person", "registry")
    client = open_client(url, KEYS)
    made = bucket_life.make(client, url, print)
    assert (made.made, made.versioned) == (False, False)
    push(open_bucket(url, KEYS), url, MODEL, ir(tmp_path / "model", size=10), print)
    theirs = {"registry/manifests/resnet50/1.json.bak", "registry/models/a/1/m.onnx"}
    for key in theirs:
        client.put_object(Bucket=url.bucket, Key=key, Body=b"x")
    said: list[str] = []
    assert not bucket_life.unmake(client, url, said.append)
    left = s3_client().list_objects_v2(Bucket="of-a-person")["Contents"]
    assert {one["Key"] for one in left} == {"photos/1.jpg", *theirs}
    assert "registry/models/a/1 has no manifest" in said[0]


def test_a_bucket_whose_making_was_cut_off_before_its_mark_is_unmade_too():
    s3_client().create_bucket(Bucket="made-and-cut-off")
    url = s3_url("made-and-cut-off")
    client = open_client(url, KEYS)
    assert bucket_life.make(client, url, print).as_json() == {
        "url": str(url),
        "made": False,
        "versioned": True,
    }
    assert bucket_life.unmake(client, url, print)


def test_a_bucket_that_was_made_stays_while_it_has_other_things():
    url = s3_url("made-and-shared")
    client = open_client(url, KEYS)
    bucket_life.make(client, url, print)
    client.put_object(Bucket=url.bucket, Key="photos/1.jpg", Body=b"x")
    said: list[str] = []
    assert not bucket_life.unmake(client, url, said.append)
    assert "photos/1.jpg" in said[-1]
    left = s3_client().list_objects_v2(Bucket=url.bucket)["Contents"]
    assert {one["Key"] for one in left} == {MARK, "photos/1.jpg"}


def run(capsys: pytest.CaptureFixture[str], *words: str, **environ: str) -> tuple[int, str, str]:
    status = main(list(words), {**KEYS, "LLM_ENDPOINT_CACHE": "", **environ})
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def test_the_commands_of_a_program_go_by_the_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    folder = ir(tmp_path / "model")
    url = s3_url("by-environment")
    uploads = json.dumps([{"model": "resnet50@1", "folder": str(folder)}])
    environ = {"LLM_ENDPOINT_REGISTRY": str(url), "LLM_ENDPOINT_REGISTRY_UPLOADS": uploads}
    assert parse_registry_url(environ["LLM_ENDPOINT_REGISTRY"]) == url

    status, out, _ = run(capsys, "make", "--json", **environ)
    assert (status, json.loads(out)) == (0, {"url": str(url), "made": True, "versioned": True})
    status, out, _ = run(capsys, "push", "--json", **environ)
    assert status == 0
    (model,) = json.loads(out)["models"]
    assert (model["model"], model["files"], model["changed"]) == (str(MODEL), 3, True)
    status, out, _ = run(capsys, "check", "--json", **environ)
    assert (status, json.loads(out)["status"]) == (0, "passed")
    status, out, err = run(capsys, "unmake", "--json", **environ)
    assert (status, out) == (1, "")
    assert "LLM_ENDPOINT_FORCE_DESTROY=1" in err
    status, out, _ = run(capsys, "unmake", "--json", **environ, LLM_ENDPOINT_FORCE_DESTROY="1")
    assert (status, json.loads(out)["bucket_deleted"]) == (0, True)


def test_the_commands_of_a_person_go_by_words(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    folder = ir(tmp_path / "model")
    url = str(s3_url("by-words"))
    assert run(capsys, "make", url)[0] == 0
    status, out, _ = run(capsys, "push", url, "resnet50@1", str(folder))
    assert (status, out.split(",")[0]) == (0, "resnet50@1: pushed")
    status, out, _ = run(capsys, "list", "--json", url)
    assert [one["model"] for one in json.loads(out)["models"]] == ["resnet50@1"]
    status, out, _ = run(capsys, "list", url)
    assert out.startswith("resnet50@1  300 kB in 3 file(s), pushed 20")
    status, out, _ = run(capsys, "pull", url, "resnet50@1", str(tmp_path / "there"))
    assert files_of(tmp_path / "there" / "resnet50" / "1") == files_of(folder)
    client = s3_client()
    client.put_object(Bucket="by-words", Key="models/resnet50/1/model.xml", Body=b"damaged")
    status, out, err = run(capsys, "check", url)
    assert status == 1
    assert "model.xml was overwritten since" in out
    assert "next: take each of these out and push it again" in err
    assert run(capsys, "remove", url, "resnet50@1")[0] == 0
    status, _, err = run(capsys, "pull", url, "resnet50@1", str(tmp_path / "elsewhere"))
    assert (status, "has no resnet50@1" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["push"], "no registry is named"),
        (["push", "s3://b/?x=1", "a@1", "f"], "names no registry"),
        (["list", "s3://bucket?endpoint=https://me:hunter2@host"], "names no registry"),
        (["push", "s3://bucket", "a@1"], "push takes NAME@VERSION and FOLDER"),
        (["push", "s3://bucket"], "LLM_ENDPOINT_REGISTRY_UPLOADS"),
        (["pull", "s3://bucket", "a@0", "f"], "names no version"),
        (["remove", "s3://bucket"], "takes one NAME@VERSION"),
        (["make", "gs://bucket"], "is made by the program model-registry"),
        (["list", "s3://bucket", "more"], "takes no 'more'"),
    ],
)
def test_wrong_words_end_with_2(capsys: pytest.CaptureFixture[str], words: list[str], why: str):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert why in err
    assert "next: " in err
    assert "hunter2" not in err


@pytest.mark.parametrize("uploads", ["{", "{}", '[{"model": "a@1"}]', "[1]"])
def test_uploads_that_can_not_be_read_end_with_2(capsys: pytest.CaptureFixture[str], uploads: str):
    status, _, err = run(
        capsys,
        "push",
        LLM_ENDPOINT_REGISTRY="s3://bucket",
        LLM_ENDPOINT_REGISTRY_UPLOADS=uploads,
    )
    assert status == 2
    assert "LLM_ENDPOINT_REGISTRY_UPLOADS" in err
