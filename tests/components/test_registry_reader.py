"""What lets pods of `gke-ovms` read their registry, in which order it comes, and what is secret."""

import base64
import json
from dataclasses import replace

import pytest
from gke_program import ADOPTED, NAME, RAW, an_object, command, deployed, of_type, only

from components.models.registry import parse_registry_url
from components.rendering.kubernetes.plan import Registry, RegistryAccess
from components.settings.secrets import MarkedSecret
from components.targets.gke.registry import RegistryReader
from emulator.mocks.computed import ACCOUNT_KEY
from emulator.mocks.recording import SECRET, SIGNATURE, Run
from stacks import PROGRAMS
from stacks.gke_ovms import plan

OWN = {"registry": "gs://my-models/prod", "classic_models": "resnet50@1 resnet50@2"}
KEY = {**OWN, "registry_access": "key"}
SECRET_KEY = "the-secret-key-of-the-storage"
S3 = {
    "registry": "s3://my-models?endpoint=https://hb.example.org",
    "classic_models": "resnet50@1",
    "registry_key_id": MarkedSecret("AKIA1EXAMPLE"),
    "registry_secret_key": MarkedSecret(SECRET_KEY),
}
WAYS = {"own identity": OWN, "key": KEY, "S3": S3}
GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"
ACCOUNT = "gke-ovms-registry-account"
CREDENTIALS = "registry-credentials"


def grants(seen: Run) -> list[tuple[object, object, object]]:
    found = of_type(seen, GRANT)
    return [tuple(one.plain()[key] for key in ("bucket", "role", "member")) for one in found]


def shown(seen: Run) -> str:
    """Everything that a state file and a log would show of what was registered."""
    return json.dumps([entry.without_secrets() for entry in seen.registrations.values()])


def names(seen: Run, token: str) -> set[str]:
    return {entry.name for entry in of_type(seen, token)}


def test_pods_read_their_registry_as_themselves_with_no_key_anywhere():
    seen = deployed(OWN)
    member = (
        "principal://iam.googleapis.com/projects/123456789012/locations/global/"
        f"workloadIdentityPools/my-project.svc.id.goog/subject/ns/{NAME}/sa/servers"
    )
    assert grants(seen) == [("my-models", "roles/storage.objectViewer", member)]
    assert not of_type(seen, "gcp:serviceaccount/key:Key")
    assert names(seen, "gcp:serviceaccount/account:Account") == {"gke-ovms-account"}
    assert not [one for one in of_type(seen, "kubernetes:") if one.name.endswith(CREDENTIALS)]


def test_the_identity_is_asked_for_once_the_cluster_and_its_pool_of_identities_are_there():
    grant = only(deployed(OWN), GRANT)
    assert {"gke-ovms-cluster", "gke-ovms-account-role"} <= grant.dependencies


def test_in_an_adopted_cluster_it_is_that_clusters_pods():
    ((_, _, member),) = grants(deployed({**OWN, **ADOPTED, "namespace": "mine"}))
    assert str(member).endswith("my-project.svc.id.goog/subject/ns/mine/sa/servers")


def test_a_key_is_made_only_for_who_asks_and_lies_in_a_secret():
    seen = deployed(KEY)
    account = seen.registrations[f"gcp:serviceaccount/account:Account:{ACCOUNT}"].plain()
    assert account["accountId"] == "llm-endpoint-gke-ovms-models"
    email = "llm-endpoint-gke-ovms-models@my-project.iam.gserviceaccount.com"
    assert grants(seen) == [("my-models", "roles/storage.objectViewer", f"serviceAccount:{email}")]
    key = only(seen, "gcp:serviceaccount/key:Key")
    assert str(key.plain()["serviceAccountId"]).endswith(f"serviceAccounts/{email}")
    assert key.additional_secret_outputs == ("privateKey",)
    secret = an_object(seen, "Secret", CREDENTIALS)
    assert secret.plain()["stringData"] == {"gcp-creds.json": ACCOUNT_KEY}


