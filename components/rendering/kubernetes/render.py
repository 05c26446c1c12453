"""A plan made the objects that a cluster is sent: the same for the same plan."""

from __future__ import annotations

from components.rendering.kubernetes.code import code_objects
from components.rendering.kubernetes.deployed import adapted, workload_objects
from components.rendering.kubernetes.exposure import exposure_objects
from components.rendering.kubernetes.gateway import gateway_objects
from components.rendering.kubernetes.namespace import namespace_objects
from components.rendering.kubernetes.network_policies import network_policy_objects
from components.rendering.kubernetes.parking import parking_objects
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.registry import registry_objects
from components.rendering.kubernetes.rendered import RenderedObjects


def render(plan: PodPlan) -> RenderedObjects:
    """Return the objects of `plan`.

    Raises ValueError for a plan that no cluster can carry out: a launch that wants keys in a file
    (`PodLaunchError`), a server with models of a registry that it does not name
    (`RegistryPlanError`), one that can't be deployed as the plan says (`StorageError`), a way in
    that lacks something (`ExposureError`), and a module that this project lacks.
    """
    objects = (
        *namespace_objects(plan),
        *network_policy_objects(plan),
        *code_objects(plan),
        *registry_objects(plan),
        *workload_objects(plan),
        *gateway_objects(plan),
        *exposure_objects(plan),
        *parking_objects(plan),
    )
    return RenderedObjects(adapted(plan, objects))
