"""`ci` under the recording engine: what it makes, who may do what by it, what is told when."""

from collections.abc import Iterator, Mapping

import pytest

from components.targets.gcp.ci_wanted import Wanted
from components.targets.gke import nodes
from emulator.mocks.recording import Registration, Run, run
from scripts.changes.mocked import mocked_with
from scripts.gcp.program_roles import NODE_ROLE, deploying, previewing
from stacks import PROGRAMS

PROJECT = "my-project"
BUCKET = "my-project-llm-endpoint-ci-state"
BROAD = {"roles/owner", "roles/editor", "roles/viewer"}


@pytest.fixture(scope="module")
def made() -> Run:
    """What the defaults make."""
    return mocked_with({}, "ci").run


def of(seen: Run, kind: str, name: str) -> Registration:
    (found,) = [
        one
        for one in seen.registrations.values()
        if one.token.endswith(f":{kind}") and one.name == name
    ]
    return found


def roles(seen: Run, account: str) -> Mapping[str, Mapping[str, object]]:
    """The account's roles on the project, each with its condition."""
    members = [
        one.plain()
        for one in seen.registrations.values()
        if one.token == "gcp:projects/iAMMember:IAMMember" and one.parent == account
    ]
    return {str(one["role"]): one.get("condition", {}) for one in members}


def expression(condition: Mapping[str, object]) -> str:
    return str(condition["expression"])


def test_states_lie_in_a_private_bucket_that_never_goes_with_what_is_in_it(made: Run):
    bucket = of(made, "Bucket", "ci-state-bucket")
    assert bucket.plain() == {
        "name": BUCKET,
        "project": PROJECT,
        "location": "europe-west4",
        "storageClass": "STANDARD",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "versioning": {"enabled": True},
        "softDeletePolicy": {"retentionDurationSeconds": 30 * 86400},
        "lifecycleRules": [
            {
                "action": {"type": "Delete"},
                "condition": {"daysSinceNoncurrentTime": 90, "withState": "ARCHIVED"},
            },
            {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}},
        ],
        "labels": {},
        "forceDestroy": False,
    }
    thrown_away = mocked_with({"keep_data": "false"}, "ci").run
    assert of(thrown_away, "Bucket", "ci-state-bucket").plain()["forceDestroy"] is False


def test_the_key_turns_over_and_can_be_had_back_and_goes_after_the_bucket(made: Run):
    key = of(made, "CryptoKey", "ci-state-key")
    assert key.plain() == {
        "name": "pulumi-state",
        "keyRing": "ci-state-key-ring-id",
        "purpose": "ENCRYPT_DECRYPT",
        "rotationPeriod": "7776000s",
        "destroyScheduledDuration": "2592000s",
        "labels": {},
    }
    # What is made later goes first.
    api = of(made, "Service", "ci-state-storage-api")
    assert "ci-state-key" in api.input_dependencies["project"]
    assert "ci-state-storage-api" in of(made, "Bucket", "ci-state-bucket").dependencies


def test_what_cant_be_made_again_is_protected_unless_it_is_said_otherwise(made: Run):
    kept = {"Bucket", "KeyRing", "CryptoKey", "WorkloadIdentityPool"}
    kept |= {"WorkloadIdentityPoolProvider", "IAMCustomRole"}

    def protected(seen: Run) -> set[str]:
        return {one.token.rpartition(":")[2] for one in seen.registrations.values() if one.protect}

    assert protected(made) == kept
    role = of(made, "IAMCustomRole", "ci-preview-role")
    assert "ci-preview-account" not in role.dependencies, "it would have to stay with the role"
    anew = mocked_with({"keep_data": "false", "generation": "2"}, "ci").run
    assert protected(anew) == set()
    ids = [of(run, "IAMCustomRole", "ci-preview-role").plain()["roleId"] for run in (made, anew)]
    assert ids == ["llm_endpoint_ci_preview", "llm_endpoint_ci_preview_2"]


def test_a_preview_is_let_in_by_the_repositorys_numbers_and_what_started_it(made: Run):
    provider = of(made, "WorkloadIdentityPoolProvider", "ci-provider-preview").plain()
    assert provider["attributeCondition"] == (
        "assertion.repository_id == '2002' && assertion.repository_owner_id == '1001' "
        "&& assertion.event_name in ['pull_request', 'schedule', 'workflow_dispatch']"
    )
    assert provider["oidc"] == {"issuerUri": "https://token.actions.githubusercontent.com"}


