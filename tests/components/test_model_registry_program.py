"""`model-registry` under the recording engine: what it registers, in which order, how secret."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.settings import ConfigurationError
from components.settings.secrets import MarkedSecret
from emulator.mocks.recording import Registration, Run, run
from stacks import PROGRAMS
from stacks.interpreter import CHECKOUT
from stacks.model_registry import identity_of, uploads_of

PROGRAM = PROGRAMS["model-registry"]
GOOGLE = {"gcp:project": "my-project", "gcp:region": "europe-west4", "labels": "team=research"}
SECRET = "the-secret-key-of-the-test"
S3 = {
    "registry": "s3://models/all?endpoint=https://s3.example.org&region=r",
    "registry_key_id": "AKID",
    "registry_secret_key": MarkedSecret(SECRET),
}
RECEIPT = {"status": "passed", "models": [{"model": "a@1"}, {"model": "b@2"}]}


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    if name.endswith("-check"):
        return json.dumps(RECEIPT)
    return "{}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.onnx").write_bytes(b"weights")
    return tmp_path / "a"


def deployed(raw: Mapping[str, str], *, preview: bool = False, taints: bool = False) -> Run:
    settings = PROGRAM.settings(raw)
    printed = (lambda name, inputs: None) if preview else stdout
    return run(
        lambda: PROGRAM.deploy(settings), printed, "model-registry", preview=preview, taints=taints
    )


def of(seen: Run, name: str) -> Registration:
    (found,) = [entry for entry in seen.registrations.values() if entry.name == name]
    return found


def command(seen: Run, name: str) -> Registration:
    return seen.registrations[f"command:local:Command:model-registry-{name}"]


def bucket(seen: Run) -> Registration:
    return seen.registrations["gcp:storage/bucket:Bucket:model-registry-bucket"]


def test_googles_bucket_is_seen_by_nobody_and_keeps_what_was_overwritten_for_a_month():
    made = bucket(deployed(GOOGLE))
    assert made.plain() == {
        "name": "my-project-llm-endpoint-model-registry-models",
        "project": "my-project",
        "location": "europe-west4",
        "storageClass": "STANDARD",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "versioning": {"enabled": True},
        "softDeletePolicy": {"retentionDurationSeconds": 0},
        "lifecycleRules": [
            {
                "action": {"type": "Delete"},
                "condition": {"daysSinceNoncurrentTime": 30, "withState": "ARCHIVED"},
            },
            {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
        ],
        "labels": {"team": "research"},
        "forceDestroy": True,
    }
    assert made.delete_before_replace
    assert not made.protect
    assert made.input_dependencies["project"] == {"model-registry-storage-api"}


def test_data_that_is_kept_is_protected_and_not_deleted_by_force():
    made = bucket(deployed({**GOOGLE, "keep_data": "true"}))
    assert made.protect
    assert made.plain()["forceDestroy"] is False
    kept = command(deployed({**S3, "keep_data": "true"}), "bucket")
    assert kept.protect
    assert kept.plain()["environment"]["LLM_ENDPOINT_FORCE_DESTROY"] == ""


def test_a_bucket_of_s3_is_made_and_deleted_by_commands_and_nothing_of_googles_is_there():
    seen = deployed(S3)
    assert not [one for one in seen.registrations.values() if one.token.startswith("gcp:")]
    made = command(seen, "bucket").plain()
    assert str(made["create"]).endswith(" -m scripts.model_registry make --json")
    assert str(made["delete"]).endswith(" -m scripts.model_registry unmake --json")
    assert made["environment"] == {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "",
        "LLM_ENDPOINT_REGISTRY": S3["registry"],
        "LLM_ENDPOINT_FORCE_DESTROY": "1",
    }
    assert command(seen, "bucket").delete_before_replace


def test_another_region_or_folder_is_no_other_bucket_and_another_endpoint_is():
    def identity(text: str) -> str:
        url = PROGRAM.settings({"registry": text}).url()
        return identity_of(url)

    assert identity("s3://models/x?region=r") == identity("s3://models")
    assert identity("s3://models") != identity("s3://models?endpoint=https://s3.example.org")
    assert identity("s3://models") != identity("s3://others")


@pytest.mark.parametrize("taints", [False, True])
def test_credentials_are_secret_wherever_they_are_and_no_output_is(folder: Path, taints: bool):
    seen = deployed({**S3, "uploads": f"a@1={folder}"}, taints=taints)
    for name in ("bucket", "upload-a-1", "check"):
        made = command(seen, name)
        assert made.is_secret("environment", "AWS_SECRET_ACCESS_KEY")
        assert made.is_secret("environment", "AWS_ACCESS_KEY_ID")
        assert SECRET not in json.dumps(made.without_secrets())
    assert [name for name, value in seen.outputs.items() if value.secret] == []
    assert SECRET not in json.dumps(seen.component_outputs)


def test_uploads_come_after_the_bucket_and_the_check_after_all_of_them(folder: Path):
    for raw in (GOOGLE, S3):
        seen = deployed({**raw, "uploads": f"a@1={folder} b@2={folder}"})
        upload = command(seen, "upload-b-2")
        assert "model-registry-bucket" in upload.dependencies
        check = command(seen, "check")
        assert {"model-registry-upload-a-1", "model-registry-upload-b-2"} <= check.dependencies
        assert upload.plain()["environment"]["LLM_ENDPOINT_REGISTRY_UPLOADS"] == json.dumps(
            [{"model": "b@2", "folder": str(folder)}]
        )


def test_an_upload_is_run_again_for_other_content_and_for_another_bucket(folder: Path):
    raw = {**GOOGLE, "uploads": f"a@1={folder}"}
    before = command(deployed(raw), "upload-a-1").plain()["triggers"]
    assert before == command(deployed(raw), "upload-a-1").plain()["triggers"]
    (folder / "model.onnx").write_bytes(b"others!")
    after = command(deployed(raw), "upload-a-1").plain()["triggers"]
    assert before[0] == after[0]
    assert "2026-11-21" in before[0]
    assert before[1] != after[1]


def test_the_outputs_are_a_registry_and_no_endpoint(folder: Path):
    seen = deployed({**S3, "uploads": f"a@1={folder}"})
    values = {name: output.value for name, output in seen.outputs.items()}
    assert values == {
        "state": "serving",
        "endpoint_url": None,
        "openai_base_url": None,
        "registry": S3["registry"],
        "models": ["a@1", "b@2"],
        "verification": RECEIPT,
        "billing": [
            {
                "resource": f"bucket {S3['registry']}: what lies in it, and what is read of it",
                "running": True,
                "parked": True,
            }
        ],
    }
    google = deployed(GOOGLE)
    assert google.outputs["registry"].value == "gs://my-project-llm-endpoint-model-registry-models"


def test_nothing_is_exported_before_it_was_checked(folder: Path):
    seen = deployed({**GOOGLE, "uploads": f"a@1={folder}"}, preview=True)
    known = {name for name, output in seen.outputs.items() if output.known}
    assert known == {"endpoint_url", "openai_base_url"}


def test_every_folder_that_is_no_model_is_refused_before_anything_is_made(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        uploads_of(
            PROGRAM.settings({**GOOGLE, "uploads": f"a@1={tmp_path}/empty b@1=/no/such/folder"})
        )
    said = str(caught.value)
    assert "llm-endpoint:uploads, a@1: " in said
    assert "llm-endpoint:uploads, b@1: /no/such/folder is not there" in said
    assert "stays there without being listed" in said


def test_a_folder_of_the_persons_home_is_the_same_for_preview_and_upload(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(folder.parent))
    (upload,) = uploads_of(PROGRAM.settings({**GOOGLE, "uploads": "a@1=~/a"}))
    assert upload.folder == str(folder)


def test_neither_google_nor_storage_is_loaded_before_it_is_deployed():
    code = "import sys, stacks.model_registry; print({'pulumi_gcp', 'boto3'} & set(sys.modules))"
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "set()"
