"""Who reaches what: firewalls, addresses, Services, network policies, control planes, buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from components.settings import NAMESPACE
from emulator.mocks.recording import Registration
from scripts.inventory.values import at, each, pairs, text, truth

Inputs = object


def exposure(one: Registration) -> Iterable[str]:
    """Yield a line for each way in to or out of `one`."""
    inputs = one.without_secrets()
    kind = one.token.rpartition(":")[2]
    tell = _TELLS.get(kind)
    # A component may be called as what it makes.
    if tell is not None and not one.token.startswith(f"{NAMESPACE}:"):
        for said in tell(inputs):
            yield f"{kind} {one.name}: {said}"


def _firewall(rule: Inputs) -> Iterable[str]:
    ends, ways = _WAYS[text(rule, "direction") or "INGRESS"]
    # A rule that names nobody, or no machine, is for all of them.
    whom = ", ".join(filter(None, (text(rule, end) for end in ends))) or "the whole world"
    of = "" if any(each(rule, key) for key in _TARGETS) else " of every machine in the network"
    off = "switched off, it " if truth(rule, "disabled") else ""
    for key, verb, to in ways:
        for one in each(rule, key):
            yield f"{off}{verb} {whom} {to} {_protocol(one)}{of}"


_WAYS = {
    "INGRESS": (
        ("sourceRanges", "sourceTags", "sourceServiceAccounts"),
        (("denies", "keeps out", "from"), ("allows", "lets in", "to")),
    ),
    "EGRESS": (
        ("destinationRanges",),
        (("denies", "keeps from", "with"), ("allows", "lets out to", "with")),
    ),
}
_TARGETS = ("targetServiceAccounts", "targetTags")


def _protocol(rule: object) -> str:
    return f"{text(rule, 'protocol')} {text(rule, 'ports')}".strip()


def _address(address: Inputs) -> Iterable[str]:
    yield text(address, "addressType").lower()


def _interfaces(machine: Inputs) -> Iterable[str]:
    for interface in each(machine, "networkInterfaces"):
        outside = each(interface, "accessConfigs") or each(interface, "ipv6AccessConfigs")
        yield "has an external address" if outside else "has no external address"


def _filter(policy: Inputs) -> Iterable[str]:
    for rule in each(policy, "rules"):
        yield f"{text(rule, 'action')} {text(rule, 'match', 'config', 'srcIpRanges')}"


def _record(record: Inputs) -> Iterable[str]:
    # What it points to is known to the cloud alone.
    yield f"{text(record, 'name')} {text(record, 'type')} in the zone {text(record, 'managedZone')}"


def _nat(nat: Inputs) -> Iterable[str]:
    yield f"lets out {text(nat, 'sourceSubnetworkIpRangesToNat')}"


def _cluster(cluster: Inputs) -> Iterable[str]:
    private = truth(cluster, "privateClusterConfig", "enablePrivateNodes")
    yield f"nodes {'without' if private else 'with'} external addresses"
    ways = "controlPlaneEndpointsConfig"
    if truth(cluster, ways, "dnsEndpointConfig", "allowExternalTraffic"):
        yield "control plane by its name, for whom IAM lets in"
    if truth(cluster, ways, "ipEndpointsConfig", "enabled"):
        blocks = each(cluster, "masterAuthorizedNetworksConfig", "cidrBlocks")
        ranges = ", ".join(text(block, "cidrBlock") for block in blocks)
        yield f"control plane by its address, for {ranges or 'the whole world'}"


def _bucket(bucket: Inputs) -> Iterable[str]:
    prevention = text(bucket, "publicAccessPrevention") or "not set"
    uniform = truth(bucket, "uniformBucketLevelAccess")
    whose = "the bucket alone" if uniform else "the bucket and single objects"
    yield f"public access prevention {prevention}, rights to {whose}"


def _service(service: Inputs) -> Iterable[str]:
    # One of Kubernetes; that of Google is an API which is switched on.
    if at(service, "spec") is None:
        return
    ports = ", ".join(text(port, "port") for port in each(service, "spec", "ports"))
    ranges = text(service, "spec", "loadBalancerSourceRanges")
    kind = text(service, "spec", "type") or "ClusterIP"
    whom = f" for {ranges or 'the whole world'}" if kind == "LoadBalancer" else ""
    yield f"{kind}, port {ports}{whom}"


def _gateway(gateway: Inputs) -> Iterable[str]:
    for listener in each(gateway, "spec", "listeners"):
        yield f"{text(listener, 'protocol')}, port {text(listener, 'port')}"


def _network_policy(policy: Inputs) -> Iterable[str]:
    spec = at(policy, "spec")
    for kind, key, peers, empty in (
        ("Ingress", "ingress", "from", "nobody gets in"),
        ("Egress", "egress", "to", "nothing gets out"),
    ):
        if kind not in each(spec, "policyTypes"):
            continue
        rules = each(spec, key)
        if not rules:
            yield empty
        for rule in rules:
            ports = ", ".join(_port(port) for port in each(rule, "ports")) or "every port"
            whom = "; ".join(_peer(peer) for peer in each(rule, peers)) or "anybody"
            yield f"{'in from' if key == 'ingress' else 'out to'} {whom}: {ports}"


def _port(port: object) -> str:
    return f"{text(port, 'protocol') or 'TCP'} {text(port, 'port')}"


def _peer(peer: object) -> str:
    parts: list[str] = []
    for key, word in (("podSelector", "pods"), ("namespaceSelector", "namespaces")):
        if at(peer, key) is not None:
            labels = ", ".join(
                f"{k}={text(v)}" for k, v in sorted(pairs(peer, key, "matchLabels").items())
            )
            rest = text(peer, key, "matchExpressions")
            parts.append(f"{word} {labels or rest or 'all'}")
    if at(peer, "ipBlock") is not None:
        but = text(peer, "ipBlock", "except")
        parts.append(f"{text(peer, 'ipBlock', 'cidr')}{f' but {but}' if but else ''}")
    return " of ".join(parts)


_TELLS: Mapping[str, Callable[[Inputs], Iterable[str]]] = {
    "Address": _address,
    "Bucket": _bucket,
    "Cluster": _cluster,
    "Firewall": _firewall,
    "Gateway": _gateway,
    "GlobalAddress": _address,
    "Instance": _interfaces,
    "InstanceTemplate": _interfaces,
    "NetworkPolicy": _network_policy,
    "RecordSet": _record,
    "RouterNat": _nat,
    "SecurityPolicy": _filter,
    "Service": _service,
}
