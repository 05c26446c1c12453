"""`pulumi up --stack ci` on the real engine over an emulated cloud, and what it takes to end it.

Its check asks stand-ins for Google's APIs, which answer from what that cloud holds. The tests run
in order on one stack.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import emulated_cloud
import pytest
from emulated_cloud import EmulatedCloud
from fake_ci_apis import CiApis
from fake_gcs import FakeGcs

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

STACK = "ci"
BUCKET = "a-project-llm-endpoint-ci-state"
DESTROY = ("destroy", "--yes", "--skip-preview", "--stack", STACK)


@dataclass(frozen=True)
class Ci:
    """The stack, and the stand-ins that its check asks."""

    cloud: EmulatedCloud
    apis: CiApis
    storage: FakeGcs

    def outputs(self) -> dict[str, Any]:
        return self.cloud.outputs(STACK)

    def of(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """What the cloud holds of a kind, such as `cryptoKeys`, by its name."""
        found = [(key.split("/"), made) for key, made in self.cloud.resources().items()]
        return {parts[-1]: made for parts, made in found if parts[-2:-1] == [kind]}

    def refused(self, *words: str) -> str:
        done = self.cloud.run(*words)
        assert done.status != 0, done.text
        return done.text

    def asked(self, end: str) -> int:
        """How often the check asked for what ends so."""
        return sum(one.path.endswith(end) for one in self.apis.asked)


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ci]:
    folder = tmp_path_factory.mktemp(STACK)
    made = emulated_cloud.make(folder, "203.0.113.7")
    storage = FakeGcs(BUCKET)
    with CiApis(folder=folder / "cloud") as apis:
        where = {
            **apis.environment,
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage.port}",
        }
        cloud = dataclasses.replace(made, extra=where)
        cloud.good("stack", "init", STACK)
        cloud.configure(
            STACK,
            gcp__project="a-project",
            gcp__region="europe-west4",
            github_repository="my-team/endpoints",
            github_repository_id="2002",
            github_owner_id="1001",
            stacks="cpu-vm",
            labels="team=research",
        )
        cloud.up(STACK)
        yield Ci(cloud, apis, storage)
    storage.close()


def test_up_tells_where_the_state_goes_and_what_workflows_are_told(ci: Ci):
    outputs = ci.outputs()
    assert outputs["state"] == "serving"
    assert outputs["state_backend"] == f"gs://{BUCKET}"
    (ring,) = ci.of("keyRings")
    keys = f"projects/a-project/locations/europe-west4/keyRings/{ring}/cryptoKeys/pulumi-state"
    assert outputs["secrets_provider"] == f"gcpkms://{keys}"
    variables = outputs["github_variables"]
    assert variables["LLM_ENDPOINT_BACKEND"] == outputs["state_backend"]
    assert variables["LLM_ENDPOINT_PREVIEW_PROVIDER"].endswith("/providers/preview")
    assert variables["LLM_ENDPOINT_DEPLOY_ACCOUNT"] == (
        "llm-endpoint-ci-deploy@a-project.iam.gserviceaccount.com"
    )


def test_the_check_has_used_bucket_and_key_and_left_nothing_behind(ci: Ci):
    receipt = ci.outputs()["verification"]
    assert receipt["status"] == "passed"
    names = [check["name"] for check in receipt["checks"]]
    assert "bucket can be written" in names
    assert "key encrypts and decrypts" in names
    assert ci.storage.objects == {}
    assert [one.method for one in ci.storage.seen].count("DELETE") == 1


def test_nothing_of_it_is_secret_and_an_unchanged_stack_has_no_changes(ci: Ci):
    shown = json.loads(ci.cloud.good("stack", "output", "--json", "--stack", STACK).stdout)
    assert shown == ci.outputs()
    ci.cloud.good("preview", "--expect-no-changes", "--stack", STACK)


def test_another_branch_changes_the_provider_in_place_and_is_checked(ci: Ci):
    before = ci.asked("/providers/deploy")
    ci.cloud.configure(STACK, branch="release")
    ci.cloud.up(STACK)
    provider = ci.of("providers")["deploy"]
    assert "'refs/heads/release'" in provider["inputs"]["attributeCondition"]
    assert ci.asked("/providers/deploy") > before


def test_a_pool_that_lets_in_others_too_is_refused_and_no_output_is_told(ci: Ci):
    ci.apis.changed["/providers"] = {
        "workloadIdentityPoolProviders": [
            {"name": f"x/providers/{name}"} for name in ("preview", "deploy", "theirs")
        ]
    }
    ci.cloud.configure(STACK, branch="main")
    said = ci.refused("up", "--yes", "--skip-preview", "--stack", STACK)
    assert "pool has these providers alone" in said
    assert "deploy, preview, theirs" in said
    ci.apis.changed.clear()


def test_what_cant_be_made_again_outlives_a_destroy_and_is_taken_up_again(ci: Ci):
    ci.cloud.good(*DESTROY, "--exclude-protected")
    assert set(ci.of("providers")) == {"preview", "deploy"}
    assert BUCKET in ci.cloud.resources()
    assert ci.of("serviceAccounts") == {}
    ci.cloud.up(STACK)
    assert "'refs/heads/main'" in ci.of("providers")["deploy"]["inputs"]["attributeCondition"]
    assert set(ci.of("serviceAccounts")) >= {
        "llm-endpoint-ci-preview@a-project.iam.gserviceaccount.com",
        "llm-endpoint-ci-deploy@a-project.iam.gserviceaccount.com",
    }


def test_a_bucket_with_a_state_in_it_stays_and_so_does_its_key(ci: Ci):
    ci.cloud.configure(STACK, keep_data="false")
    ci.cloud.up(STACK)
    ci.storage.put(".pulumi/stacks/llm-endpoint/cpu-vm.json", b"{}")
    assert "without `force_destroy`" in ci.refused(*DESTROY)
    assert BUCKET in ci.cloud.resources()
    assert "pulumi-state" in ci.of("cryptoKeys")


def test_an_empty_one_goes_and_its_names_are_taken_for_good(ci: Ci):
    ci.storage.objects.clear()
    ci.cloud.good(*DESTROY)
    assert ci.cloud.resources() == {}
    said = ci.refused("up", "--yes", "--skip-preview", "--stack", STACK)
    assert "already exists" in said
    ci.cloud.configure(STACK, generation="2")
    ci.cloud.up(STACK)
    ci.cloud.good(*DESTROY)
    assert ci.cloud.resources() == {}
