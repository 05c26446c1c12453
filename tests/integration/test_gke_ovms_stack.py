"""The gke-ovms program on the real engine, over a cloud that is a folder and a fake cluster.

What its objects are to a real API server, and what pods do, is `tests/real`'s. The tests run in
order on one stack.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import checkout as checkouts
import pytest
from fake_google_apis import TOKEN
from gke_stack import BASE, SHARED, STACK, URL, Stack, opened

from emulator.gcp import gke
from emulator.gcp.cloud import Cloud
from emulator.gcp.kind import Where
from scripts.bootstrap import adoption
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with opened(tmp_path_factory.mktemp(STACK)) as made:
        yield made


@pytest.fixture(scope="module")
def configured(stack: Stack) -> Stack:
    stack.configure(gcp__project="a-project", gcp__zone="europe-west4-a", ready_minutes="1")
    return stack


@pytest.fixture(scope="module")
def serving(configured: Stack) -> Stack:
    configured.up()
    return configured


def test_a_preview_works_before_there_is_anything(configured: Stack):
    shown = configured.cloud.good("preview", "--stack", STACK).stdout
    for kind in ("gcp:container:Cluster", "gcp:container:NodePool", "kubernetes:apps/v1"):
        assert kind in shown
    assert configured.cloud.resources() == {}
    assert configured.cluster.names() == set()


def test_what_serves_has_answered_by_a_port_forward_with_a_key(serving: Stack):
    outputs = serving.outputs()
    assert outputs["state"] == "serving"
    assert outputs["endpoint_url"] == URL
    assert outputs["verification"]["status"] == "passed"
    assert outputs["verification"]["via"] == f"kubernetes:{BASE}/gateway/443"
    assert outputs["verification"]["boot"] == f"kubernetes:{BASE}"
    assert "BEGIN CERTIFICATE" in outputs["ca_certificate"]
    assert json.loads(outputs["cluster"]) == {
        "server": serving.cluster.server,
        "certificate_authority": None,
    }
    assert serving.replicas() == 1
    assert serving.pool()["autoscaling"] == {
        "totalMinNodeCount": 0,
        "totalMaxNodeCount": 1,
        "locationPolicy": "ANY",
    }
    serving.no_changes()


def test_exactly_the_keys_are_secret_outputs(serving: Stack):
    assert serving.secret_outputs() == {"api_key", "api_keys"}


def test_no_key_lies_open_in_the_state_and_none_at_all_in_the_cluster(serving: Stack):
    key, state = serving.outputs()["api_key"], serving.cloud.state(STACK)
    assert key.startswith("sk-")
    for secret in (key, "PRIVATE KEY", TOKEN):
        assert secret not in state
    assert key not in json.dumps(list(serving.cluster.store.objects.values()))


def test_what_the_idle_job_has_parked_is_woken_by_the_next_up(serving: Stack):
    parked = {"metadata": {"annotations": {"llm-endpoint/parked-at": "2026-11-21T20:00:00Z"}}}
    serving.cluster.update("StatefulSet", "chat", {"spec": {"replicas": 0}, **parked}, "python")
    assert serving.cluster.objects("Pod").keys() == {"gateway-0"}
    before = serving.outputs()["verification"]
    serving.up()
    assert serving.replicas() == 1
    assert serving.outputs()["verification"] != before
    serving.no_changes()


def test_a_parked_stack_has_no_pod_and_keeps_volumes_and_keys(serving: Stack):
    keys = serving.outputs()["api_keys"]
    serving.configure(parked="true")
    serving.up()
    outputs = serving.outputs()
    assert outputs["state"] == "parked"
    assert outputs["verification"] == {"status": "parked"}
    assert outputs["api_keys"] == keys
    assert serving.cluster.objects("Pod") == {}
    assert serving.cluster.objects("PersistentVolumeClaim").keys() == {"models-chat-0"}
    assert serving.pool()["nodeCount"] == 0
    assert "autoscaling" not in serving.pool()
    bills = {entry["resource"]: entry["parked"] for entry in outputs["billing"]}
    assert any(bills.values())
    assert not all(bills.values())


def test_what_is_unparked_is_the_same_endpoint_and_takes_another_key_by_the_way(serving: Stack):
    assert serving.outputs()["state"] == "parked"
    before = serving.outputs()
    serving.cluster.journal.clear()
    serving.configure(parked="false", keys="default alice@2")
    serving.up()
    after = serving.outputs()
    assert after["verification"]["status"] == "passed"
    assert after["endpoint_url"] == URL
    assert after["api_keys"].keys() == {"default", "alice"}
    for name in ("api_key", "ca_certificate"):
        assert after[name] == before[name]
    assert set(serving.cluster.journal) == {
        "PATCH CronJob park",
        "PATCH Deployment gateway",
        "PATCH Secret gateway-keys",
        # When it was woken, for the job that parks, and then its pods.
        "PATCH StatefulSet chat",
        "PATCH StatefulSet chat/scale",
    }


def test_destroy_takes_the_cluster_down_from_the_inside_and_leaves_nothing(serving: Stack):
    serving.destroy()
    assert serving.cloud.resources() == {}
    assert serving.cluster.names() == set()
    assert "DELETE Service gateway" in serving.beside
    for deleted, there in serving.beside.items():
        kinds = {identity.split("/")[-2] for identity in there}
        assert {"clusters", "nodePools", "networks", "routers"} <= kinds, deleted
        assert any(identity.endswith(f"/{BASE}/{BASE}") for identity in there), deleted


@pytest.fixture(scope="module")
def shared(configured: Stack) -> Stack:
    """The stack in a cluster that was there before."""
    stack = configured
    google = Cloud(stack.cloud.folder / "cloud", (), stack.cloud.address)
    pool = {"workloadPool": "a-project.svc.id.goog"}
    outside = {"dnsEndpointConfig": {"allowExternalTraffic": True}}
    inputs = {
        "name": "shared",
        "location": "europe-west4-a",
        "workloadIdentityConfig": pool,
        "datapathProvider": "ADVANCED_DATAPATH",
    }
    google.create(
        gke.CLUSTER,
        {**inputs, "controlPlaneEndpointsConfig": outside},
        Where("a-project", "europe-west4", "europe-west4-a"),
    )
    stack.configure(cluster="shared")
    return stack


def test_an_up_that_was_killed_in_the_cluster_is_taken_up_again(shared: Stack):
    ordered, held = threading.Event(), threading.Event()

    def hold(change: str) -> None:
        if change == "POST Deployment gateway":
            ordered.set()
            held.wait(60)

    shared.cluster.looks_on = hold
    killed = shared.cloud.start("up", "--yes", "--skip-preview", "--stack", STACK)
    try:
        assert ordered.wait(120), "the gateway was never made"
    finally:
        checkouts.end_group(killed)
        shared.cluster.looks_on = shared.note
        held.set()
    shared.cloud.good("cancel", "--yes", "--stack", STACK)
    checkout, cli = Checkout(shared.cloud.root), Cli(shared.cloud.cli, "", "built here")
    settled = adoption.adopt(checkout, STACK, cli, shared.cloud.environment())
    assert "gke-ovms-deployment-gateway" in {urn.rpartition("::")[2] for urn in settled}
    shared.up()
    assert shared.outputs()["verification"]["status"] == "passed"


def test_a_cluster_that_was_there_before_stays_and_keeps_nothing_of_ours(shared: Stack):
    shared.destroy()
    assert shared.cloud.resources().keys() == {SHARED}
    assert shared.cluster.names() == set()
