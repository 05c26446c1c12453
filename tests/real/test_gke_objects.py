"""What `gke-ovms` sends to a cluster, on a real control plane: what it takes, and what it leaves.

Nodes are hollow: pods are admitted, placed and deleted, and nothing runs in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from cluster.api import Api, Object
from cluster.node import HollowNode
from cluster.plane import ControlPlane
from cluster.rewriting import rewritten
from pods.deployed import (
    ALL,
    BALANCED,
    EMBEDDINGS,
    POD,
    SCALED,
    VOLUME,
    Endpoint,
    asked_for,
    planned,
    wait_for_gateway,
    wait_until_ready,
)
from pods.nodes import gke_daemon, pool_node, system_node

from components.settings.secrets import MarkedSecret

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

QUOTA = "v1/ResourceQuota"
CLASSIC = {"classic_models": "resnet50@1 resnet50@2"}
LLAMA_CPP = {"engine": "llama_cpp", "model": "example-org/Model-7B-GGUF:Q4_K_M"}
VARIANTS = {
    "internal": {},
    "balanced": BALANCED,
    "gateway": {**BALANCED, "expose": "gateway", "domain": "llm.example.org"},
    "embeddings": EMBEDDINGS,
    "llama-cpp": LLAMA_CPP,
    "scaled": SCALED,
    "idle": {"idle_minutes": "30"},
    "kept": {"keep_data": "true"},
    "on-demand": {"spot": "false"},
    "parked": {"parked": "true", "idle_minutes": "30"},
    "registry": {"registry": "gs://my-models/prod", **CLASSIC},
    "registry-key": {"registry": "gs://my-models", "registry_access": "key", **CLASSIC},
    "registry-s3": {
        "registry": "s3://my-models?endpoint=http://minio.storage.svc.cluster.local:9000",
        "registry_key_id": "AKIA1EXAMPLE",
        "registry_secret_key": MarkedSecret("the-secret-key"),
        "model": "registry:qwen3-8b@2",
    },
}


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


def quota(namespace: str, **hard: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "room", "namespace": namespace},
        "spec": {"hard": hard},
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cluster_takes_every_object_and_lets_all_pods_in(
    plane: ControlPlane, api: Api, system: HollowNode, name: str
):
    endpoint = Endpoint(plane, planned(name, **VARIANTS[name]))
    objects = endpoint.objects()
    api.apply(objects[0])
    # All that a plan takes, with a gateway beside the one that it replaces, and the job's pod.
    wanted = sum(server.replicas for server in endpoint.plan.servers)
    cpus = sum(each.resources.cpus * each.replicas for each in endpoint.plan.servers) + 1
    size = sum(each.resources.memory_bytes * each.replicas for each in endpoint.plan.servers)
    room = quota(
        endpoint.namespace,
        **{
            "pods": str(wanted + 3),
            "requests.cpu": str(cpus),
            "limits.cpu": str(cpus + 5),
            "requests.memory": str(size + 2**30),
            "limits.memory": str(size + 4 * 2**30),
            "services.loadbalancers": str(int(endpoint.plan.expose == "load_balancer")),
        },
    )
    api.apply(room)
    api.wait_for("the quota", lambda: api.need(QUOTA, "room", endpoint.namespace).get("status"))
    api.warnings.clear()
    try:
        made = endpoint.apply()
        again = endpoint.apply()
        endpoint.scale()
        if endpoint.plan.parked:
            api.wait_for("no pods", lambda: not endpoint.pods(), 60)
        else:
            wait_for_gateway(endpoint)
            api.wait_for("all pods", lambda: len(endpoint.pods()) == wanted + 1)
        used = api.need(QUOTA, "room", endpoint.namespace)["status"]["used"]
        assert int(used["pods"]) == len(endpoint.pods())
        assert endpoint.refusals() == []
        assert api.warnings == []
        # What the server has rewritten would look like a change at each deployment.
        for declared, live in zip(objects, made, strict=True):
            assert rewritten(declared, live) == []
        # The deployment of a stack that has not changed changes nothing.
        for first, second in zip(made, again, strict=True):
            assert first["metadata"]["uid"] == second["metadata"]["uid"]
            assert first["metadata"].get("generation") == second["metadata"].get("generation")
        assert asked_for(endpoint.pods())["bytes"] <= size + 2**30
    finally:
        api.delete("v1/Namespace", endpoint.namespace)
        for pod in endpoint.pods():
            api.delete(POD, pod, endpoint.namespace, grace_seconds=0)


def test_deleting_all_objects_leaves_nothing(plane: ControlPlane, api: Api, system: HollowNode):
    endpoint = Endpoint(plane, replace(planned("whole", **ALL), drain_seconds=2))
    endpoint.apply()
    with pool_node(plane, "spot-1", endpoint.plan), pool_node(plane, "spot-2", endpoint.plan):
        endpoint.scale()
        wait_until_ready(endpoint, {"chat-0", "chat-1", "embeddings-0"})
        wait_for_gateway(endpoint)
        volumes = set(endpoint.claims().values())
        assert len(volumes) == 3
        endpoint.remove()
    assert api.get("v1/Namespace", endpoint.namespace) is None
    api.wait_for("the volumes' end", lambda: not volumes & api.names(VOLUME))


def test_with_keep_data_the_claims_outlive_the_servers(
    plane: ControlPlane, api: Api, system: HollowNode
):
    plan = replace(planned("kept-for-good", keep_data="true"), drain_seconds=2)
    kept = Endpoint(plane, plan)
    kept.apply()
    with pool_node(plane, "spot-kept", kept.plan):
        kept.scale()
        wait_until_ready(kept, {"chat-0"})
        before = kept.claims()
        kept.remove(with_namespace=False)
        assert kept.claims() == before
        kept.apply()
        kept.scale()
        wait_until_ready(kept, {"chat-0"})
        assert kept.claims() == before
        volume = cast("str", before["models-chat-0"])
        kept.remove()
    api.wait_for("its volume's end", lambda: api.get(VOLUME, volume) is None)