def test_a_deployment_is_let_in_from_one_branch_and_environment_alone():
    given = {"branch": "release/1", "environment": "prod"}
    changed = mocked_with(given, "ci").run
    provider = of(changed, "WorkloadIdentityPoolProvider", "ci-provider-deploy").plain()
    assert provider["attributeCondition"] == (
        "assertion.repository_id == '2002' && assertion.repository_owner_id == '1001' "
        "&& assertion.event_name in ['push', 'schedule', 'workflow_dispatch'] "
        "&& assertion.environment == 'prod' && assertion.ref == 'refs/heads/release/1'"
    )


@pytest.mark.parametrize("purpose", ["preview", "deploy"])
def test_each_account_is_acted_as_by_what_came_through_its_own_provider(made: Run, purpose: str):
    provider = of(made, "WorkloadIdentityPoolProvider", f"ci-provider-{purpose}").plain()
    mapping = provider["attributeMapping"]
    assert isinstance(mapping, Mapping)
    assert mapping["attribute.purpose"] == f"'{purpose}'"
    # GitHub's own subject changed its form, and may be too long.
    assert "sub" not in str(mapping["google.subject"]).split(".")
    users = of(made, "IAMMember", f"ci-{purpose}-workflows").plain()
    assert users["role"] == "roles/iam.workloadIdentityUser"
    assert str(users["member"]).endswith(f"/attribute.purpose/{purpose}")
    assert str(users["serviceAccountId"]).endswith(
        f"llm-endpoint-ci-{purpose}@my-project.iam.gserviceaccount.com"
    )


def test_previews_read_the_state_and_decrypt_it_and_nothing_more(made: Run):
    assert of(made, "BucketIAMMember", "ci-preview-state").plain()["role"] == (
        "roles/storage.objectViewer"
    )
    assert of(made, "CryptoKeyIAMMember", "ci-preview-key").plain()["role"] == (
        "roles/cloudkms.cryptoKeyDecrypter"
    )
    for role in roles(made, "ci-preview"):
        assert role.endswith(("iewer", ".reader", "_preview")), role
    own = of(made, "IAMCustomRole", "ci-preview-role").plain()["permissions"]
    assert own == [
        "cloudkms.cryptoKeys.getIamPolicy",
        "container.secrets.get",
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
    ]


def test_deployments_write_the_state_and_only_decrypt(made: Run):
    assert of(made, "BucketIAMMember", "ci-deploy-state").plain()["role"] == (
        "roles/storage.objectUser"
    )
    assert of(made, "CryptoKeyIAMMember", "ci-deploy-key").plain()["role"] == (
        "roles/cloudkms.cryptoKeyDecrypter"
    )


def test_nobody_gets_a_basic_role_and_who_deploys_hands_out_only_what_stacks_give(made: Run):
    both = {**roles(made, "ci-preview"), **roles(made, "ci-deploy")}
    assert not BROAD & both.keys()
    granted = roles(made, "ci-deploy")
    said = expression(granted["roles/resourcemanager.projectIamAdmin"])
    assert said == (
        "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(["
        "'projects/my-project/roles/llm_endpoint_cpu_vm_group', "
        "'projects/my-project/roles/llm_endpoint_gpu_vm_group', "
        f"'{NODE_ROLE}'])"
    )
    assert expression(granted["roles/storage.admin"]) == (
        f"!resource.name.startsWith('projects/_/buckets/{BUCKET}')"
    )


def test_fewer_stacks_take_fewer_roles():
    machines = {grant.role for grant in deploying({"cpu-vm": "cpu-vm"}, PROJECT, BUCKET)}
    buckets = {grant.role for grant in deploying({"m": "model-registry"}, PROJECT, BUCKET)}
    clusters = {grant.role for grant in deploying({"g": "gke-ovms"}, PROJECT, BUCKET)}
    assert "roles/container.admin" not in machines
    assert "roles/compute.admin" not in clusters
    assert "roles/compute.viewer" in clusters - machines, "a sweep lists disks"
    assert buckets == {"roles/serviceusage.serviceUsageAdmin", "roles/storage.admin"}
    assert "roles/compute.viewer" not in {one.role for one in previewing(["model-registry"])}
    bucket_alone = mocked_with({"stacks": "models=model-registry"}, "ci").run
    own = of(bucket_alone, "IAMCustomRole", "ci-preview-role").plain()["permissions"]
    assert isinstance(own, list)
    assert "container.secrets.get" not in own


