"""What network policies are made of: who may be talked to, at which port.

Fields: Kubernetes' API reference, v1.34.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from components.rendering.kubernetes.manifests import InNamespace, Manifest, metadata
from components.rendering.kubernetes.names import COMPONENT_LABEL

Rule = dict[str, object]
"""A peer, or what a policy lets through."""

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

DNS: Rule = {
    # To anybody: by the cluster, it is kube-dns that answers, each node's own cache on a
    # link-local address, or the metadata server.
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}


def _internet(port: int) -> Rule:
    return {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE)}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }


INTERNET = _internet(443)
API_SERVER: Rule = {
    # To anybody: the address behind the Service `kubernetes` is the cluster's own, which is known
    # once it is made, and policies are applied to that rather than to the Service's.
    "ports": [{"protocol": "TCP", "port": 443}],
}
METADATA_SERVER: tuple[Rule, ...] = (
    # GKE's own, which hands out tokens of the pod's identity and none of its node's: by version
    # and data plane its address is the first of these or the second
    # (cloud.google.com/kubernetes-engine/docs/how-to/workload-identity).
    {
        "to": [{"ipBlock": {"cidr": "169.254.169.252/32"}}],
        "ports": [{"protocol": "TCP", "port": 988}],
    },
    {
        "to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}],
        "ports": [{"protocol": "TCP", "port": 80}],
    },
)


def pods(component: str, namespace: str | None = None) -> Rule:
    """Return the pods of `component` as a peer, in this namespace or in the one of that name."""
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        **({} if namespace is None else {"namespaceSelector": where}),
        "podSelector": {"matchLabels": {COMPONENT_LABEL: component}},
    }


def from_peers(peers: Sequence[Rule], port: int) -> Rule:
    """Return what lets `peers` in at a TCP port."""
    return {"from": list(peers), "ports": [{"protocol": "TCP", "port": port}]}


def to_peers(peers: Sequence[Rule], port: int) -> Rule:
    """Return what lets pods out to a TCP port of `peers`."""
    return {"to": list(peers), "ports": [{"protocol": "TCP", "port": port}]}


def policy(
    plan: InNamespace,
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


def to_url(url: str) -> Rule:
    """Return what lets pods out to the host of a URL: its address, or where it is a name, whatever
    of the internet listens at its port."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:
        return _internet(port)
    block = {"cidr": f"{address}/{address.max_prefixlen}"}
    return to_peers([{"ipBlock": block}], port)
