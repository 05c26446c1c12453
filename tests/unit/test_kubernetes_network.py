"""Network policies: who gets to whom, read as a cluster reads them."""

import ipaddress
from typing import Any

import pytest
from rendering_kubernetes import PLANS, Object, kinds, objects, pod_templates

CLUSTER = {"10.0.0.1", "100.64.0.1", "172.16.0.2", "192.168.1.1", "240.10.0.1"}
METADATA = "169.254.169.254"
PUBLIC = "151.101.0.223"


def peers_match(peers: list[Object] | None, *, component: str | None, address: str | None) -> bool:
    """Whether a rule's peers include a pod of ours, a pod of others (`other`) or an address."""
    if peers is None:
        return True
    for peer in peers:
        if (block := peer.get("ipBlock")) and address:
            there = ipaddress.ip_address(address)
            excepted = block.get("except", ())
            if there in ipaddress.ip_network(block["cidr"]) and not any(
                there in ipaddress.ip_network(one) for one in excepted
            ):
                return True
        if component is None or "ipBlock" in peer:
            continue
        if "namespaceSelector" in peer:
            assert peer == {"namespaceSelector": {}}
            return True
        if peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component:
            return True
    return False


def allowed(
    plan: str,
    direction: str,
    of: str,
    port: int,
    protocol: str = "TCP",
    **peer: str | None,
) -> bool:
    """Whether the plan's policies let pods of the component `of` through."""
    given: dict[str, Any] = {"component": None, "address": None, **peer}
    side = "from" if direction == "ingress" else "to"
    for policy in kinds(objects(plan), "NetworkPolicy").values():
        selected = policy["spec"]["podSelector"].get("matchLabels", {})
        if selected.get("app.kubernetes.io/component", of) != of:
            continue
        for rule in policy["spec"].get(direction, ()):
            ports = [(one["protocol"], one["port"]) for one in rule["ports"]]
            if (protocol, port) in ports and peers_match(rule.get(side), **given):
                return True
    return False


@pytest.mark.parametrize("plan", PLANS)
def test_every_pod_is_closed_but_for_what_is_said(plan: str):
    found = objects(plan)
    policies = kinds(found, "NetworkPolicy")
    assert policies["default"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    components = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, template in pod_templates(found)
    }
    named = {
        policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for name, policy in policies.items()
        if name != "default"
    }
    assert components == named


def test_servers_are_asked_by_the_gateway_alone():
    assert allowed("full", "ingress", "server", 8000, component="gateway")
    assert allowed("full", "egress", "gateway", 8000, component="server")
    for component in ("server", "park", "other"):
        assert not allowed("full", "ingress", "server", 8000, component=component)
    assert not allowed("full", "ingress", "server", 8000, address=PUBLIC)


@pytest.mark.parametrize("of", ["server", "gateway"])
def test_what_pulls_gets_to_the_internet_and_to_nothing_private(of: str):
    assert allowed("full", "egress", of, 443, address=PUBLIC)
    assert not allowed("full", "egress", of, 80, address=PUBLIC)
    for private in (*CLUSTER, METADATA):
        assert not allowed("full", "egress", of, 443, address=private)
        assert not allowed("full", "egress", of, 80, address=private)


@pytest.mark.parametrize("of", ["server", "gateway", "park"])
def test_names_are_resolved_whoever_serves_them(of: str):
    for address in (*CLUSTER, METADATA, "169.254.20.10"):
        assert allowed("full", "egress", of, 53, "UDP", address=address)
        assert allowed("full", "egress", of, 53, "TCP", address=address)


@pytest.mark.parametrize("plan", ["plain", "balanced", "full"])
def test_the_gateway_serves_the_cluster_and_the_networks_it_is_exposed_to(plan: str):
    assert allowed(plan, "ingress", "gateway", 8443, component="other")
    through = {
        address: allowed(plan, "ingress", "gateway", 8443, address=address)
        for address in ("192.0.2.9", "198.51.100.7", "35.191.3.4", "130.211.2.2", PUBLIC)
    }
    assert {address for address, passes in through.items() if passes} == {
        "plain": set[str](),
        "balanced": {"192.0.2.9", "198.51.100.7"},
        "full": {"35.191.3.4", "130.211.2.2"},
    }[plan]


def test_only_the_parking_job_asks_when_somebody_last_asked():
    assert allowed("full", "ingress", "gateway", 8080, component="park")
    assert allowed("full", "egress", "park", 8080, component="gateway")
    assert not allowed("full", "ingress", "gateway", 8080, component="other")
    assert not allowed("full", "ingress", "gateway", 8080, address="35.191.3.4")


def test_the_parking_job_gets_to_the_api_server_and_nobody_to_the_job():
    for address in ("10.0.0.1", "172.16.0.2", PUBLIC):
        assert allowed("full", "egress", "park", 443, address=address)
    assert not allowed("full", "egress", "park", 80, address=METADATA)
    for policy in kinds(objects("full"), "NetworkPolicy").values():
        if policy["metadata"]["name"] == "park":
            assert "ingress" not in policy["spec"]
