"""The configuration of `ci`: what it takes, and what it refuses in which words."""

import pytest

from components.settings import CiSettings, ConfigurationError, load
from components.settings.ci import CLOUD_PROGRAMS
from stacks import PROGRAMS
from stacks.ci import account_id, state_bucket, unique_name

GOOD = {
    "gcp:project": "my-project",
    "gcp:region": "europe-west4",
    "github_repository": "my-team/endpoints",
    "github_repository_id": "2002",
    "github_owner_id": "1001",
}


def settings(**changed: str) -> CiSettings:
    return load(CiSettings, {**GOOD, **changed}, {})


def refusal(raw: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(CiSettings, raw, {})
    return str(caught.value)


def test_it_deploys_every_cloud_program_from_main_behind_production_and_keeps_its_data():
    read = settings()
    assert read.deployed() == {name: name for name in CLOUD_PROGRAMS}
    assert (read.environment, read.branch, read.keep_data) == ("production", "main", True)


def test_every_program_but_local_and_ci_itself_is_one_that_workflows_deploy():
    assert set(CLOUD_PROGRAMS) == PROGRAMS.keys() - {"local", "ci"}


def test_what_is_missing_is_named_with_the_command_that_prints_the_numbers():
    said = refusal({})
    for key in GOOD:
        full = key if ":" in key else f"llm-endpoint:{key}"
        assert f"{full} is not set" in said
    assert (
        "next: scripts/pulumi config set github_repository_id "
        "\"$(gh api repos/OWNER/REPO --jq '.id')\"" in said
    )


def test_a_stack_of_another_name_is_given_with_its_program():
    read = settings(stacks="cpu-vm team-a=gke-ovms")
    assert read.deployed() == {"cpu-vm": "cpu-vm", "team-a": "gke-ovms"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("github_repository", "https://github.com/a/b", "it takes OWNER/REPO"),
        ("github_repository", "just-a-name", "it takes OWNER/REPO"),
        ("github_repository_id", "my-team/endpoints", "gh api repos/OWNER/REPO --jq"),
        ("github_owner_id", "0", "the number that GitHub knows it by"),
        ("github_owner_id", "1' || true || '", "the number that GitHub knows it by"),
        ("environment", "prod'] || true", "letters, digits, - _ and ."),
        ("branch", "refs heads main", "a branch's name such as main"),
        ("branch", "main' || '1' == '1", "a branch's name such as main"),
        ("branch", "a..b", "a branch's name such as main"),
        ("stacks", "local", "'local' names no program in Google Cloud"),
        ("stacks", "ci", "'ci' names no program in Google Cloud"),
        ("stacks", "a=b", "'a=b' names no program"),
        ("stacks", "cpu-vm cpu-vm", "cpu-vm stands there twice"),
        ("stacks", "[]", "name one stack at least"),
        ("stacks", "$(x)=cpu-vm", "is no stack's name"),
        ("bucket_name", "My.Bucket", "3 to 63 lower-case letters"),
        ("generation", "0", "a whole number, from 1, to 999"),
        ("gcp:region", "europe-west4-a", "take europe-west4"),
        ("labels", "Team=x", "'Team' is no label's name"),
    ],
)
def test_what_would_not_do_is_refused(key: str, value: str, said: str):
    refused = refusal({**GOOD, key: value})
    assert said in refused
    assert f"scripts/pulumi config set {key} " in refused.partition("next: ")[2]


def test_a_new_region_is_a_warning():
    (new,) = settings(**{"gcp:region": "europe-west14"}).warnings()
    assert "does not know the region europe-west14" in new


def test_names_that_can_be_given_once_differ_by_project_stack_and_generation():
    others = (
        unique_name(settings(), "ci"),
        unique_name(settings(**{"gcp:project": "other-project"}), "ci"),
        unique_name(settings(generation="2"), "ci"),
        unique_name(settings(), "ci-of-a-team-with-a-very-long-name"),
    )
    assert len(set(others)) == len(others)
    for name in others:
        assert 4 <= len(name) <= 32
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert unique_name(settings(), "ci") == others[0]


def test_accounts_of_two_stacks_are_two_and_short_enough():
    stacks = ("ci", "ci-of-a-team-with-a-long-name", "ci-of-a-team-with-a-long-name-too")
    names = {account_id(stack, purpose) for stack in stacks for purpose in ("preview", "deploy")}
    assert len(names) == 6
    assert all(6 <= len(name) <= 30 for name in names)
    assert account_id("ci", "deploy") == "llm-endpoint-ci-deploy"


def test_the_bucket_is_named_after_project_and_stack_unless_it_is_given():
    assert state_bucket(settings(), "ci") == "my-project-llm-endpoint-ci-state"
    assert state_bucket(settings(bucket_name="ours"), "ci") == "ours"
