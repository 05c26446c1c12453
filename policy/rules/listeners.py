"""The gateway alone is reached, on 443, with TLS and a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

from policy.resources import NotKnownError, Resource, at, each, pairs, text, texts
from policy.rule import AnyRule, Options, Rule, Violation
from policy.rules.firewalls import HTTPS, SSH, openings
from policy.rules.machines import is_machine, machine_settings
from policy.rules.pods import pod_specs
from policy.rules.ranges import EXCEPTION, IAP, in_words, is_within

_BEHIND = "engines listen behind the gateway, which asks for a key, and it on 443"
_WAYS_OF_THEIR_OWN = (
    *("Ingress", "MultiClusterIngress", "MultiClusterService"),
    *("GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"),
)
_LOOPBACK = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")
_VERIFIES = "-m scripts.verify "
_STARTS = "-m scripts.serve start"
_KEYS_FROM = "--api-key-file"
_KINDS_OF_TLS = ("own_ca", "acme")
_SET_TLS = "scripts/pulumi config set tls own_ca"


def _only_the_gateway_listens(resource: Resource, _: Options) -> Iterator[Violation]:
    if resource.is_of("gcp", "Firewall"):
        yield from _firewall(resource)
    elif resource.is_of("kubernetes", "Service"):
        yield from _service(resource)
    elif resource.is_of("kubernetes", *_WAYS_OF_THEIR_OWN):
        yield Violation(
            resource,
            resource.kind,
            f"{resource.name} is a way in of its own: set expose gateway",
        )
    elif resource.type.startswith("gcp:compute/") and _is_unread(resource):
        yield Violation(
            resource,
            resource.kind,
            f"{resource.name} is a {resource.kind}, into which the rules do not look: {_BEHIND}, "
            f"behind a Firewall; {EXCEPTION}",
        )
    elif resource.is_of("kubernetes", "HTTPRoute"):
        yield from _route(resource)
    for spec in pod_specs(resource):
        yield from _pod(resource, spec)


def _firewall(resource: Resource) -> Iterator[Violation]:
    for opening in openings(resource):
        if opening.is_exactly(HTTPS):
            continue
        if opening.is_exactly(SSH):
            others = [cidr for cidr in opening.sources if not is_within(cidr, IAP)]
            if opening.sources and not others:
                continue
            said = f"SSH comes by Identity-Aware Proxy, from {IAP} alone"
            who = in_words(others)
        else:
            said, who = _BEHIND, in_words(opening.sources)
        yield Violation(resource, str(opening), f"{resource.name} opens {opening} to {who}: {said}")


def _is_unread(resource: Resource) -> bool:
    """Whether it lets somebody in by another way than a `Firewall` of Google's."""
    if resource.kind in ("ForwardingRule", "GlobalForwardingRule"):
        return not text(resource.props, "loadBalancingScheme").startswith("INTERNAL")
    return re.fullmatch(r"\w*FirewallPolicy(?:Rule|WithRules)", resource.kind) is not None


def _service(resource: Resource) -> Iterator[Violation]:
    spec = at(resource.props, "spec")
    kind = text(spec, "type")
    if kind == "NodePort":
        yield Violation(
            resource,
            kind,
            f"{resource.name} listens on every node: set expose to internal, load_balancer or "
            "gateway",
        )
    if list(each(spec, "externalIPs")):
        yield Violation(
            resource, "externalIPs", f"{resource.name} has externalIPs: {_BEHIND} (expose)"
        )
    if kind == "LoadBalancer":
        for port in each(spec, "ports"):
            number = at(port, "port")
            if number != HTTPS:
                shown = int(number) if isinstance(number, float) else number
                yield Violation(
                    resource,
                    f"tcp:{shown}",
                    f"the load balancer {resource.name} takes port {shown}: {_BEHIND}",
                )


def _route(resource: Resource) -> Iterator[Violation]:
    for rule in each(resource.props, "spec", "rules"):
        for backend in each(rule, "backendRefs"):
            if at(backend, "port") != HTTPS:
                name = text(backend, "name")
                yield Violation(
                    resource, name, f"{resource.name} leads to {name} without TLS: {_BEHIND}"
                )


def _pod(resource: Resource, spec: object) -> Iterator[Violation]:
    if at(spec, "hostNetwork") is True:
        yield Violation(
            resource, "hostNetwork", f"{resource.name} listens on its node's network: {_BEHIND}"
        )
    for container in (*each(spec, "containers"), *each(spec, "initContainers")):
        for port in each(container, "ports"):
            if at(port, "hostPort"):
                yield Violation(
                    resource, "hostPort", f"{resource.name} takes a port of its node: {_BEHIND}"
                )


def _tls(resource: Resource, _: Options) -> Iterator[Violation]:
    if resource.is_of("command", "Command") and _VERIFIES in text(resource.props, "create"):
        url = text(resource.props, "environment", "LLM_ENDPOINT_URL")
        if not url.startswith(("https://", *_LOOPBACK)):
            yield Violation(
                resource,
                "url",
                f"{resource.name} checks an endpoint without TLS, elsewhere than on loopback: "
                f"{_SET_TLS}",
            )
    elif resource.is_of("kubernetes", "Gateway"):
        for listener in each(resource.props, "spec", "listeners"):
            if text(listener, "protocol") != "HTTPS" or at(listener, "tls") is None:
                yield Violation(
                    resource,
                    text(listener, "name"),
                    f"{resource.name} listens without TLS: expose gateway with a domain has it",
                )
    elif is_machine(resource):
        settings = machine_settings(resource)
        if settings is not None and settings.get("tls") not in _KINDS_OF_TLS:
            yield Violation(
                resource, "gateway", f"the gateway of {resource.name} has no TLS: {_SET_TLS}"
            )


def _key(resource: Resource, _: Options) -> Iterator[Violation]:
    if not resource.is_of("command", "Command"):
        return
    create = text(resource.props, "create")
    if _VERIFIES in create and not _has_secret(resource, "LLM_ENDPOINT_KEY"):
        yield Violation(
            resource,
            "verified",
            f"{resource.name} checks an endpoint that asks for no key: keys names at least one",
        )
    if _STARTS in create:
        launch = _json(text(resource.props, "environment", "LLM_ENDPOINT_LAUNCH"))
        from_file = _KEYS_FROM in texts(launch, "arguments")
        if not from_file or not _has_secret(resource, "LLM_ENDPOINT_KEYS"):
            yield Violation(
                resource,
                "started",
                f"{resource.name} starts a server that asks for no key ({_KEYS_FROM}): keys names "
                "at least one",
            )


def _has_secret(command: Resource, name: str) -> bool:
    """Whether a command is given the secret `name`. Raises `NotKnownError`.

    Of a secret that is not known yet the plugin of commands makes an empty one.
    """
    environment = pairs(command.props, "environment")
    if environment.get(name) == "":
        raise NotKnownError(f"environment.{name}")
    return at(environment, name) is not None


def _json(written: str) -> Mapping[str, object]:
    content: object = json.loads(written) if written else {}
    return cast("Mapping[str, object]", content) if isinstance(content, dict) else {}


RULES: tuple[AnyRule, ...] = (
    Rule(
        "only-the-gateway-listens",
        "Nothing is reached from outside but the gateway on 443, and SSH by Identity-Aware Proxy",
        "mandatory",
        _only_the_gateway_listens,
    ),
    Rule(
        "tls-required",
        "An endpoint is reached by TLS, unless it is on loopback",
        "mandatory",
        _tls,
    ),
    Rule("key-required", "An endpoint asks for a key", "mandatory", _key),
)
