"""The gke-colab program on the real engine: a stack of gke-ovms that becomes one of it.

What its objects are to a real API server, and what the runtime's pod does, is `tests/real`'s. The
tests run in order on one stack.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from fake_runtime import FakeRuntime
from gke_stack import BASE, STACK, URL, Stack, opened

pytestmark = [pytest.mark.integration, pytest.mark.real, pytest.mark.timeout(600)]

NAMESPACE = "colab-llm-cpu"
BUCKET = f"a-project-{BASE}-colab"
DOOR_PORT = 8090


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with opened(tmp_path_factory.mktemp("gke-colab")) as made, FakeRuntime() as runtime:
        gateway = made.cluster.reach

        def reach(namespace: str, pod: str, port: int) -> tuple[str, int] | None:
            if (namespace, pod, port) != (NAMESPACE, "colab-runtime-0", DOOR_PORT):
                return gateway(namespace, pod, port)
            # As the image has it, from its environment.
            secret = made.cluster.objects("Secret", NAMESPACE)["colab-token"]["data"]["token"]
            runtime.token = base64.b64decode(secret).decode()
            return "127.0.0.1", runtime.port

        made.cluster.reach = reach
        made.configure(gcp__project="a-project", gcp__zone="europe-west4-a", ready_minutes="1")
        yield made


@pytest.fixture(scope="module")
def serving(stack: Stack) -> Stack:
    stack.up()
    return stack


def identities(stack: Stack) -> dict[str, str]:
    """What tells each resource of the state from another in its place, by its name."""
    kept = json.loads(stack.cloud.state(STACK))["deployment"]["resources"]
    objects = stack.cluster.store.objects
    uids = {f"{at.namespace}/{at.name}": one["metadata"]["uid"] for at, one in objects.items()}
    named = {one["urn"].partition("::llm-endpoint::")[2]: one for one in kept}
    return {
        name: f"{one['id']} {uids.get(one['id'], '')}"
        for name, one in named.items()
        if "id" in one and not name.startswith("pulumi:providers:")
    }


def test_an_endpoint_becomes_one_with_a_runtime_and_nothing_of_it_is_replaced(serving: Stack):
    before, outputs = identities(serving), serving.outputs()
    assert outputs["endpoint_url"] == URL
    serving.cluster.journal.clear()
    serving.configure(program="gke-colab")
    serving.up()
    after = identities(serving)
    assert {name: after[name] for name in before} == before
    assert not [change for change in serving.cluster.journal if change.startswith("DELETE")]
    then = serving.outputs()
    for name in ("api_key", "api_keys", "ca_certificate", "endpoint_url", "verification"):
        assert then[name] == outputs[name]
    assert serving.pool()["autoscaling"]["totalMaxNodeCount"] == 2
    serving.no_changes()


def test_the_runtime_has_answered_by_a_port_forward_with_its_token(serving: Stack):
    outputs = serving.outputs()
    assert outputs["runtime"]["status"] == "passed"
    assert outputs["runtime"]["via"] == f"kubernetes:{NAMESPACE}/colab-runtime/9000"
    assert outputs["colab_url"].startswith("http://127.0.0.1:9000/?token=sk-")
    assert outputs["port_forward"] == (
        f"kubectl port-forward --namespace {NAMESPACE} service/colab-runtime 9000:9000"
    )
    assert serving.secret_outputs() == {"api_key", "api_keys", "colab_url"}
    authority = serving.cluster.objects("ConfigMap", NAMESPACE)["colab-authority"]["data"]
    assert authority["ca.pem"] == outputs["ca_certificate"]


def test_no_token_lies_open_in_the_state_and_the_cluster_has_it_in_one_secret(serving: Stack):
    token = serving.outputs()["colab_url"].partition("token=")[2]
    assert token not in serving.cloud.state(STACK)
    encoded = base64.b64encode(token.encode()).decode()
    holders = [
        made["metadata"]["name"]
        for made in serving.cluster.store.objects.values()
        if token in json.dumps(made) or encoded in json.dumps(made)
    ]
    assert holders == ["colab-token"]


def test_backups_have_a_private_bucket_for_the_runtimes_own_identity(serving: Stack):
    made = serving.cloud.resources()
    assert made[BUCKET]["inputs"]["publicAccessPrevention"] == "enforced"
    (right,) = (one for one in made if one.startswith(f"b/{BUCKET}/roles/storage.objectUser/"))
    assert right.endswith(f"a-project.svc.id.goog/subject/ns/{NAMESPACE}/sa/colab-runtime")


def test_one_node_for_both_is_refused_with_the_numbers_and_the_choices(serving: Stack):
    serving.configure(max_nodes="1")
    refused = serving.cloud.run("preview", "--stack", STACK)
    serving.forget("max_nodes")
    assert refused.status != 0
    assert "a runtime of 20 processors and 64 GB take 2 nodes, and max_nodes is 1" in refused.text
    for choice in ("max_nodes 2", "runtime_replicas 0", "parked true"):
        assert f"scripts/pulumi config set {choice.split()[0]} " in refused.text
        assert choice in refused.text


def test_what_the_idle_job_has_parked_is_woken_by_the_next_up(serving: Stack):
    parked = {"metadata": {"annotations": {"llm-endpoint/parked-at": "2026-11-21T20:00:00Z"}}}
    change = {"spec": {"replicas": 0}, **parked}
    serving.cluster.update("Deployment", "colab-runtime", change, "python")
    assert "colab-runtime-0" not in serving.cluster.objects("Pod")
    before = serving.outputs()
    serving.up()
    after = serving.outputs()
    assert serving.replicas("Deployment", "colab-runtime") == 1
    assert after["runtime"]["verified_at"] >= before["runtime"]["verified_at"]
    assert after["runtime"] != before["runtime"]
    assert after["verification"] == before["verification"]


def test_with_both_parked_there_is_no_pod_and_no_node_and_the_disks_stay(serving: Stack):
    before = serving.outputs()
    serving.configure(runtime_replicas="0", parked="true")
    serving.up()
    outputs = serving.outputs()
    assert (outputs["state"], outputs["runtime"]) == ("parked", {"status": "parked"})
    assert outputs["colab_url"] == before["colab_url"]
    assert serving.cluster.objects("Pod") == {}
    claims = serving.cluster.objects("PersistentVolumeClaim", NAMESPACE)
    assert claims.keys() == {"colab-data", "colab-libraries"}
    assert serving.pool()["nodeCount"] == 0


def test_the_runtime_alone_comes_back_with_its_disks_and_takes_a_new_token(serving: Stack):
    def secrets() -> str:
        pods = serving.cluster.objects("Deployment")["colab-runtime"]["spec"]["template"]
        return pods["metadata"]["annotations"]["llm-endpoint/secrets"]

    before, digest, outputs = identities(serving), secrets(), serving.outputs()
    serving.configure(runtime_replicas="1", runtime_token_generation="2", max_nodes="1")
    serving.up()
    after = serving.outputs()
    assert (after["state"], after["runtime"]["status"]) == ("parked", "passed")
    assert after["colab_url"] != outputs["colab_url"]
    assert secrets() != digest
    assert serving.cluster.objects("Pod").keys() == {"colab-runtime-0"}
    assert serving.pool()["autoscaling"]["totalMaxNodeCount"] == 1
    now = identities(serving)
    kept = {name for name in before if "persistent-volume-claim" in name}
    assert len(kept) == 2
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}


def test_destroy_takes_the_runtime_down_before_its_backup_and_the_nodes(serving: Stack):
    serving.destroy()
    assert serving.cloud.resources() == {}
    assert serving.cluster.names() == set()
    ends = "DELETE Deployment colab-runtime"
    assert {ends, f"DELETE Namespace {NAMESPACE}"} <= serving.beside.keys()
    there = serving.beside[ends]
    assert BUCKET in there
    assert any(one.startswith(f"b/{BUCKET}/") for one in there)
    for deleted, beside in serving.beside.items():
        assert any(one.endswith(f"/nodePools/{BASE}") for one in beside), deleted
