"""Registry and classic models of gke-ovms on the real engine, over an emulated cloud and cluster.

The stack is parked: what its pods do with a registry is `tests/real`'s. The tests run in order on
one stack.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from gke_stack import BASE, STACK, Stack, opened

pytestmark = [pytest.mark.integration, pytest.mark.real, pytest.mark.timeout(600)]

ROLE = "roles/storage.objectViewer"
CREDENTIALS = "registry-credentials"
READER = f"{BASE}-models@a-project.iam.gserviceaccount.com"
ACCESS_KEY, SECRET_KEY = "AKIA1EXAMPLE", "the-secret-key-of-the-storage"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with opened(tmp_path_factory.mktemp(STACK)) as made:
        made.configure(
            gcp__project="a-project",
            gcp__zone="europe-west4-a",
            parked="true",
            pod_cpus="15",
            pod_memory_gb="40",
            registry="gs://my-models/prod",
            classic_models="resnet50@1 resnet50@2",
        )
        yield made


@pytest.fixture(scope="module")
def deployed(stack: Stack) -> Stack:
    stack.up()
    return stack


def members(stack: Stack) -> list[str]:
    """Who has been let into the bucket by this stack."""
    found = [one for one in stack.cloud.resources() if one.startswith(f"b/my-models/{ROLE}/")]
    return [one.removeprefix(f"b/my-models/{ROLE}/") for one in found]


def data(stack: Stack) -> dict[str, str]:
    """What the Secret has, decoded."""
    held = stack.cluster.objects("Secret")[CREDENTIALS]
    encoded = {name: base64.b64decode(text).decode() for name, text in held.get("data", {}).items()}
    return {**encoded, **held.get("stringData", {})}


def test_a_preview_works_before_there_is_anything(stack: Stack):
    shown = stack.cloud.good("preview", "--stack", STACK).stdout
    assert "gcp:storage:BucketIAMMember" in shown
    assert stack.cloud.resources() == {}


def test_pods_are_let_in_as_themselves_and_no_key_is_made(deployed: Stack):
    (member,) = members(deployed)
    assert member.startswith("principal://iam.googleapis.com/projects/")
    assert member.endswith(f"/a-project.svc.id.goog/subject/ns/{BASE}/sa/servers")
    assert CREDENTIALS not in deployed.cluster.objects("Secret")
    config = deployed.cluster.objects("ConfigMap")["models-config"]["data"]["config.json"]
    (listed,) = json.loads(config)["model_config_list"]
    assert listed["config"]["model_version_policy"] == {"specific": {"versions": [1, 2]}}
    assert deployed.cluster.objects("StatefulSet").keys() == {"chat", "models"}
    assert deployed.outputs().get("models_url") is None


def test_a_key_for_who_asks_lies_in_the_cluster_and_encrypted_in_the_state(deployed: Stack):
    deployed.cluster.journal.clear()
    deployed.configure(registry_access="key")
    deployed.up()
    (member,) = members(deployed)
    assert member == f"serviceAccount:{READER}"
    made = json.loads(data(deployed)["gcp-creds.json"])
    assert made["client_email"] == READER
    for secret in (made["private_key"], made["private_key_id"], "PRIVATE KEY"):
        assert secret not in deployed.cloud.state(STACK)
    assert deployed.secret_outputs() == {"api_key", "api_keys"}
    assert not [one for one in deployed.cluster.journal if one.startswith("PATCH StatefulSet chat")]
    deployed.no_changes()


def test_storage_that_speaks_s3_takes_its_place_with_keys_from_the_configuration(deployed: Stack):
    deployed.forget("registry_access")
    deployed.configure(registry="s3://my-models?endpoint=https://storage.example.org")
    for key, value in (("registry_key_id", ACCESS_KEY), ("registry_secret_key", SECRET_KEY)):
        words = ("config", "set", "--secret", f"llm-endpoint:{key}", "--stack", STACK, "--", value)
        deployed.cloud.good(*words)
    deployed.up()
    assert data(deployed) == {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    assert members(deployed) == []
    assert not [one for one in deployed.cloud.resources() if READER in one]
    state = deployed.cloud.state(STACK)
    assert ACCESS_KEY not in state
    assert SECRET_KEY not in state


def test_a_secret_key_in_the_clear_is_refused_before_anything_changes(deployed: Stack):
    deployed.configure(registry_secret_key="another-secret-key")
    refused = deployed.cloud.run("preview", "--stack", STACK)
    assert refused.status != 0
    assert "registry_secret_key is not as it should be: it stands in the" in refused.text
    assert "another-secret-key" not in refused.text


def test_without_a_registry_nothing_of_it_is_left_and_the_others_stay_as_they_are(deployed: Stack):
    deployed.cluster.journal.clear()
    deployed.forget("registry", "registry_key_id", "registry_secret_key", "classic_models")
    deployed.up()
    assert deployed.cluster.objects("StatefulSet").keys() == {"chat"}
    assert CREDENTIALS not in deployed.cluster.objects("Secret")
    assert "models_url" not in deployed.outputs()
    assert not [one for one in deployed.cluster.journal if one.endswith("StatefulSet chat")]


def test_destroy_leaves_nothing(deployed: Stack):
    deployed.destroy()
    assert deployed.cloud.resources() == {}
    assert deployed.cluster.names() == set()
