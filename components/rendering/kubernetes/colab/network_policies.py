"""Who may talk to a Colab runtime, and to whom it may.

A port-forward begins on the pod's own node, which policies always let through; nobody else but the
job that parks it gets in, and only to the door.
"""

from __future__ import annotations

from components.rendering.kubernetes import gateway, parking
from components.rendering.kubernetes.colab.names import DOOR_PORT, RUNTIME
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.names import HTTPS_PORT, PARK
from components.rendering.kubernetes.policy_rules import (
    API_SERVER,
    DNS,
    INTERNET,
    METADATA_SERVER,
    Rule,
    from_peers,
    pods,
    policy,
    to_peers,
    to_url,
)

COMPONENT = "runtime"
# Ubuntu's package index, which apt checks by its signatures.
_PACKAGES = to_url("http://archive.ubuntu.com")


def network_policy_objects(plan: ColabPlan) -> list[Manifest]:
    """Return the policies of the namespace."""
    parks = plan.idle_minutes is not None
    ingress = [from_peers([pods(parking.COMPONENT)], DOOR_PORT)] if parks else []
    found = [
        policy(plan, "default", None, (), ()),
        policy(plan, RUNTIME, COMPONENT, ingress, _egress(plan)),
    ]
    if parks:
        egress = [DNS, to_peers([pods(COMPONENT)], DOOR_PORT), API_SERVER]
        found.append(policy(plan, PARK, parking.COMPONENT, (), egress))
    return found


def _egress(plan: ColabPlan) -> list[Rule]:
    """Return whom notebooks and backups may talk to: the internet, and the endpoint beside them.

    The metadata server is there for backups by the pod's identity; a notebook has the same one.
    """
    rules = [DNS, INTERNET, _PACKAGES]
    if plan.backup is not None:
        if plan.backup.url.scheme == "gs":
            rules += METADATA_SERVER
        if plan.backup.url.endpoint is not None:
            rules.append(to_url(plan.backup.url.endpoint))
    if plan.endpoint_namespace is not None:
        peer = pods(gateway.COMPONENT, plan.endpoint_namespace)
        rules.append(to_peers([peer], HTTPS_PORT))
    return rules
