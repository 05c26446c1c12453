"""What makes the pods of the servers, as the key `deploy` says: we, or another controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from components.rendering.kubernetes import kserve, operator
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.plan import Deploy, PodPlan, PodServer
from components.rendering.kubernetes.scaling import budget_objects, scaling_objects
from components.rendering.kubernetes.servers import server_objects

WORKLOADS = {
    Deploy.DEPLOYMENT: "StatefulSet",
    Deploy.OPERATOR: operator.KIND,
    Deploy.KSERVE: kserve.KIND,
}
"""The kind of the object that has the pods of a server made: one a server, of its name."""

_Convert = Callable[[PodPlan, PodServer, Sequence[Manifest]], list[Manifest]]


def workload_objects(plan: PodPlan) -> list[Manifest]:
    """Return the objects of all servers, and what they have in common.

    Raises `PodLaunchError` or `StorageError` for a server that can't be deployed so.
    """
    match plan.deploy:
        case Deploy.DEPLOYMENT:
            sets = (each for server in plan.servers for each in server_objects(plan, server))
            counts = (each for server in plan.servers for each in scaling_objects(plan, server))
            return [*sets, *counts]
        case Deploy.OPERATOR:
            shared = [operator.subscription(plan)] if plan.operator_subscription else []
            return [*shared, *_converted(plan, operator.server_objects)]
        case Deploy.KSERVE:
            budgets = (each for server in plan.servers for each in budget_objects(plan, server))
            return [kserve.runtime(plan), *_converted(plan, kserve.server_objects), *budgets]


def adapted(plan: PodPlan, objects: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Return all objects of `plan`, with what its way of deploying adds to some."""
    if plan.deploy is not Deploy.KSERVE:
        return tuple(objects)
    return tuple(kserve.with_credentials(plan, each) for each in objects)


def _converted(plan: PodPlan, convert: _Convert) -> list[Manifest]:
    return [
        each
        for server in plan.servers
        for each in convert(plan, server, server_objects(plan, server))
    ]
