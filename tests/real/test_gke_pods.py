"""Where the pods of `gke-ovms` go on a real control plane, and what scales, evicts and parks them.

Nodes are hollow: pods are admitted, placed, evicted and deleted, and nothing runs in them. Two Spot
nodes hold a pod of the chat model each, and one of embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from cluster.api import Api, ApiError, Object, holds
from cluster.node import HollowNode
from cluster.plane import ControlPlane
from pods.deployed import (
    ALL,
    CRON_JOB,
    DEPLOYMENT,
    JOB,
    POD,
    STATEFUL_SET,
    Endpoint,
    addresses,
    node_of,
    planned,
    ready,
    token_of,
    wait_for_gateway,
    wait_until_ready,
)
from pods.job import BUSY, IDLE, run_park
from pods.nodes import gke_daemon, pool_node, system_node
from pods.policies import Policies, stranger

from components.rendering.kubernetes import names
from machine.pod.workloads import ANNOTATION

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

AWAKE = {"chat-0", "chat-1", "embeddings-0"}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.install_definitions()
        plane.api.apply(gke_daemon())
        yield plane


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Api:
    return plane.api


@pytest.fixture(scope="module")
def system(plane: ControlPlane) -> Iterator[HollowNode]:
    with system_node(plane) as node:
        yield node


@pytest.fixture(scope="module")
def endpoint(plane: ControlPlane, system: HollowNode) -> Endpoint:
    """All that a stack can be, on two Spot nodes that hold a chat pod each, and one embedder."""
    # Pods end after two seconds, not after fifteen.
    plan = replace(planned("whole", **ALL), drain_seconds=2)
    made = Endpoint(plane, plan)
    made.apply()
    return made


@pytest.fixture(scope="module")
def pool(plane: ControlPlane, endpoint: Endpoint) -> Iterator[list[HollowNode]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(pool_node(plane, name, endpoint.plan))
            for name in ("spot-1", "spot-2")
        ]


@pytest.fixture
def awake(endpoint: Endpoint, pool: list[HollowNode]) -> Endpoint:
    """The endpoint with all its pods ready."""
    endpoint.scale()
    wait_until_ready(endpoint, AWAKE)
    wait_for_gateway(endpoint)
    return endpoint


def test_servers_wait_while_there_is_no_node_of_their_pool(endpoint: Endpoint, api: Api):
    endpoint.scale()
    api.wait_for("the pods", lambda: len(endpoint.pods("chat")) == 2)

    def said() -> list[str]:
        return [told for told in api.events(endpoint.namespace) if "FailedScheduling" in told]

    told = api.wait_for("the scheduler's reason", said)
    assert all("didn't match Pod's node affinity/selector" in line for line in told)
    assert node_of(wait_for_gateway(endpoint)) == "system"
    for pod in (*endpoint.pods("chat").values(), *endpoint.pods("embeddings").values()):
        assert pod["status"]["phase"] == "Pending"
        assert node_of(pod) == ""


def test_a_node_of_another_pool_or_without_the_taint_s_toleration_gets_none(
    plane: ControlPlane, endpoint: Endpoint
):
    other = planned("other", **ALL)
    with pool_node(plane, "spot-of-another-stack", other):
        endpoint.scale()
        pods = endpoint.pods()
        assert pods
        assert not [name for name, pod in pods.items() if node_of(pod) == "spot-of-another-stack"]


def test_servers_go_to_spot_nodes_and_the_rest_to_the_system_node(awake: Endpoint):
    where = {name: node_of(pod) for name, pod in awake.pods().items()}
    gateway = where.pop(wait_for_gateway(awake)["metadata"]["name"])
    assert gateway == "system"
    assert {where["chat-0"], where["chat-1"]} == {"spot-1", "spot-2"}
    assert where["embeddings-0"].startswith("spot-")


def test_no_node_of_the_pool_gets_the_gateway_though_it_has_room(
    awake: Endpoint, plane: ControlPlane
):
    api = awake.api
    awake.scale(chat=0, embeddings=0)
    wait_until_ready(awake, set())
    api.patch("v1/Node", "system", {"spec": {"unschedulable": True}})
    try:
        before = wait_for_gateway(awake)["metadata"]["name"]
        api.delete(POD, before, awake.namespace, grace_seconds=0)

        def waits() -> bool:
            pods = awake.pods(names.GATEWAY)
            return before not in pods and any(
                one["reason"] == "Unschedulable"
                for pod in pods.values()
                for one in pod["status"].get("conditions", ())
                if one["type"] == "PodScheduled"
            )

        api.wait_for("a gateway that waits", waits)
    finally:
        api.patch("v1/Node", "system", {"spec": {"unschedulable": None}})
    assert node_of(wait_for_gateway(awake)) == "system"


def test_services_lead_to_the_pods_that_serve(awake: Endpoint):
    assert addresses(awake, "chat", 8000) == {
        pod["status"]["podIP"] for pod in awake.pods("chat").values()
    }
    assert addresses(awake, "chat-pods", 8000) == addresses(awake, "chat", 8000)
    assert addresses(awake, "embeddings", 8000) == {
        awake.pods("embeddings")["embeddings-0"]["status"]["podIP"]
    }
    gateway = wait_for_gateway(awake)["status"]["podIP"]
    assert addresses(awake, "gateway", 8443) == {gateway}
    assert addresses(awake, "gateway-activity", 8080) == {gateway}


def test_a_pod_whose_probe_fails_gets_no_requests(awake: Endpoint, plane: ControlPlane):
    pods = awake.pods("chat")
    with plane.probes_fail("chat-0", awake.namespace):
        awake.api.wait_for(
            "one address",
            lambda: addresses(awake, "chat", 8000) == {pods["chat-1"]["status"]["podIP"]},
        )
    awake.api.wait_for("two addresses", lambda: len(addresses(awake, "chat", 8000)) == 2)


def test_pods_talk_to_those_that_they_have_to_and_to_nobody_else(awake: Endpoint):
    policies = Policies(awake.api)
    chat, embedder = awake.pods("chat")["chat-0"], awake.pods("embeddings")["embeddings-0"]
    gateway, job = wait_for_gateway(awake), awake.api.need(CRON_JOB, names.PARK, awake.namespace)
    park = {
        "metadata": {
            "namespace": awake.namespace,
            **job["spec"]["jobTemplate"]["spec"]["template"]["metadata"],
        }
    }
    for pod in (chat, embedder, gateway, park):
        assert policies.isolates(pod) == {"Ingress", "Egress"}
    here, there = stranger(awake.namespace), stranger("default")
    for server in (chat, embedder):
        assert policies.lets(gateway, server, 8000)
        for other in (here, there, park, chat, "203.0.113.7"):
            assert not policies.lets(other, server, 8000), other
    for client in (there, "203.0.113.7"):
        assert policies.lets(client, gateway, 8443)
        assert not policies.lets(client, gateway, 8080)
    assert not policies.lets("198.51.100.7", gateway, 8443)
    assert policies.lets(park, gateway, 8080)
    assert not policies.lets(chat, gateway, 8080)
    assert not policies.lets(park, chat, 8000)
    # What has to be fetched, and nothing of the network that the nodes are in.
    for pod in (chat, embedder, gateway):
        assert policies.lets(pod, "192.0.2.1", 443)
        for address, port in (("169.254.169.254", 80), ("10.0.0.1", 443), ("192.0.2.1", 22)):
            assert not policies.lets(pod, address, port)
    assert policies.lets(park, "10.0.0.1", 443)


def test_scaling_to_none_and_back_keeps_each_pod_s_volume(awake: Endpoint):
    before = awake.claims()
    assert set(before) == {f"models-{pod}" for pod in AWAKE}
    assert all(before.values())
    awake.scale(chat=0, embeddings=0)
    wait_until_ready(awake, set())
    assert awake.claims() == before
    awake.scale()
    wait_until_ready(awake, AWAKE)
    assert awake.claims() == before


def test_applying_the_objects_again_leaves_replicas_as_they_were_scaled(awake: Endpoint):
    pods = {name: pod["metadata"]["uid"] for name, pod in awake.pods().items()}
    awake.scale(chat=2, embeddings=0)
    awake.apply()
    sets = {
        each["metadata"]["name"]: each for each in awake.api.list(STATEFUL_SET, awake.namespace)
    }
    assert sets["chat"]["spec"]["replicas"] == 2
    assert sets["embeddings"]["spec"]["replicas"] == 0
    wait_until_ready(awake, AWAKE - {"embeddings-0"})
    assert awake.pods("chat")["chat-0"]["metadata"]["uid"] == pods["chat-0"]


def test_the_autoscaler_leaves_a_parked_server_alone_and_keeps_to_its_bounds(awake: Endpoint):
    api = awake.api
    awake.scale(chat=0)

    def disabled() -> bool:
        found = api.need("autoscaling/v2/HorizontalPodAutoscaler", "chat", awake.namespace)
        return any(
            one["type"] == "ScalingActive" and one["reason"] == "ScalingDisabled"
            for one in found["status"].get("conditions", ())
        )

    api.wait_for("the autoscaler to be off", disabled)
    assert api.need(STATEFUL_SET, "chat", awake.namespace)["spec"]["replicas"] == 0
    awake.scale(chat=1)
    api.wait_for(
        "its least number",
        lambda: api.need(STATEFUL_SET, "chat", awake.namespace)["spec"]["replicas"] == 2,
    )
    api.scale(STATEFUL_SET, "chat", 3, awake.namespace)
    awake.scale()
    assert api.need(STATEFUL_SET, "chat", awake.namespace)["spec"]["replicas"] == 3
    api.scale(STATEFUL_SET, "chat", 2, awake.namespace)


def test_an_evicted_pod_comes_back_with_its_volume_on_another_node(awake: Endpoint):
    api = awake.api
    before, claims = awake.pods("embeddings")["embeddings-0"], awake.claims()
    node = node_of(before)
    api.patch("v1/Node", node, {"spec": {"unschedulable": True}})
    try:
        api.evict("embeddings-0", awake.namespace)

        def moved() -> Object | None:
            pod = awake.pods("embeddings").get("embeddings-0")
            again = pod and pod["metadata"]["uid"] != before["metadata"]["uid"]
            return pod if pod and again and holds(pod, "Ready") else None

        assert node_of(api.wait_for("the pod on the other node", moved, 60)) not in {node, ""}
    finally:
        api.patch("v1/Node", node, {"spec": {"unschedulable": None}})
    assert awake.claims() == claims
    (mounted,) = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in awake.pods("embeddings")["embeddings-0"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert mounted == "models-embeddings-0"


def test_of_two_pods_one_may_be_evicted_and_not_the_other(awake: Endpoint):
    api = awake.api
    api.wait_for("the budget", lambda: allowed(awake) == 1)
    api.evict("chat-0", awake.namespace)
    with pytest.raises(ApiError, match="disruption budget") as caught:
        api.evict("chat-1", awake.namespace)
    assert caught.value.status == 429
    wait_until_ready(awake, AWAKE)


def allowed(endpoint: Endpoint) -> int:
    budget = endpoint.api.need("policy/v1/PodDisruptionBudget", "chat", endpoint.namespace)
    return budget.get("status", {}).get("disruptionsAllowed", 0)


def test_a_changed_gateway_is_replaced_before_it_goes_and_servers_stay(awake: Endpoint):
    api = awake.api
    servers = {name: awake.pods()[name]["metadata"]["uid"] for name in AWAKE}
    before = wait_for_gateway(awake)["metadata"]["name"]
    changed = {"spec": {"template": {"metadata": {"annotations": {"test/changed": "yes"}}}}}
    api.patch(DEPLOYMENT, names.GATEWAY, changed, awake.namespace)
    seen: list[int] = []

    def replaced() -> bool:
        seen.append(len(addresses(awake, "gateway", 8443)))
        pods = awake.pods(names.GATEWAY)
        return before not in pods and any(holds(pod, "Ready") for pod in pods.values())

    api.wait_for("the other gateway", replaced)
    assert min(seen) >= 1
    assert {name: awake.pods()[name]["metadata"]["uid"] for name in AWAKE} == servers


def test_the_job_parks_idle_servers_and_leaves_when(awake: Endpoint, tmp_path: Path):
    api = awake.api
    assert "1 requests are being answered" in run_park(awake, tmp_path, BUSY)
    assert ready(awake) == AWAKE
    assert "parked chat, embeddings" in run_park(awake, tmp_path, IDLE)
    wait_until_ready(awake, set())
    stamps = {
        name: api.need(STATEFUL_SET, name, awake.namespace)["metadata"]["annotations"][ANNOTATION]
        for name in ("chat", "embeddings")
    }
    assert len(set(stamps.values())) == 1
    assert "are parked already" in run_park(awake, tmp_path, IDLE)
    # The deployment that wakes them keeps the note, which tells the next one that it did.
    awake.apply()
    awake.scale()
    wait_until_ready(awake, AWAKE)
    for name, stamp in stamps.items():
        made = api.need(STATEFUL_SET, name, awake.namespace)
        assert made["metadata"]["annotations"][ANNOTATION] == stamp


def test_the_job_may_scale_the_servers_and_nothing_else(awake: Endpoint, tmp_path: Path):
    authority = tmp_path / "ca.pem"
    authority.write_text(awake.plane.authority)
    job = Api(awake.plane.url, token_of(awake, names.PARK), str(authority))
    try:
        review = "authorization.k8s.io/v1/SelfSubjectRulesReview"
        rules = job.post(review, {"spec": {"namespace": awake.namespace}})["status"]
        assert not rules["incomplete"]
        own = [
            rule
            for rule in rules["resourceRules"]
            # What everybody may: ask who one is, and what one may.
            if not {"authorization.k8s.io", "authentication.k8s.io"} & set(rule["apiGroups"])
        ]
        assert own == [
            {
                "verbs": ["get", "patch"],
                "apiGroups": ["apps"],
                "resources": ["statefulsets", "statefulsets/scale"],
                "resourceNames": ["chat", "embeddings"],
            }
        ]
        # What it does may be seen, and what it may not is refused.
        assert job.need(STATEFUL_SET, "chat", awake.namespace)["spec"]["replicas"] == 2
        for refused in (
            lambda: job.list(POD, awake.namespace),
            lambda: job.list(STATEFUL_SET, awake.namespace),
            lambda: job.need("v1/Secret", names.KEYS_SECRET, awake.namespace),
            lambda: job.need("v1/ConfigMap", names.CODE, awake.namespace),
            lambda: job.delete(STATEFUL_SET, "chat", awake.namespace),
            lambda: job.scale(DEPLOYMENT, names.GATEWAY, 0, awake.namespace),
            lambda: job.scale(STATEFUL_SET, "chat", 0, "default"),
        ):
            with pytest.raises(ApiError) as caught:
                refused()
            assert caught.value.status == 403
    finally:
        job.close()


def test_the_job_s_pod_is_let_in_and_runs_on_the_system_node(awake: Endpoint):
    api = awake.api
    job = api.need(CRON_JOB, names.PARK, awake.namespace)
    assert job["spec"]["suspend"] is False
    made = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "park-now", "namespace": awake.namespace},
        "spec": job["spec"]["jobTemplate"]["spec"],
    }
    api.apply(made)
    api.wait_for("its end", lambda: holds(api.need(JOB, "park-now", awake.namespace), "Complete"))
    pods = api.list(POD, awake.namespace, "batch.kubernetes.io/job-name=park-now")
    assert [node_of(pod) for pod in pods] == ["system"]
    api.delete(JOB, "park-now", awake.namespace)
    api.wait_until_gone(JOB, "park-now", awake.namespace)


def test_pods_have_no_token_but_the_job_s(awake: Endpoint):
    for name in ("chat", "embeddings", names.GATEWAY):
        (pod, *_) = awake.pods(name).values()
        sources = json.dumps(pod["spec"]["volumes"])
        assert "serviceAccountToken" not in sources, pod["metadata"]["name"]
        assert not pod["spec"].get("enableServiceLinks", True)


def test_the_servers_pods_come_back_where_a_spot_node_is_taken_away(
    awake: Endpoint, plane: ControlPlane, pool: list[HollowNode]
):
    api = awake.api
    claims = awake.claims()
    (taken,) = [node for node in pool if node.name == node_of(awake.pods("chat")["chat-0"])]
    taken.lose()
    # As the cloud does when the machine is gone.
    api.delete("v1/Node", taken.name)
    try:
        api.wait_for(
            "the lost pod to wait for another node",
            lambda: node_of(awake.pods("chat").get("chat-0", {"spec": {"nodeName": "-"}})) == "",
            60,
        )
        assert "chat-1" in ready(awake)
    finally:
        taken.start()
    wait_until_ready(awake, AWAKE)
    assert awake.claims() == claims
