"""What scripts/up, scripts/down and scripts/doctor say of a `ci` stack."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint
from fake_google_apis import Asked, FakeApis, Reply, refusal
from fake_project import FakeProject, text

from scripts.bootstrap import own_bucket, summary
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.changes.mocked import mocked_with
from stacks import PROGRAMS
from stacks.ci import unique_name

CONFIG = {
    "gcp:project": "my-project",
    "gcp:region": "europe-west4",
    "llm-endpoint:github_repository": "my-team/endpoints",
    "llm-endpoint:github_repository_id": "2002",
    "llm-endpoint:github_owner_id": "1001",
}
SETTINGS = {key.removeprefix("llm-endpoint:"): value for key, value in CONFIG.items()}


@pytest.fixture(scope="module")
def outputs() -> summary.Outputs:
    seen = mocked_with(SETTINGS, "ci").run.outputs
    return summary.read({name: output.value for name, output in seen.items()})


def test_up_ends_with_the_commands_that_tell_github(outputs: summary.Outputs):
    lines = summary.closing_lines(outputs, "ci", "scripts/pulumi", None)
    assert "  states:   gs://my-project-llm-endpoint-ci-state" in lines
    commands = [shlex.split(line) for line in lines if line.startswith("  gh ")]
    variables = [words for words in commands if words[1:3] == ["variable", "set"]]
    assert {words[3] for words in variables} == {
        "LLM_ENDPOINT_BACKEND",
        "LLM_ENDPOINT_PREVIEW_PROVIDER",
        "LLM_ENDPOINT_PREVIEW_ACCOUNT",
        "LLM_ENDPOINT_DEPLOY_PROVIDER",
        "LLM_ENDPOINT_DEPLOY_ACCOUNT",
        "LLM_ENDPOINT_PROJECT",
    }
    assert all(words[4:6] == ["--repo", "my-team/endpoints"] for words in variables)
    made, limited = [words for words in commands if words[1] == "api"]
    assert "repos/my-team/endpoints/environments/production" in made
    assert "reviewers[][type]=User" in made
    assert limited[-1] == "name=main"
    assert "curl" not in "\n".join(lines)


def refused(outputs: summary.Outputs, url: str, *, keeps_bucket: bool = False) -> str | None:
    chosen = Backend(url, "PULUMI_BACKEND_URL", None)
    try:
        own_bucket.refuse(
            Checkout(Path("/a/checkout")), "ci", chosen, outputs, keeps_bucket=keeps_bucket
        )
    except BootstrapError as error:
        return str(error)
    return None


def test_down_is_refused_while_the_state_lies_in_the_bucket_that_would_go(
    outputs: summary.Outputs,
):
    own = "gs://my-project-llm-endpoint-ci-state"
    said = refused(outputs, own)
    assert said is not None
    assert "scripts/state move ci 'file:///a/checkout/.state/backend'" in said
    assert refused(outputs, f"{own}/folder?x=y") is not None
    assert refused(outputs, own, keeps_bucket=True) is None
    assert refused(outputs, "gs://my-project-llm-endpoint-ci-state-2") is None
    assert refused(outputs, "file:///a/checkout/.state/backend") is None
    assert refused(summary.read({}), own) is None


def test_down_says_which_names_stay_taken():
    assert "scripts/pulumi config set generation 2 --stack ci" in own_bucket.names_stay(
        "ci", "scripts/pulumi"
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[FakeProject]:
    with FakeApis() as google, FakeEndpoint() as page:
        made = FakeProject(google, page, tmp_path, "ci")
        made.write({**CONFIG})
        google.on("serviceusage/v1/projects/my-project/services:batchGet", _all_on)
        yield made


def _all_on(asked: Asked) -> Reply:
    services = [
        {"name": name.replace("my-project", "123"), "state": "ENABLED"}
        for name in asked.query["names"]
    ]
    return 200, {"services": services}


def pool_path() -> str:
    pool = unique_name(PROGRAMS["ci"].settings(SETTINGS), "ci")
    return f"iam/v1/projects/my-project/locations/global/workloadIdentityPools/{pool}"


def test_doctor_finds_a_project_that_is_ready(project: FakeProject):
    found = project.find()
    assert {one.verdict for one in found} == {"ok"}, text(found)
    shown = [one.text for one in found]
    assert shown[0] == (
        "configuration: workflows of my-team/endpoints deploy cpu-vm, gke-colab, gke-ovms, "
        "gpu-vm, model-registry; states in gs://my-project-llm-endpoint-ci-state"
    )
    assert "bucket my-project-llm-endpoint-ci-state: up makes it" in shown
    assert shown[-1].endswith(": up makes it")


def test_doctor_names_the_next_generation_where_a_deleted_pool_keeps_its_name(
    project: FakeProject,
):
    project.google.on(pool_path(), (200, {"state": "DELETED"}))
    found = project.problem()
    assert "keeps its name for 30 days" in found.text
    assert found.type == "scripts/pulumi config set generation 2 --stack ci"


def test_doctor_names_the_role_that_who_sets_up_lacks(project: FakeProject):
    project.lacking = {"cloudkms.cryptoKeyVersions.useToEncrypt"}
    assert "--role roles/cloudkms.cryptoKeyEncrypterDecrypter" in project.problem().type


def test_doctor_asks_google_nothing_before_the_configuration_is_right(project: FakeProject):
    project.write({"gcp:project": "my-project"})
    found = project.find()
    assert "llm-endpoint:github_repository_id is not set" in text(found)
    assert project.google.asked == []


def test_doctor_says_that_google_does_not_tell_of_the_pool(project: FakeProject):
    project.google.on(pool_path(), refusal(403, "Permission denied"))
    (found,) = [one for one in project.find() if one.text.startswith("identity pool")]
    assert found.verdict == "note"
