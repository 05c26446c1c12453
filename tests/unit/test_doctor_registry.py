"""What scripts/doctor finds for a model registry, of Google's and of storage that speaks S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import TOKEN, FakeApis, refusal
from fake_project import PROJECT, FakeProject, text

BUCKET = "my-project-llm-endpoint-model-registry-models"
GOOGLE = {"gcp:project": "my-project", "gcp:region": "europe-west4"}


@pytest.fixture
def page() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as page:
        yield page


@pytest.fixture
def cloud(tmp_path: Path, page: FakeEndpoint) -> Iterator[FakeProject]:
    with FakeApis() as google:
        found = FakeProject(google, page, tmp_path, "model-registry")
        found.write(dict(GOOGLE))
        yield found


def test_a_project_that_is_ready_has_no_problem(cloud: FakeProject):
    shown = [one.text for one in cloud.find()]
    assert shown == [
        f"configuration: 0 to upload to gs://{BUCKET} in europe-west4",
        "credentials: GOOGLE_OAUTH_ACCESS_TOKEN",
        "project my-project, number 123",
        "billing is enabled",
        "APIs: storage are enabled",
        "permissions: all 9 that up needs",
        f"bucket {BUCKET}: up makes it",
    ]
    asked = [one.path for one in cloud.google.asked if one.method != "GET"]
    assert asked == [f"/{PROJECT}:testIamPermissions"]


def test_a_bucket_of_ours_is_there_and_one_of_others_is_a_problem(cloud: FakeProject):
    cloud.google.on(f"storage/v1/b/{BUCKET}", (200, {"location": "EUROPE-WEST4"}))
    assert f"bucket {BUCKET} is there, in europe-west4" in text(cloud.find())
    cloud.google.on(f"storage/v1/b/{BUCKET}", refusal(403, "no access"))
    found = cloud.problem()
    assert "not these credentials' to see" in found.text
    assert "scripts/pulumi config set bucket_name NAME" in found.type


def test_a_permission_that_lacks_names_the_role_that_has_it(cloud: FakeProject):
    cloud.lacking = {"storage.buckets.create"}
    found = cloud.problem()
    assert found.text == "these credentials lack storage.buckets.create"
    assert "--role roles/storage.admin" in found.type


def test_without_credentials_google_is_not_asked(cloud: FakeProject):
    found = cloud.find(GOOGLE_OAUTH_ACCESS_TOKEN="", GOOGLE_CREDENTIALS="/no/such/file")
    assert "not looked at without credentials: project, billing" in text(found)
    assert cloud.google.asked == []


def test_a_folder_that_is_not_there_is_a_problem_before_up_says_so(cloud: FakeProject):
    uploads = f"a@1={cloud.folder} b@1=no/such/folder"
    cloud.write({**GOOGLE, "llm-endpoint:uploads": uploads})
    assert cloud.problem().text == "uploads: there is no folder no/such/folder for b@1"


def test_a_configuration_with_a_fault_is_told_and_nothing_of_machines_is_said(cloud: FakeProject):
    cloud.write({"gcp:project": "my-project"})
    shown = text(cloud.find())
    assert "scripts/pulumi config set gcp:region europe-west4 --stack model-registry" in shown
    assert "machine type" not in shown


def test_storage_that_speaks_s3_is_looked_for_and_google_is_not_asked(
    cloud: FakeProject, page: FakeEndpoint
):
    secret = {"secure": "v1:AAAA"}
    cloud.write(
        {
            "llm-endpoint:registry": f"s3://models?endpoint={page.url}",
            "llm-endpoint:registry_key_id": secret,
            "llm-endpoint:registry_secret_key": secret,
        }
    )
    found = cloud.find()
    assert {one.verdict for one in found} == {"ok"}, text(found)
    assert f"storage: {page.url}" in text(found)
    assert "registry_key_id and registry_secret_key; up tries them" in text(found)
    assert cloud.google.asked == []
    assert TOKEN not in text(found)


def test_storage_that_does_not_answer_is_a_problem(cloud: FakeProject):
    cloud.write({"llm-endpoint:registry": "s3://models?endpoint=http://127.0.0.1:9"})
    assert cloud.problem().text == "storage: nothing answers at http://127.0.0.1:9"
    assert "credentials: none in the configuration" in text(cloud.find())
