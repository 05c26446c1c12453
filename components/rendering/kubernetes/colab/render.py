"""A plan of a Colab runtime made the objects that a cluster is sent: the same for the same plan."""

from __future__ import annotations

from components.rendering.kubernetes.colab.backups import backup_objects
from components.rendering.kubernetes.colab.namespace import namespace_objects
from components.rendering.kubernetes.colab.network_policies import network_policy_objects
from components.rendering.kubernetes.colab.parking import parking_objects
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.colab.runtime import runtime_objects
from components.rendering.kubernetes.rendered import RenderedObjects


def render(plan: ColabPlan) -> RenderedObjects:
    """Return the objects of `plan`. The Secrets, and the authority's ConfigMap, have no data."""
    return RenderedObjects(
        (
            *namespace_objects(plan),
            *network_policy_objects(plan),
            *backup_objects(plan),
            *runtime_objects(plan),
            *parking_objects(plan),
        )
    )
