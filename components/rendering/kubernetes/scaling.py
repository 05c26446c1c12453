"""How many pods serve: their spread, and what keeps and changes their number."""

from __future__ import annotations

from components.rendering.kubernetes.manifests import Manifest, metadata
from components.rendering.kubernetes.names import NAME_LABEL
from components.rendering.kubernetes.plan import PodPlan, PodServer

_CPU_PERCENT = 70
_SHRINK_SECONDS = 600
"""How long the load must be low before a pod goes: the next one takes minutes to load its model."""


def scaling_objects(plan: PodPlan, server: PodServer) -> list[Manifest]:
    """Return the disruption budget and the autoscaler of `server`, where it has them."""
    found = budget_objects(plan, server)
    if server.most_replicas is not None:
        found.append(_autoscaler(plan, server, server.most_replicas))
    return found


def budget_objects(plan: PodPlan, server: PodServer) -> list[Manifest]:
    """Return the disruption budget of `server`, where it has several pods."""
    return [_budget(plan, server)] if server.replicas > 1 else []


def spread(name: str) -> dict[str, object]:
    """Return the constraint that keeps the pods of `name` on different nodes where there are."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {NAME_LABEL: name}},
    }


def _budget(plan: PodPlan, server: PodServer) -> Manifest:
    """Return the budget, which one pod alone must not have: no node of its could be drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(plan, server.name),
        "spec": {
            "minAvailable": 1,
            # A pod that does not serve anyway never holds up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {NAME_LABEL: server.name}},
        },
    }


def _autoscaler(plan: PodPlan, server: PodServer, most: int) -> Manifest:
    """Return the autoscaler; Kubernetes itself turns it off at 0 replicas, which is parked."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(plan, server.name),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "StatefulSet",
                "name": server.name,
            },
            "minReplicas": server.replicas,
            "maxReplicas": most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": _SHRINK_SECONDS}},
        },
    }
