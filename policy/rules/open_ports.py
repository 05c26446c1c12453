"""Nothing is open to the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policy.resources import Resource, at, each, pairs, text, texts
from policy.rule import AnyRule, Options, Rule, StackRule, Violation
from policy.rules.firewalls import HTTPS, SSH, openings
from policy.rules.machines import is_machine
from policy.rules.ranges import EXCEPTION, IAP, worldwide

_NAME_WHO = "scripts/pulumi config set allowed_cidrs 203.0.113.7/32 names who may come"
_INTERNAL = "networking.gke.io/load-balancer-type"
_DEFAULT_RULE = 2147483647
_OF_NETWORKS = 65534
"""The priority of the rules that Google puts into a default network
(cloud.google.com/firewall/docs/firewalls, "Pre-populated rules")."""
_INSIDE = "gke-l7-rilb", "gke-l7-rilb-mc", "gke-l7-cross-regional-internal-managed-mc"
"""The classes of gateways that no address on the internet leads to
(docs.cloud.google.com/kubernetes-engine/docs/concepts/gateway-api, "GatewayClasses")."""


def _open_to_the_world(resource: Resource, _: Options) -> Iterator[Violation]:
    if resource.is_of("gcp", "Firewall"):
        yield from _firewall(resource)
    elif resource.is_of("gcp", "SecurityPolicy", "RegionSecurityPolicy"):
        yield from _filter(resource)
    elif resource.is_of("gcp", "SecurityPolicyRule", "RegionSecurityPolicyRule"):
        yield from _filter_rule(resource, resource.props)
    elif resource.is_of("kubernetes", "Service"):
        yield from _service(resource)


def _firewall(resource: Resource) -> Iterator[Violation]:
    for opening in openings(resource):
        world = worldwide(opening.sources)
        if not world:
            continue
        if opening.is_exactly(HTTPS):
            fix = f"{_NAME_WHO}, {EXCEPTION}"
        elif opening.includes(SSH):
            fix = f"SSH comes by Identity-Aware Proxy, from {IAP} alone"
        else:
            fix = f"who may come (allowed_cidrs) comes to {HTTPS}, {EXCEPTION}"
        yield Violation(
            resource,
            str(opening),
            f"{resource.name} opens {opening} to the world ({', '.join(world)}): {fix}",
        )


def _filter(resource: Resource) -> Iterator[Violation]:
    rules = list(each(resource.props, "rules"))
    denies = False
    for rule in rules:
        last = at(rule, "priority") == _DEFAULT_RULE
        denies = denies or (last and text(rule, "action").startswith("deny"))
        yield from _filter_rule(resource, rule)
    if not denies:
        yield Violation(
            resource,
            "default",
            f"{resource.name} does not end in a rule that denies everybody else "
            f"(priority {_DEFAULT_RULE}): without it Google lets everybody through",
        )


def _filter_rule(resource: Resource, rule: object) -> Iterator[Violation]:
    ranges = texts(rule, "match", "config", "srcIpRanges")
    if text(rule, "action") == "allow" and (not ranges or worldwide(ranges)):
        yield Violation(
            resource,
            "allow",
            f"{resource.name} lets the world through: {_NAME_WHO}, {EXCEPTION}",
        )


def _service(resource: Resource) -> Iterator[Violation]:
    if text(resource.props, "spec", "type") != "LoadBalancer":
        return
    if pairs(resource.props, "metadata", "annotations").get(_INTERNAL) == "Internal":
        return
    ranges = texts(resource.props, "spec", "loadBalancerSourceRanges")
    if not ranges or worldwide(ranges):
        yield Violation(
            resource,
            "LoadBalancer",
            f"{resource.name} is a load balancer for the world: {_NAME_WHO}, {EXCEPTION}",
        )


def _all_else_is_closed(resources: Sequence[Resource], _: Options) -> Iterator[Violation]:
    denials = [one for one in resources if _denies_everybody(one)]
    for machine in resources:
        if not is_machine(machine):
            continue
        outside = any(
            at(interface, kind) is not None
            for interface in each(machine.props, "networkInterfaces")
            for kind in ("accessConfigs", "ipv6AccessConfigs")
        )
        if outside and not any(_is_for(denial, machine) for denial in denials):
            yield Violation(
                machine,
                "firewall",
                f"{machine.name} has an address on the internet, and no firewall rule denies all "
                "that none of ours allows: one of its network's, such as default-allow-ssh, may "
                "let the world in",
            )


def _denies_everybody(resource: Resource) -> bool:
    if not resource.is_of("gcp", "Firewall") or text(resource.props, "direction") == "EGRESS":
        return False
    priority = at(resource.props, "priority")
    before = isinstance(priority, int | float) and priority < _OF_NETWORKS
    return (
        before
        and at(resource.props, "disabled") is not True
        and any(text(one, "protocol") == "all" for one in each(resource.props, "denies"))
        and "0.0.0.0/0" in texts(resource.props, "sourceRanges")
    )


def _is_for(denial: Resource, machine: Resource) -> bool:
    """Whether the firewall rule `denial` is one for `machine`, by its tags or its account."""
    tags, accounts = (texts(denial.props, name) for name in ("targetTags", "targetServiceAccounts"))
    if accounts:
        return text(machine.props, "serviceAccount", "email") in accounts
    return not tags or not set(tags).isdisjoint(texts(machine.props, "tags"))


def _gateways_have_a_filter(resources: Sequence[Resource], _: Options) -> Iterator[Violation]:
    filtered = {
        text(one.props, "spec", "targetRef", "name")
        for one in resources
        if one.is_of("kubernetes", "GCPBackendPolicy")
        and text(one.props, "spec", "default", "securityPolicy")
    }
    for route in resources:
        if not route.is_of("kubernetes", "HTTPRoute"):
            continue
        if not any(_is_outside(one) for one in resources):
            continue
        for rule in each(route.props, "spec", "rules"):
            for backend in each(rule, "backendRefs"):
                name = text(backend, "name")
                if name not in filtered:
                    yield Violation(
                        route,
                        name,
                        f"{route.name} leads from the internet to {name}, before which no filter "
                        "of addresses stands (GCPBackendPolicy, securityPolicy): expose gateway "
                        "makes one of allowed_cidrs",
                    )


def _is_outside(resource: Resource) -> bool:
    return (
        resource.is_of("kubernetes", "Gateway")
        and text(resource.props, "spec", "gatewayClassName") not in _INSIDE
    )


RULES: tuple[AnyRule, ...] = (
    Rule(
        "open-to-the-world",
        "No port is open to the whole internet: neither SSH nor a model's",
        "mandatory",
        _open_to_the_world,
    ),
    StackRule(
        "closed-otherwise",
        "A machine with an address on the internet stands behind a rule that denies all else",
        "mandatory",
        _all_else_is_closed,
    ),
    StackRule(
        "filtered-gateway",
        "What a Gateway leads to from the internet stands behind a filter of addresses",
        "mandatory",
        _gateways_have_a_filter,
    ),
)
