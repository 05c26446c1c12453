"""What NetworkPolicies let through, worked out from the API server's objects: nothing enforces them
here.

The rules: kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from cluster.api import Api, Object, Objects

POLICY = "networking.k8s.io/v1/NetworkPolicy"


class Policies:
    """The policies of all namespaces as they are now."""

    def __init__(self, api: Api) -> None:
        self._policies = api.list(POLICY)
        self._namespaces = {
            found["metadata"]["name"]: found["metadata"]["labels"]
            for found in api.list("v1/Namespace")
        }

    def isolates(self, pod: Object) -> set[str]:
        """Return the directions in which nothing passes but what a policy lets through."""
        return {kind for policy in self._of(pod) for kind in policy["spec"]["policyTypes"]}

    def lets(self, source: Object | str, target: Object | str, port: int) -> bool:
        """Whether TCP from one pod, or address, gets to `port` of the other."""
        outward = isinstance(source, str) or self._passes(source, "Egress", "to", target, port)
        inward = isinstance(target, str) or self._passes(target, "Ingress", "from", source, port)
        return outward and inward

    def _of(self, pod: Object) -> Objects:
        return [
            policy
            for policy in self._policies
            if policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and _selects(policy["spec"]["podSelector"], pod["metadata"].get("labels", {}))
        ]

    def _passes(
        self, pod: Object, direction: str, word: str, other: Object | str, port: int
    ) -> bool:
        policies = [each for each in self._of(pod) if direction in each["spec"]["policyTypes"]]
        if not policies:
            return True
        return any(
            self._has_port(rule, port, other if direction == "Egress" else pod)
            and (not rule.get(word) or any(self._is(peer, other, pod) for peer in rule[word]))
            for policy in policies
            for rule in policy["spec"].get(direction.lower(), ())
        )

    def _has_port(self, rule: Object, port: int, target: Object | str) -> bool:
        ports = rule.get("ports")
        if not ports:
            return True
        assert all(isinstance(each["port"], int) and "endPort" not in each for each in ports), (
            f"a named port or a range, which is not evaluated here, for {target}"
        )
        return any(each["port"] == port and each["protocol"] == "TCP" for each in ports)

    def _is(self, peer: Object, other: Object | str, pod: Object) -> bool:
        if isinstance(other, str):
            block = peer.get("ipBlock")
            return block is not None and _within(other, block)
        if "ipBlock" in peer:
            return False
        where = other["metadata"]["namespace"]
        if "namespaceSelector" in peer:
            if not _selects(peer["namespaceSelector"], self._namespaces[where]):
                return False
        elif where != pod["metadata"]["namespace"]:
            return False
        return _selects(peer.get("podSelector", {}), other["metadata"].get("labels", {}))


def _within(address: str, block: Object) -> bool:
    found = ipaddress.ip_address(address)
    return found in ipaddress.ip_network(block["cidr"]) and not any(
        found in ipaddress.ip_network(each) for each in block.get("except", ())
    )


def _selects(selector: Object, labels: Mapping[str, Any]) -> bool:
    assert "matchExpressions" not in selector, "an expression, which is not evaluated here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def stranger(namespace: str) -> Object:
    """Return a pod of somebody else's, as far as policies look at one."""
    return {"metadata": {"name": "stranger", "namespace": namespace, "labels": {"app": "other"}}}
