"""Hollow nodes as GKE makes them of a machine type, with GKE's own pods on each."""

from __future__ import annotations

from cluster.api import Object
from cluster.node import HollowNode
from cluster.plane import ControlPlane

from components.catalogue.gcp import find_machine_type
from components.catalogue.gke import SYSTEM_MEMORY_BYTES, SYSTEM_MILLI_CPUS, allocatable
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.plan import POOL_LABEL, SPOT_LABEL, PodPlan

SYSTEM_MACHINE, POOL_MACHINE = "e2-standard-2", "c3-standard-22"


def system_node(plane: ControlPlane, name: str = "system") -> HollowNode:
    """Return the node that is always there, without a taint."""
    return _node(plane, name, SYSTEM_MACHINE, {}, [])


def pool_node(plane: ControlPlane, name: str, plan: PodPlan | ColabPlan) -> HollowNode:
    """Return a node of the pool that `plan` is for, with the labels and the taint of the pool."""
    spot = {SPOT_LABEL: "true"} if plan.spot else {}
    taint = plan.taint
    taints = [] if taint is None else [f"{taint.key}={taint.value}:NoSchedule"]
    return _node(plane, name, POOL_MACHINE, {POOL_LABEL: plan.base_name, **spot}, taints)


def _node(
    plane: ControlPlane, name: str, machine: str, labels: dict[str, str], taints: list[str]
) -> HollowNode:
    known = find_machine_type(machine)
    assert known is not None
    room = allocatable(known)
    return HollowNode(
        plane,
        name,
        labels=labels,
        taints=taints,
        cpu=f"{room.milli_cpus}m",
        memory=str(room.memory_bytes),
    )


def gke_daemon() -> Object:
    """Return what takes its share of every node, tainted or not, as GKE's own pods do."""
    share = {"cpu": f"{SYSTEM_MILLI_CPUS}m", "memory": str(SYSTEM_MEMORY_BYTES)}
    container = {
        "name": "daemon",
        "image": "registry.example/daemon:1",
        "resources": {"requests": share},
    }
    labels = {"app": "gke-daemon"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "gke-daemon", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    }
