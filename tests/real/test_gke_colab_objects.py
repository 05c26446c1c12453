"""What a cluster is sent of a Colab runtime, on a real control plane: what it takes, and lets in.

Nodes are hollow: the pod is admitted, placed and deleted, and nothing runs in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest
from cluster.api import Api, Object, Objects, holds
from cluster.plane import ControlPlane
from cluster.rewriting import rewritten
from pods.deployed import CLAIM, POD
from pods.nodes import gke_daemon, pool_node
from pods.policies import Policies, stranger

from components.models.registry import parse_registry_url
from components.rendering.kubernetes.colab import names
from components.rendering.kubernetes.colab.plan import Backup, ColabImages, ColabPlan
from components.rendering.kubernetes.colab.render import render
from components.rendering.kubernetes.plan import PodResources, Taint

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

PLAN = ColabPlan(
    base_name="llm-endpoint-gke-colab",
    namespace="colab",
    images=ColabImages(
        runtime="registry.example/colab:1",
        restic="registry.example/restic:1",
        caddy="registry.example/caddy:1",
        python="registry.example/python:1",
    ),
    resources=PodResources(20, 64 * 10**9),
    taint=Taint("cloud.google.com/gke-spot", "true"),
    storage_class="premium-rwo",
    data_gb=100,
    libraries_gb=30,
    backup=Backup(parse_registry_url("gs://example-backups"), 15),
)
S3 = Backup(parse_registry_url("s3://example-backups?endpoint=http://10.1.2.3:9000"), 15, True)
VARIANTS = {
    "colab": PLAN,
    "s3": replace(PLAN, backup=S3, idle_minutes=240),
    "endpoint": replace(
        PLAN,
        endpoint="https://gateway.serving.svc.cluster.local",
        endpoint_namespace="serving",
    ),
    "bare": replace(PLAN, backup=None, taint=None, spot=False),
}
LATE = {
    names.TOKEN_SECRET: {"stringData": {names.TOKEN_KEY: "of the test"}},
    names.BACKUP_SECRET: {
        "stringData": {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "of the test"}
    },
    names.AUTHORITY_CONFIG: {"data": {names.AUTHORITY_FILE: "PEM"}},
}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.api.apply(gke_daemon())
        yield plane


def objects(plan: ColabPlan) -> Objects:
    """Return what is applied, with what a deployment adds."""
    found = cast("tuple[Object, ...]", render(plan).objects)
    return [{**one, **LATE.get(one["metadata"]["name"], {})} for one in found]


def pods(api: Api, plan: ColabPlan) -> Objects:
    return api.list(POD, plan.namespace, f"app.kubernetes.io/name={names.RUNTIME}")


def ready(api: Api, plan: ColabPlan) -> Object | None:
    """Return the one pod that there is, if it is ready."""
    found = pods(api, plan)
    return found[0] if len(found) == 1 and holds(found[0], "Ready") else None


def remove(api: Api, plan: ColabPlan) -> None:
    """Have everything go, and the pod at once, whose node goes as well."""
    api.delete("v1/Namespace", plan.namespace)
    for pod in pods(api, plan):
        api.delete(POD, pod["metadata"]["name"], plan.namespace, grace_seconds=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cluster_takes_every_object_and_lets_the_pod_in(plane: ControlPlane, name: str):
    api, plan = plane.api, replace(VARIANTS[name], namespace=f"runtime-{name}")
    api.warnings.clear()
    with pool_node(plane, f"pool-{name}", plan):
        declared = objects(plan)
        made = api.apply_all(declared)
        again = api.apply_all(declared)
        for wanted, live in zip(declared, made, strict=True):
            assert rewritten(wanted, live) == []
        for first, second in zip(made, again, strict=True):
            assert first["metadata"].get("generation") == second["metadata"].get("generation")
        pod = api.wait_for("the runtime's pod", lambda: ready(api, plan), 60)
        assert pod["spec"]["nodeName"] == f"pool-{name}"
        claims = {
            one["metadata"]["name"]: one["status"]["phase"]
            for one in api.list(CLAIM, plan.namespace)
        }
        assert claims == {names.DATA_CLAIM: "Bound", names.LIBRARIES_CLAIM: "Bound"}
        assert [told for told in api.events(plan.namespace) if "FailedCreate" in told] == []
        assert api.warnings == []
        remove(api, plan)


def test_an_evicted_pod_comes_back_with_its_disks_after_the_first_has_gone(plane: ControlPlane):
    api, plan = plane.api, replace(PLAN, namespace="runtime-evicted")
    with pool_node(plane, "pool-evicted", plan):
        api.apply_all(objects(plan))
        before = api.wait_for("the pod", lambda: ready(api, plan), 60)
        disks = {
            one["metadata"]["name"]: one["spec"]["volumeName"]
            for one in api.list(CLAIM, plan.namespace)
        }
        api.evict(before["metadata"]["name"], plan.namespace)

        def another() -> Object | None:
            found = ready(api, plan)
            own = before["metadata"]["uid"]
            return found if found and found["metadata"]["uid"] != own else None

        api.wait_for("another pod", another, 90)
        assert disks == {
            one["metadata"]["name"]: one["spec"]["volumeName"]
            for one in api.list(CLAIM, plan.namespace)
        }
        remove(api, plan)


def test_the_pod_talks_to_whom_it_has_to_and_nobody_but_the_job_gets_to_its_door(
    plane: ControlPlane,
):
    api = plane.api
    plan = replace(VARIANTS["endpoint"], namespace="runtime-policies", idle_minutes=240)
    api.apply_all(objects(plan))

    def labelled(component: str, namespace: str) -> Object:
        labels = {"app.kubernetes.io/component": component}
        return {"metadata": {"name": component, "namespace": namespace, "labels": labels}}

    runtime, park = labelled("runtime", plan.namespace), labelled("park", plan.namespace)
    policies = Policies(api)
    assert policies.isolates(runtime) == policies.isolates(park) == {"Ingress", "Egress"}
    assert policies.lets(park, runtime, names.DOOR_PORT)
    assert not policies.lets(park, runtime, names.NOTEBOOK_PORT)
    for other in (stranger(plan.namespace), stranger("default"), "203.0.113.7"):
        for port in (names.DOOR_PORT, names.NOTEBOOK_PORT, names.PORT):
            assert not policies.lets(other, runtime, port)
    for address, port in (("192.0.2.1", 443), ("192.0.2.1", 80), ("169.254.169.254", 80)):
        assert policies.lets(runtime, address, port)
    for address, port in (("10.0.0.1", 443), ("192.0.2.1", 22), ("192.168.1.1", 80)):
        assert not policies.lets(runtime, address, port)
    serving = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serving"}}
    api.apply(serving)
    policies = Policies(api)
    assert policies.lets(runtime, labelled("gateway", "serving"), 8443)
    assert not policies.lets(runtime, labelled("server", "serving"), 8000)
    assert not policies.lets(runtime, labelled("gateway", "default"), 8443)
