"""Who may talk to whom: nobody to nobody, but for what is said here.

They take a cluster that enforces them, as GKE's Dataplane V2 does. A node always gets to its own
pods, and so do the kubelet's probes and port-forwards.
"""

from __future__ import annotations

from typing import cast

from components.rendering.kubernetes import gateway, operator, parking, servers
from components.rendering.kubernetes.exposure import GOOGLE_PROXIES
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    GATEWAY,
    HTTPS_PORT,
    PARK,
    SERVER_PORT,
    SERVERS,
)
from components.rendering.kubernetes.plan import Deploy, Expose, PodPlan
from components.rendering.kubernetes.policy_rules import (
    API_SERVER,
    DNS,
    INTERNET,
    Rule,
    from_peers,
    pods,
    policy,
    to_peers,
)
from components.rendering.kubernetes.registry import registry_egress


def network_policy_objects(plan: PodPlan) -> list[Manifest]:
    """Return the policies of the namespace."""
    found = [
        policy(plan, "default", None, (), ()),
        policy(
            plan,
            SERVERS,
            servers.COMPONENT,
            [from_peers([pods(gateway.COMPONENT)], SERVER_PORT)],
            [DNS, INTERNET, *registry_egress(plan.registry)],
        ),
        policy(
            plan,
            GATEWAY,
            gateway.COMPONENT,
            [
                from_peers(_clients(plan), HTTPS_PORT),
                from_peers([pods(parking.COMPONENT)], ACTIVITY_PORT),
            ],
            # The package index among the rest.
            [DNS, *_to_servers(plan), INTERNET],
        ),
        *_of_the_operator(plan),
    ]
    if plan.idle_minutes is not None:
        egress = [DNS, to_peers([pods(gateway.COMPONENT)], ACTIVITY_PORT), API_SERVER]
        found.append(policy(plan, PARK, parking.COMPONENT, (), egress))
    return found


def _to_servers(plan: PodPlan) -> list[Rule]:
    """Return what lets the gateway ask the servers."""
    if plan.deploy is Deploy.OPERATOR:
        return [to_peers([{"podSelector": _made_by_the_operator(plan)}], operator.REST_PORT)]
    return [to_peers([pods(servers.COMPONENT)], SERVER_PORT)]


def _of_the_operator(plan: PodPlan) -> list[Manifest]:
    """Return the policy of pods that have the labels of the operator's chart, and none of ours.

    They have their model on a disk, and ask nobody for anything.
    """
    if plan.deploy is not Deploy.OPERATOR:
        return []
    made = policy(
        plan, "operator", None, [from_peers([pods(gateway.COMPONENT)], operator.REST_PORT)], ()
    )
    spec = cast("Rule", made["spec"])
    return [{**made, "spec": {**spec, "podSelector": _made_by_the_operator(plan)}}]


def _made_by_the_operator(plan: PodPlan) -> Rule:
    apps = [operator.app_of(server.name) for server in plan.servers]
    return {"matchExpressions": [{"key": operator.APP_LABEL, "operator": "In", "values": apps}]}


def _clients(plan: PodPlan) -> list[Rule]:
    """Return who may ask the gateway: every pod of the cluster, and whom it is exposed to."""
    everyone: Rule = {"namespaceSelector": {}}
    match plan.expose:
        case Expose.INTERNAL:
            outside = ()
        case Expose.LOAD_BALANCER:
            outside = plan.allowed_cidrs
        case Expose.GATEWAY:
            outside = GOOGLE_PROXIES
    return [everyone, *({"ipBlock": {"cidr": cidr}} for cidr in outside)]
