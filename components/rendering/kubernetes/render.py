"""A plan made the objects that a cluster is sent: the same for the same plan."""

from __future__ import annotations

from components.rendering.kubernetes.code import code_objects
from components.rendering.kubernetes.exposure import exposure_objects
from components.rendering.kubernetes.gateway import gateway_objects
from components.rendering.kubernetes.namespace import namespace_objects
from components.rendering.kubernetes.network_policies import network_policy_objects
from components.rendering.kubernetes.parking import parking_objects
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.rendered import RenderedObjects
from components.rendering.kubernetes.scaling import scaling_objects
from components.rendering.kubernetes.servers import server_objects


def render(plan: PodPlan) -> RenderedObjects:
    """Return the objects of `plan`.

    Raises ValueError for a plan that no cluster can carry out: a launch that wants keys in a file
    (`PodLaunchError`), a way in that lacks something (`ExposureError`), and a module that this
    project lacks.
    """
    return RenderedObjects(
        (
            *namespace_objects(plan),
            *network_policy_objects(plan),
            *code_objects(plan),
            *(each for server in plan.servers for each in server_objects(plan, server)),
            *(each for server in plan.servers for each in scaling_objects(plan, server)),
            *gateway_objects(plan),
            *exposure_objects(plan),
            *parking_objects(plan),
        )
    )