def test_an_access_key_of_other_storage_goes_into_the_same_secret_and_nothing_is_granted():
    seen = deployed(S3)
    secret = an_object(seen, "Secret", CREDENTIALS)
    assert secret.plain()["stringData"] == {
        "AWS_ACCESS_KEY_ID": "AKIA1EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    assert grants(seen) == []
    assert not of_type(seen, "llm-endpoint:gcp:RegistryReader")


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("way", ["key", "S3"])
def test_what_lets_pods_in_is_secret_in_state_and_in_a_preview(way: str, preview: bool):
    seen = deployed(WAYS[way], preview=preview)
    secret = an_object(seen, "Secret", CREDENTIALS)
    assert secret.is_secret("stringData")
    assert secret.additional_secret_outputs == ("data", "stringData")
    encoded = base64.b64encode(ACCOUNT_KEY.encode()).decode()
    for text in (SECRET_KEY, "the-private-key-of-the-account", encoded, "AKIA1EXAMPLE"):
        assert text not in shown(seen)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_but_that_one_secret_is_added_to_what_is_secret(way: str):
    def holders(seen: Run) -> set[str]:
        return {
            entry.name
            for entry in seen.registrations.values()
            if SIGNATURE in json.dumps(entry.inputs) and SECRET in json.dumps(entry.inputs)
        }

    added = holders(deployed(WAYS[way])) - holders(deployed())
    assert added == (set() if way == "own identity" else {f"gke-ovms-secret-{CREDENTIALS}"})
    secret = {name for name, one in deployed(WAYS[way]).outputs.items() if one.secret}
    assert secret == {"api_key", "api_keys"}


@pytest.mark.parametrize("way", WAYS)
def test_servers_come_after_what_lets_their_pods_in_and_go_before_it(way: str):
    seen = deployed(WAYS[way])
    needed = {"own identity": "gke-ovms-registry-grant", "key": "gke-ovms-registry-grant"}.get(
        way, f"gke-ovms-secret-{CREDENTIALS}"
    )
    every = {entry.name: entry for entry in seen.registrations.values()}
    waiting, before = ["gke-ovms-stateful-set-models"], set[str]()
    while waiting:
        new = every[waiting.pop()].dependencies - before
        before |= new
        waiting += [name for name in new if name in every]
    assert needed in before


def test_the_configuration_of_classic_models_goes_with_their_server():
    seen = deployed(OWN)
    config = an_object(seen, "ConfigMap", "models-config")
    assert config.parent == an_object(seen, "StatefulSet", "models").parent == "gke-ovms-models"
    scaled = command(seen, "scale").plain()["environment"]
    assert json.loads(str(scaled["LLM_ENDPOINT_SCALE"])).keys() == {"chat", "models"}


def test_classic_models_are_verified_and_told_by_their_url():
    seen = deployed(OWN)
    verified = str(command(seen, "verification").plain()["create"])
    assert "--classic resnet50@1,resnet50@2" in verified
    url = seen.outputs["models_url"]
    assert url.value == f"https://gateway.{NAME}.svc.cluster.local/models"
    assert not url.secret


def test_a_stack_without_classic_models_has_no_url_of_them():
    assert "models_url" not in deployed().outputs
    assert "--classic" not in str(command(deployed(), "verification").plain()["create"])


def test_a_parked_stack_keeps_the_right_and_has_no_url():
    seen = deployed({**OWN, "parked": "true"})
    assert len(grants(seen)) == 1
    assert seen.outputs["models_url"].value is None


def test_a_registry_that_google_can_not_let_pods_into_is_refused():
    registry = Registry(parse_registry_url("s3://my-models"), RegistryAccess.SECRET)
    with pytest.raises(ValueError, match="s3://my-models is not in Google Cloud Storage"):
        RegistryReader(
            "tests",
            {
                "registry": registry,
                "base_name": NAME,
                "project": "my-project",
                "region": "europe-west4",
                "zone": "europe-west4-a",
                "cluster": [],
                "namespace": NAME,
                "account": "servers",
            },
        )


def test_the_plan_names_the_registry_with_how_it_is_read():
    found = plan(PROGRAMS["gke-ovms"].settings({**RAW, **KEY}), "gke-ovms")
    assert found.registry == Registry(parse_registry_url(OWN["registry"]), RegistryAccess.KEY)
    assert [server.name for server in found.servers] == ["chat", "models"]
    without = plan(PROGRAMS["gke-ovms"].settings(RAW), "gke-ovms")
    assert replace(found, registry=None, servers=(), limits=without.limits) == replace(
        without, servers=()
    )