def test_a_stack_of_another_name_may_hand_out_the_role_that_it_names():
    (grant,) = [
        one
        for one in deploying({"team-a": "gpu-vm"}, PROJECT, BUCKET)
        if one.role.endswith("projectIamAdmin")
    ]
    assert grant.condition is not None
    assert "roles/llm_endpoint_team_a_group'" in grant.condition.expression


def test_the_roles_that_stacks_hand_out_are_those_that_may_be_handed_out():
    given = {"spot_recovery": "mig", "spot": "true", "idle_minutes": "30"}
    handed_out = set(_on_the_project(mocked_with(given, "cpu-vm").run))
    assert handed_out == {"llm_endpoint_cpu_vm_group"}
    assert nodes.NODE_ROLE == NODE_ROLE


def _on_the_project(seen: Run) -> Iterator[str]:
    for one in seen.registrations.values():
        if one.token == "gcp:projects/iAMMember:IAMMember":
            role = str(one.plain()["role"])
            yield role if role.startswith("roles/") else role.rpartition("/")[2]


def test_the_check_runs_last_and_is_told_what_to_find(made: Run):
    check = of(made, "Command", "ci-verification")
    assert str(check.plain()["create"]).endswith(" -m scripts.gcp.ci_check")
    everything = {
        one.name
        for one in made.registrations.values()
        if one.token.startswith("gcp:") and not one.token.endswith(":Service")
    }
    # These two come before others that it waits for.
    assert everything - check.dependencies == {"ci-preview-role", "ci-state-key-ring"}
    environment = check.plain()["environment"]
    assert isinstance(environment, Mapping)
    wanted = Wanted.from_json(str(environment["LLM_ENDPOINT_CI"]))
    assert wanted.bucket == BUCKET
    assert [one.name.rpartition("/")[2] for one in wanted.providers] == ["preview", "deploy"]
    for provider, account in zip(wanted.providers, wanted.accounts, strict=True):
        purpose = provider.mapping["attribute.purpose"].strip("'")
        assert account.email.startswith(f"llm-endpoint-ci-{purpose}@")
        assert account.principals.endswith(f"/{purpose}")


def test_the_outputs_are_where_the_state_goes_and_what_github_is_told(made: Run):
    values = {name: output.value for name, output in made.outputs.items()}
    assert values["state_backend"] == f"gs://{BUCKET}"
    assert values["secrets_provider"] == "gcpkms://ci-state-key-id"
    assert (values["endpoint_url"], values["openai_base_url"]) == (None, None)
    variables = values["github_variables"]
    assert isinstance(variables, Mapping)
    assert set(variables) == {
        "LLM_ENDPOINT_BACKEND",
        "LLM_ENDPOINT_PREVIEW_PROVIDER",
        "LLM_ENDPOINT_PREVIEW_ACCOUNT",
        "LLM_ENDPOINT_DEPLOY_PROVIDER",
        "LLM_ENDPOINT_DEPLOY_ACCOUNT",
        "LLM_ENDPOINT_PROJECT",
    }
    assert [name for name, output in made.outputs.items() if output.secret] == []


def test_no_output_that_somebody_acts_on_is_told_before_it_was_checked():
    program = PROGRAMS["ci"]
    settings = program.settings(
        {
            "gcp:project": PROJECT,
            "gcp:region": "europe-west4",
            "github_repository": "a/b",
            "github_repository_id": "1",
            "github_owner_id": "2",
        }
    )
    seen = run(lambda: program.deploy(settings), lambda _name, _inputs: None, "ci", preview=True)
    known = {name for name, output in seen.outputs.items() if output.known}
    assert known == {
        *("endpoint_url", "openai_base_url"),
        *("github_repository", "github_environment", "github_branch"),
    }
