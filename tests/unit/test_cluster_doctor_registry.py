"""What scripts/doctor finds for a stack in a cluster that names models from a registry."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import Asked, FakeApis, refusal
from fake_project import ZONE, text
from test_cluster_doctor import CLUSTERS, CONFIG, Project

BUCKET = "storage/v1/b/my-models"
CLASSIC = {
    "llm-endpoint:registry": "gs://my-models/prod",
    "llm-endpoint:classic_models": "resnet50@1 bert@2",
}
THERE = {"prod/manifests/resnet50/1.json", "prod/manifests/bert/2.json"}


class Stack(Project):
    """A stack whose registry has `there`."""

    there = THERE

    def configure(self, **changed: str) -> None:
        self.write({**CONFIG, **CLASSIC, **changed})

    def listed(self, asked: Asked) -> tuple[int, object]:
        (prefix,) = asked.query["prefix"]
        return 200, {"items": [{"name": one} for one in self.there if one.startswith(prefix)]}

    def registry(self) -> str:
        found = [one for one in self.find() if "registry" in one.text or "bucket" in one.text]
        return text(found)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with FakeApis() as google, FakeEndpoint() as page:
        found = Stack(google, page, tmp_path, "gke-ovms")
        for kind in ("c3-standard-22", "e2-standard-2"):
            google.on(f"{ZONE}/machineTypes/{kind}", (200, {"guestCpus": 2, "memoryMb": 8192}))
        google.on(f"{CLUSTERS}/llm-endpoint-gke-ovms", refusal(404, "there is none"))
        google.on(f"{BUCKET}/o", found.listed)
        allowed = ["storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"]
        google.on(f"{BUCKET}/iam/testPermissions", (200, {"permissions": allowed}))
        yield found


def test_a_registry_with_all_that_is_named_is_in_order(stack: Stack):
    assert stack.registry().endswith("registry gs://my-models/prod has bert@2, resnet50@1")


def test_a_version_without_a_manifest_is_not_there(stack: Stack):
    stack.there = {"prod/manifests/resnet50/1.json", "prod/manifests/bert/2.json.part"}
    said = stack.registry()
    assert "registry gs://my-models/prod has no bert@2" in said
    assert "python -m scripts.model_registry push gs://my-models/prod bert@2 FOLDER" in said
    assert "resnet50" not in said


def test_a_language_model_is_looked_for_too(stack: Stack):
    stack.configure(**{"llm-endpoint:model": "registry:qwen3-8b@3"})
    assert "has no qwen3-8b@3" in stack.registry()


def test_a_bucket_that_is_not_there_is_said_once(stack: Stack):
    for path in ("o", "iam/testPermissions"):
        stack.google.on(f"{BUCKET}/{path}", refusal(404, "there is none"))
    said = stack.registry()
    assert "registry gs://my-models/prod: there is no bucket of that name" in said
    assert said.count("bucket") == 1


def test_who_may_not_let_pods_in_is_told_what_is_lacking(stack: Stack):
    told = {"permissions": ["storage.buckets.getIamPolicy"]}
    stack.google.on(f"{BUCKET}/iam/testPermissions", (200, told))
    said = stack.registry()
    assert "lack storage.buckets.setIamPolicy on the bucket my-models" in said
    assert "add-iam-policy-binding gs://my-models" in said


def test_what_google_does_not_tell_is_a_note(stack: Stack):
    stack.google.on(f"{BUCKET}/o", refusal(403, "not yours"))
    assert "registry gs://my-models/prod: Google does not tell" in stack.registry()


def test_storage_that_is_not_googles_is_left_to_the_deployment(stack: Stack):
    s3 = "s3://my-models?endpoint=https://hb.example.org"
    keys = {"registry_key_id": "AKIA1", "registry_secret_key": {"secure": "v1:abc:def"}}
    given = {f"llm-endpoint:{key}": value for key, value in keys.items()}
    stack.write({**CONFIG, **CLASSIC, "llm-endpoint:registry": s3, **given})
    assert f"not looked at with the stack's own keys: the registry {s3}" in stack.registry()


def test_a_key_of_an_account_takes_a_permission_more(stack: Stack):
    stack.lacking = {"iam.serviceAccountKeys.create"}
    assert "iam.serviceAccountKeys" not in text(stack.find())
    stack.configure(**{"llm-endpoint:registry_access": "key"})
    assert "lack iam.serviceAccountKeys.create" in text(stack.find())


def test_the_disk_of_classic_models_counts(stack: Stack):
    assert "SSD_TOTAL_GB in europe-west4: 220 needed" in text(stack.find())
