"""The control plane that other tests deploy to is a real one, and leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster.api import Api, ApiError, holds
from cluster.build import built_control_plane
from cluster.etcd import etcd_program
from cluster.node import HollowNode
from cluster.plane import LOST_NODE_SECONDS, ControlPlane

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

NAMESPACE = "models"
STATEFUL_SET = "apps/v1/StatefulSet"
SPOT = "cloud.google.com/gke-spot"
UP_SECONDS = 20.0


@pytest.fixture(scope="module")
def programs() -> None:
    """Build and fetch what the plane is made of, which its own start does not count."""
    built_control_plane()
    etcd_program()


@pytest.fixture(scope="module")
def plane(programs: None) -> Iterator[ControlPlane]:
    began = time.monotonic()
    with ControlPlane() as plane:
        assert time.monotonic() - began < UP_SECONDS
        yield plane


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Api:
    plane.api.apply(namespace(NAMESPACE, "restricted"))
    plane.wait_for_namespace(NAMESPACE)
    return plane.api


@pytest.fixture(scope="module")
def nodes(plane: ControlPlane, api: Api) -> Iterator[list[HollowNode]]:
    """Two nodes of a tainted pool, each with room for one pod, and one without taints."""
    labels, taints = {SPOT: "true"}, [f"{SPOT}=true:NoSchedule"]
    room = {"cpu": "21875m", "memory": "81478Mi"}
    with ExitStack() as stack:
        yield [
            stack.enter_context(HollowNode(plane, "system", cpu="32", memory="128Gi")),
            *(
                stack.enter_context(HollowNode(plane, name, labels=labels, taints=taints, **room))
                for name in ("spot-1", "spot-2")
            ),
        ]


def namespace(name: str, level: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": level}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod_spec() -> dict[str, Any]:
    """Return a pod that the level `restricted` lets in, with an init container and a volume."""
    container = {
        "image": "registry.example/server:1",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "20", "memory": "64Gi"}},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    probe = {"httpGet": {"path": "/ready", "port": 8000}}
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 5000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": {SPOT: "true"},
        "tolerations": [{"key": SPOT, "operator": "Exists"}],
        "initContainers": [{**container, "name": "model"}],
        "containers": [{**container, "name": "server", "readinessProbe": probe}],
    }


def stateful_set(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    claim = {
        "metadata": {"name": "models"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Delete",
                "whenScaled": "Retain",
            },
            "volumeClaimTemplates": [claim],
            "template": {"metadata": {"labels": labels}, "spec": pod_spec()},
        },
    }


def ready(api: Api) -> set[str]:
    """Return the names of the pods that are ready and stay."""
    return {
        pod["metadata"]["name"]
        for pod in api.list("v1/Pod", NAMESPACE)
        if "deletionTimestamp" not in pod["metadata"] and holds(pod, "Ready")
    }


def volume(api: Api, claim: str) -> Path:
    """Return the folder of the volume that is bound to `claim`."""
    name = api.need("v1/PersistentVolumeClaim", claim, NAMESPACE)["spec"]["volumeName"]
    return Path(api.need("v1/PersistentVolume", name)["spec"]["hostPath"]["path"])


@pytest.fixture
def chat(api: Api, nodes: list[HollowNode]) -> Iterator[str]:
    """A StatefulSet without replicas; it, its claims and its volumes are gone afterwards."""
    api.apply(stateful_set("chat", 0))
    yield "chat"
    api.delete(STATEFUL_SET, "chat", NAMESPACE)
    api.wait_until_gone(STATEFUL_SET, "chat", NAMESPACE)
    assert api.list("v1/Pod", NAMESPACE) == []
    assert api.list("v1/PersistentVolumeClaim", NAMESPACE) == []
    api.wait_for("no volumes", lambda: not api.list("v1/PersistentVolume"))


def scale(api: Api, name: str, replicas: int) -> None:
    """Scale, and wait for as many pods, all ready."""
    api.scale(STATEFUL_SET, name, replicas, NAMESPACE)
    wanted = {f"{name}-{number}" for number in range(replicas)}
    api.wait_for(f"the pods {wanted}", lambda: ready(api) == wanted)
    api.wait_for("no other pods", lambda: api.names("v1/Pod", NAMESPACE) == wanted)


def test_the_server_says_its_version(plane: ControlPlane):
    assert plane.api.version().startswith("v1.")


def test_a_field_that_the_schema_does_not_have_is_refused(api: Api):
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": NAMESPACE},
    }
    api.apply({**config, "data": {"a": "b"}}, dry_run=True)
    with pytest.raises(ApiError, match="date"):
        api.apply({**config, "date": {"a": "b"}})
    assert api.get("v1/ConfigMap", "c", NAMESPACE) is None


def test_policies_of_the_gateway_are_held_to_their_fields(plane: ControlPlane, api: Api):
    plane.install_definitions()
    policy: dict[str, Any] = {
        "apiVersion": "networking.gke.io/v1",
        "kind": "GCPBackendPolicy",
        "metadata": {"name": "gateway", "namespace": NAMESPACE},
        "spec": {
            "targetRef": {"group": "", "kind": "Service", "name": "gateway"},
            "default": {"timeoutSec": 3600, "connectionDraining": {"drainingTimeoutSec": 15}},
        },
    }
    api.apply(policy, dry_run=True)
    policy["spec"]["default"]["drainSec"] = 15
    with pytest.raises(ApiError, match="drainSec"):
        api.apply(policy, dry_run=True)
    assert "httproutes.gateway.networking.k8s.io" in api.names(
        "apiextensions.k8s.io/v1/CustomResourceDefinition"
    )


def test_a_pod_of_root_is_kept_out_by_the_level_restricted(api: Api):
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "main", "image": "registry.example/server:1"}]},
    }
    with pytest.raises(ApiError, match=r"PodSecurity.*runAsNonRoot"):
        api.apply(pod)


def test_replicas_go_and_come_back_with_their_volumes(api: Api, chat: str):
    scale(api, chat, 2)
    where = {pod["spec"]["nodeName"] for pod in api.list("v1/Pod", NAMESPACE)}
    assert where == {"spot-1", "spot-2"}
    folder = volume(api, "models-chat-0")
    (folder / "model.bin").write_text("weights")
    scale(api, chat, 0)
    assert len(api.list("v1/PersistentVolumeClaim", NAMESPACE)) == 2
    scale(api, chat, 2)
    assert volume(api, "models-chat-0") == folder
    assert (folder / "model.bin").read_text() == "weights"


def test_deleting_in_the_foreground_leaves_no_volume(api: Api, nodes: list[HollowNode]):
    api.apply(stateful_set("chat", 1))
    api.wait_for("the pod", lambda: ready(api) == {"chat-0"})
    folder = volume(api, "models-chat-0")
    assert folder.is_dir()
    api.delete(STATEFUL_SET, "chat", NAMESPACE)
    api.wait_until_gone(STATEFUL_SET, "chat", NAMESPACE)
    assert api.list("v1/PersistentVolumeClaim", NAMESPACE) == []
    api.wait_for("the volume's folder to be gone", lambda: not folder.exists())


def test_a_pod_that_no_node_can_hold_waits(api: Api, chat: str):
    scale(api, chat, 2)
    api.scale(STATEFUL_SET, chat, 3, NAMESPACE)

    def unplaced() -> list[str]:
        return [
            told for told in api.events(NAMESPACE) if "chat-2" in told and "Insufficient" in told
        ]

    assert "had untolerated taint" not in api.wait_for("the scheduler's reason", unplaced)[0]
    assert ready(api) == {"chat-0", "chat-1"}


def test_an_evicted_pod_comes_back(api: Api, chat: str):
    scale(api, chat, 1)
    before = api.need("v1/Pod", "chat-0", NAMESPACE)["metadata"]["uid"]
    api.evict("chat-0", NAMESPACE)

    def again() -> bool:
        found = api.get("v1/Pod", "chat-0", NAMESPACE)
        return found is not None and found["metadata"]["uid"] != before and holds(found, "Ready")

    api.wait_for("another pod of the name", again)


def test_a_pod_is_ready_while_its_probe_passes(plane: ControlPlane, api: Api, chat: str):
    scale(api, chat, 1)
    with plane.probes_fail("chat-0", NAMESPACE):
        api.wait_for("the pod to be unready", lambda: ready(api) == set())
    api.wait_for("the pod to be ready", lambda: ready(api) == {"chat-0"})


def test_the_pods_of_a_lost_node_start_elsewhere(api: Api, nodes: list[HollowNode], chat: str):
    scale(api, chat, 1)
    where = api.need("v1/Pod", "chat-0", NAMESPACE)["spec"]["nodeName"]
    (lost,) = [node for node in nodes if node.name == where]
    lost.lose()
    try:
        api.wait_for(
            "the node to be missed", lambda: unreachable(api, where), LOST_NODE_SECONDS * 3
        )
        # As the cloud does when the machine is gone.
        api.delete("v1/Node", where)
        api.delete("v1/Pod", "chat-0", NAMESPACE, grace_seconds=0)
        api.wait_for("the pod on another node", lambda: ready(api) == {"chat-0"})
        assert api.need("v1/Pod", "chat-0", NAMESPACE)["spec"]["nodeName"] != where
    finally:
        lost.start()


def unreachable(api: Api, node: str) -> bool:
    taints = api.need("v1/Node", node)["spec"].get("taints", [])
    return any(taint["key"] == "node.kubernetes.io/unreachable" for taint in taints)


def test_a_job_runs_to_its_end(api: Api, nodes: list[HollowNode]):
    pod = {**pod_spec(), "restartPolicy": "Never", "volumes": [{"name": "models", "emptyDir": {}}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": NAMESPACE},
        "spec": {"template": {"spec": pod}},
    }
    api.apply(job)
    api.wait_for("its end", lambda: holds(api.need("batch/v1/Job", "once", NAMESPACE), "Complete"))
    api.delete("batch/v1/Job", "once", NAMESPACE)
    api.wait_until_gone("batch/v1/Job", "once", NAMESPACE)


def test_nothing_is_left_of_a_plane(programs: None):
    before = set(psutil.Process().children())
    with ControlPlane() as plane, HollowNode(plane, "node"):
        folder = plane.folder
        started = set(psutil.Process().children()) - before
        assert len(started) == 5
    assert not folder.exists()
    assert not any(process.is_running() for process in started)
    assert not list(Path("/tmp").glob("hollow-kubelet.*"))
