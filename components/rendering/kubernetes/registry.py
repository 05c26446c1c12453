"""How servers have models from a registry: as whom their pods read it, and where that may be."""

from __future__ import annotations

import ipaddress
import json
import re
from urllib.parse import urlsplit

from components.models.pod_model import is_of_a_registry
from components.models.registry import RegistryUrl
from components.rendering.kubernetes.manifests import Manifest, metadata
from components.rendering.kubernetes.names import (
    CONFIGURATION,
    REGISTRY_KEY_FILE,
    REGISTRY_KEY_ID,
    REGISTRY_SECRET,
    REGISTRY_SECRET_KEY,
    SERVERS,
)
from components.rendering.kubernetes.plan import PodPlan, PodServer, Registry, RegistryAccess
from components.rendering.kubernetes.pods import READ_ONLY_MODE, Mount, SecretSource, Value
from components.rendering.kubernetes.policy_rules import METADATA_SERVER, Rule, to_peers

_VARIABLE = "LLM_ENDPOINT_POD_REGISTRY"
_KEY = Mount("registry", f"{CONFIGURATION}/registry")
_SERVICE = re.compile(r"[^.]+\.(?P<namespace>[^.]+)\.svc(?:\.cluster\.local)?")
_INSIDE = re.compile(r"[^.]+|.+\.(?:internal|local|lan)")
"""Names that a network of one's own answers for."""
_LINK_LOCAL = "169.254.0.0/16"


class RegistryPlanError(ValueError):
    """A server with models of a registry in a plan that has none."""


def registry_of(plan: PodPlan, server: PodServer) -> Registry | None:
    """Return the registry that `server` has its models from; None where it is none.

    Raises `RegistryPlanError`.
    """
    if not server.models and not is_of_a_registry(server.model):
        return None
    if plan.registry is None:
        raise RegistryPlanError(
            f"the server {server.name!r} serves {server.model}, and the plan names no registry "
            "that it is in"
        )
    return plan.registry


def registry_objects(plan: PodPlan) -> list[Manifest]:
    """Return the Secret by which pods read the registry, without its data; none where none does."""
    if plan.registry is None or plan.registry.access is RegistryAccess.WORKLOAD_IDENTITY:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(plan, REGISTRY_SECRET, SERVERS),
            "type": "Opaque",
        }
    ]


def registry_environment(registry: Registry) -> dict[str, Value]:
    """Return what says to a container which registry there is, and what lets it read there."""
    said = {"url": str(registry.url), "access": registry.access.value}
    environment: dict[str, Value] = {_VARIABLE: json.dumps(said)}
    match registry.access:
        case RegistryAccess.WORKLOAD_IDENTITY:
            pass
        case RegistryAccess.KEY:
            # google-cloud-storage looks for it there by itself.
            environment["GOOGLE_APPLICATION_CREDENTIALS"] = f"{_KEY.path}/{REGISTRY_KEY_FILE}"
        case RegistryAccess.SECRET:
            for name in (REGISTRY_KEY_ID, REGISTRY_SECRET_KEY):
                environment[name] = SecretSource(REGISTRY_SECRET, name)
    return environment


def registry_mounts(registry: Registry) -> tuple[Mount, ...]:
    """Return what that container has mounted for it."""
    return (_KEY,) if registry.access is RegistryAccess.KEY else ()


def registry_volumes(registry: Registry | None) -> list[dict[str, object]]:
    """Return the volumes of those mounts."""
    if registry is None or registry.access is not RegistryAccess.KEY:
        return []
    secret = {"secretName": REGISTRY_SECRET, "defaultMode": READ_ONLY_MODE}
    return [{"name": _KEY.volume, "secret": secret}]


def registry_egress(registry: Registry | None) -> list[Rule]:
    """Return whom servers have to reach for it, besides HTTPS at public addresses."""
    if registry is None:
        return []
    if registry.access is RegistryAccess.WORKLOAD_IDENTITY:
        return list(METADATA_SERVER)
    return _storage(registry.url)


def _storage(url: RegistryUrl) -> list[Rule]:
    """Return what lets pods to storage that is not at a public address, at the port of HTTPS.

    A name in the cluster is of a Service, whose pods have ports of their own.
    """
    parts = urlsplit(url.endpoint or "")
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    address = _address(host)
    if address is not None:
        cidr = f"{address}/{address.max_prefixlen}"
        return [to_peers([{"ipBlock": {"cidr": cidr}}], port)]
    if service := _SERVICE.fullmatch(host):
        named = {"kubernetes.io/metadata.name": service["namespace"]}
        return [{"to": [{"namespaceSelector": {"matchLabels": named}}]}]
    if port != 443 or _INSIDE.fullmatch(host):
        anywhere = {"cidr": "0.0.0.0/0", "except": [_LINK_LOCAL]}
        return [to_peers([{"ipBlock": anywhere}], port)]
    return []


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
