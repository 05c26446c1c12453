"""The emulated cloud's pools and keys, and the check of `ci` over them."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_ci_apis import CiApis
from fake_gcs import FakeGcs
from fake_google_apis import TOKEN

from components.targets.gcp.ci_wanted import Account, Provider, Wanted
from emulator.gcp.cloud import Cloud
from emulator.gcp.kind import Fields, Where
from emulator.plugin.errors import PluginError
from scripts.bootstrap import plugins
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.ci_check import again
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import this_checkout
from scripts.bootstrap.pulumi_cli import Cli
from scripts.gcp import ci_check
from scripts.gcp.ci_check import CheckFailed, World, main, run
from scripts.gcp.credentials import find
from scripts.gcp.rest import ApiError, from_environment

WHERE = Where("my-project", "europe-west4", "europe-west4-a")
POOL = "gcp:iam/workloadIdentityPool:WorkloadIdentityPool"
PROVIDER = "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider"
RING = "gcp:kms/keyRing:KeyRing"
KEY = "gcp:kms/cryptoKey:CryptoKey"
USERS = "gcp:serviceaccount/iAMMember:IAMMember"
READERS = "gcp:storage/bucketIAMMember:BucketIAMMember"
EMAIL = "llm-endpoint-ci-preview@my-project.iam.gserviceaccount.com"
ISSUER = "https://token.actions.githubusercontent.com"
CONDITION = "assertion.repository_id == '2002'"
MAPPING: Fields = {"google.subject": "assertion.run_id", "attribute.purpose": "'preview'"}


@dataclass(frozen=True)
class Emulated:
    """What `ci` made in an emulated cloud, and the stand-ins for the APIs that tell of it."""

    cloud: Cloud
    apis: CiApis
    storage: FakeGcs
    wanted: Wanted

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.apis.environment,
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.storage.port}",
            "LLM_ENDPOINT_CI": self.wanted.as_json(),
        }

    def check(self, wanted: Wanted | None = None) -> dict[str, object]:
        """Run the check, without pauses."""
        world = World(from_environment(find(self.environment), self.environment), self.environment)
        return {**run(wanted or self.wanted, world, pause=lambda _seconds: None)}

    def fault(self, wanted: Wanted | None = None) -> CheckFailed:
        with pytest.raises(CheckFailed) as caught:
            self.check(wanted)
        return caught.value


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulated]:
    cloud = Cloud(tmp_path, (), "203.0.113.7")
    storage = FakeGcs("states")
    bucket: Fields = {
        "name": "states",
        "location": "europe-west4",
        "publicAccessPrevention": "enforced",
        "uniformBucketLevelAccess": True,
        "versioning": {"enabled": True},
    }
    cloud.create("gcp:storage/bucket:Bucket", bucket, WHERE)
    pool = cloud.create(POOL, {"workloadIdentityPoolId": "ours"}, WHERE)
    provider = cloud.create(PROVIDER, provider_inputs("preview"), WHERE)
    ring = cloud.create(RING, {"name": "ring", "location": "europe-west4"}, WHERE)
    key = cloud.create(KEY, {"name": "pulumi-state", "keyRing": ring.identity}, WHERE)
    principals = f"principalSet://iam.googleapis.com/{pool.added['name']}/attribute.purpose/preview"
    users: Fields = {
        "serviceAccountId": f"projects/my-project/serviceAccounts/{EMAIL}",
        "role": "roles/iam.workloadIdentityUser",
        "member": principals,
    }
    cloud.create(USERS, users, WHERE)
    wanted = Wanted(
        project="my-project",
        bucket="states",
        key=key.identity,
        pool=str(pool.added["name"]),
        issuer=ISSUER,
        providers=(
            Provider(
                str(provider.added["name"]),
                CONDITION,
                {name: str(value) for name, value in MAPPING.items()},
            ),
        ),
        accounts=(Account(EMAIL, principals),),
    )
    with CiApis(folder=tmp_path) as apis:
        yield Emulated(cloud, apis, storage, wanted)
    storage.close()


def provider_inputs(name: str) -> Fields:
    return {
        "workloadIdentityPoolId": "ours",
        "workloadIdentityPoolProviderId": name,
        "attributeCondition": CONDITION,
        "attributeMapping": MAPPING,
        "oidc": {"issuerUri": ISSUER},
    }


def test_a_pools_full_name_has_the_projects_number_and_its_id_the_projects_id(made: Emulated):
    (pool,) = made.cloud.folder.glob("resources/*WorkloadIdentityPool-*.json")
    found = json.loads(pool.read_text())
    assert found["identity"].startswith("projects/my-project/")
    assert found["added"]["name"].split("/")[1].isdigit()


@pytest.mark.parametrize(
    ("token", "inputs"),
    [
        (POOL, {"workloadIdentityPoolId": "theirs"}),
        (RING, {"name": "theirs", "location": "europe-west4"}),
        (KEY, {"name": "theirs", "keyRing": "projects/p/locations/l/keyRings/r"}),
    ],
)
def test_the_name_of_a_deleted_pool_or_key_is_not_given_again(
    tmp_path: Path, token: str, inputs: Fields
):
    cloud = Cloud(tmp_path, (), "203.0.113.7")
    cloud.delete(token, cloud.create(token, inputs, WHERE).identity)
    with pytest.raises(PluginError, match="already exists"):
        cloud.create(token, inputs, WHERE)


def test_what_is_as_it_should_be_has_a_receipt_and_nothing_is_left_in_the_bucket(made: Emulated):
    receipt = made.check()
    checks = receipt["checks"]
    assert isinstance(checks, list)
    assert [(check["name"], check["status"]) for check in checks] == [
        ("bucket is private", "passed"),
        ("bucket keeps versions", "passed"),
        ("bucket can be written", "passed"),
        ("key encrypts and decrypts", "passed"),
        ("pool has these providers alone", "passed"),
        ("provider preview", "passed"),
        ("account llm-endpoint-ci-preview", "passed"),
    ]
    assert (receipt["status"], receipt["schema_version"]) == ("passed", 1)
    assert made.storage.objects == {}


def test_a_bucket_that_may_be_public_is_refused(made: Emulated):
    made.apis.changed["b/states"] = {"iamConfiguration": {"publicAccessPrevention": "inherited"}}
    said = made.fault()
    assert "publicAccessPrevention inherited" in str(said)


def test_a_bucket_that_lets_in_everybody_is_refused_with_what_takes_that_away(made: Emulated):
    reader: Fields = {
        "bucket": "states",
        "role": "roles/storage.objectViewer",
        "member": "allUsers",
    }
    made.cloud.create(READERS, reader, WHERE)
    said = made.fault()
    assert "its policy lets in allUsers" in str(said)
    assert "--member allUsers" in said.next_step


def test_a_bucket_that_keeps_no_versions_is_refused(made: Emulated):
    made.apis.changed["b/states"] = {"versioning": {"enabled": False}}
    assert "versioning is False" in str(made.fault())


def test_a_key_that_gives_back_something_else_is_refused(made: Emulated):
    made.apis.changed[":decrypt"] = {"plaintext": "c29tZXRoaW5nIGVsc2U="}
    said = made.fault()
    assert said.__notes__ == ["key encrypts and decrypts"]
    assert "--key pulumi-state --keyring ring --location europe-west4" in said.next_step


def test_another_provider_in_the_pool_is_refused(made: Emulated):
    made.cloud.create(PROVIDER, provider_inputs("theirs"), WHERE)
    assert "it has preview, theirs" in str(made.fault())


def test_a_pool_that_is_switched_off_is_refused(made: Emulated):
    made.apis.changed["workloadIdentityPools/ours"] = {"disabled": True}
    assert "expected the pool to be in use, and it is disabled" in str(made.fault())


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("attributeCondition", "true", "condition"),
        ("oidc", {"issuerUri": "https://issuer.example"}, "issuer"),
        ("attributeMapping", {"google.subject": "assertion.sub"}, "mapping"),
    ],
)
def test_a_provider_that_lets_in_others_is_refused(
    made: Emulated, field: str, value: object, what: str
):
    made.apis.changed["providers/preview"] = {field: value}
    assert f"expected its {what} to be " in str(made.fault())


@pytest.mark.parametrize(
    "role", ["roles/iam.workloadIdentityUser", "roles/iam.serviceAccountTokenCreator"]
)
def test_an_account_that_others_may_act_as_is_refused(made: Emulated, role: str):
    users: Fields = {
        "serviceAccountId": f"projects/my-project/serviceAccounts/{EMAIL}",
        "role": role,
        "member": "principalSet://iam.googleapis.com/somebody/else",
    }
    made.cloud.create(USERS, users, WHERE)
    assert "principalSet://iam.googleapis.com/somebody/else" in str(made.fault())


def test_an_api_that_is_just_being_turned_on_is_asked_again(made: Emulated):
    made.apis.refused += [":encrypt"] * 3
    assert made.check()["status"] == "passed"


def test_what_stays_refused_is_an_error_after_a_bounded_number_of_attempts(made: Emulated):
    made.apis.refused += [":encrypt"] * 50
    with pytest.raises(ApiError, match="is not on yet"):
        made.check()
    asked = [one for one in made.apis.asked if one.path.endswith(":encrypt")]
    assert len(asked) == ci_check.ATTEMPTS


def test_the_command_prints_the_receipt_alone_on_stdout_and_never_the_token(
    made: Emulated, capsys: pytest.CaptureFixture[str]
):
    assert main(made.environment) == 0
    out, err = capsys.readouterr()
    assert Wanted.from_json(json.dumps(json.loads(out)["wanted"])) == made.wanted
    assert "provider preview: " in err
    assert TOKEN not in out + err


def test_the_command_says_what_is_wrong_and_what_to_look_at(
    made: Emulated, capsys: pytest.CaptureFixture[str]
):
    broken = replace(made, wanted=replace(made.wanted, issuer="https://issuer.example"))
    assert main(broken.environment) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: provider preview: expected its issuer to be https://issuer.example" in err
    assert "\nnext: " in err
    assert main({**made.environment, "GOOGLE_OAUTH_ACCESS_TOKEN": "", "GOOGLE_CREDENTIALS": "/no"})
    assert "error: credentials: " in capsys.readouterr().err


def test_an_up_that_changes_nothing_finds_what_somebody_else_has_changed(made: Emulated):
    ready = Prepared(
        checkout=this_checkout(),
        python=Path(sys.executable),
        cli=Cli(Path("pulumi"), "", ""),
        plugins=plugins.Plan("engine"),
        backend=Backend("", "", None),
        variables={"PATH": "", **made.environment, "LLM_ENDPOINT_CI": ""},
    )
    made.cloud.create(PROVIDER, provider_inputs("theirs"), WHERE)
    with pytest.raises(BootstrapError, match="it has preview, theirs") as caught:
        again(ready, "ci", made.wanted.as_json())
    assert "scripts/up ci again" in caught.value.next_step
