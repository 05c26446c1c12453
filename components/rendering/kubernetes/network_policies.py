"""Who may talk to whom: nobody to nobody, but for what is said here.

They take a cluster that enforces them, as GKE's Dataplane V2 does. A node always gets to its own
pods, and so do the kubelet's probes and port-forwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.rendering.kubernetes import gateway, parking, servers
from components.rendering.kubernetes.exposure import GOOGLE_PROXIES
from components.rendering.kubernetes.manifests import Manifest, metadata
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    COMPONENT_LABEL,
    GATEWAY,
    HTTPS_PORT,
    PARK,
    SERVER_PORT,
    SERVERS,
)
from components.rendering.kubernetes.plan import Expose, PodPlan

_PRIVATE = (
    "10.0.0.0/8",
    "100.64.0.0/10",
    # The metadata server among them, which would hand out the node's identity.
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    # GKE may have pods there.
    "240.0.0.0/4",
)

Rule = dict[str, object]

_DNS: Rule = {
    # To anybody: by the cluster, it is kube-dns that answers, each node's own cache on a
    # link-local address, or the metadata server.
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}
_INTERNET: Rule = {
    "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE)}}],
    "ports": [{"protocol": "TCP", "port": 443}],
}
_API_SERVER: Rule = {
    # To anybody: the address behind the Service `kubernetes` is the cluster's own, which is known
    # once it is made, and policies are applied to that rather than to the Service's.
    "ports": [{"protocol": "TCP", "port": 443}],
}


def network_policy_objects(plan: PodPlan) -> list[Manifest]:
    """Return the policies of the namespace."""
    found = [
        _policy(plan, "default", None, (), ()),
        _policy(
            plan,
            SERVERS,
            servers.COMPONENT,
            [_from([_pods(gateway.COMPONENT)], SERVER_PORT)],
            [_DNS, _INTERNET],
        ),
        _policy(
            plan,
            GATEWAY,
            gateway.COMPONENT,
            [
                _from(_clients(plan), HTTPS_PORT),
                _from([_pods(parking.COMPONENT)], ACTIVITY_PORT),
            ],
            # The package index among the rest.
            [_DNS, _to([_pods(servers.COMPONENT)], SERVER_PORT), _INTERNET],
        ),
    ]
    if plan.idle_minutes is not None:
        egress = [_DNS, _to([_pods(gateway.COMPONENT)], ACTIVITY_PORT), _API_SERVER]
        found.append(_policy(plan, PARK, parking.COMPONENT, (), egress))
    return found


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


def _pods(component: str) -> Rule:
    return {"podSelector": {"matchLabels": {COMPONENT_LABEL: component}}}


def _from(peers: Sequence[Rule], port: int) -> Rule:
    return {"from": list(peers), "ports": [{"protocol": "TCP", "port": port}]}


def _to(peers: Sequence[Rule], port: int) -> Rule:
    return {"to": list(peers), "ports": [{"protocol": "TCP", "port": port}]}


def _policy(
    plan: PodPlan,
    name: str,
    component: str | None,
    ingress: Sequence[Rule],
    egress: Sequence[Rule],
) -> Manifest:
    """Return the policy of the pods of `component`, or of all of the namespace's."""
    selected = {} if component is None else {"matchLabels": {COMPONENT_LABEL: component}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(plan, name, "llm-endpoint" if component is None else None),
        "spec": {
            "podSelector": selected,
            "policyTypes": ["Ingress", "Egress"],
            **({"ingress": list(ingress)} if ingress else {}),
            **({"egress": list(egress)} if egress else {}),
        },
    }
