"""How clients reach the gateway: its Service, and what of Google's load balancing is in front.

Annotations, classes and policies: GKE's documentation ("LoadBalancer Service parameters",
"Deploying Gateways", "Configure Gateway resources using Policies"). The names of the cloud's
resources, such as the address, are the plan's `base_name`.
"""

from __future__ import annotations

from ipaddress import ip_network

from components.rendering.kubernetes.manifests import SKIP_AWAIT, Manifest, metadata
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    GATEWAY,
    GATEWAY_ACTIVITY,
    HTTPS_PORT,
    NAME_LABEL,
)
from components.rendering.kubernetes.plan import Expose, PodPlan
from components.rendering.kubernetes.pods import STOP_SECONDS

GATEWAY_CLASS = "gke-l7-global-external-managed"
GOOGLE_PROXIES = ("130.211.0.0/22", "35.191.0.0/16")
"""Where requests and health checks of a Gateway of that class come from."""
_PORT = 443
_LISTENER = "https"


class ExposureError(ValueError):
    """A plan whose way in lacks something; the message names it."""


def exposure_objects(plan: PodPlan) -> list[Manifest]:
    """Return the Services of the gateway, and the Gateway of `Expose.GATEWAY` with its policies.

    Raises `ExposureError` for a plan that lacks what its way in needs.
    """
    _check(plan)
    found = [_service(plan), _activity_service(plan)]
    if plan.expose is Expose.GATEWAY:
        found += [_health_check(plan), _backend_policy(plan), _gateway(plan), _route(plan)]
    return found


def _check(plan: PodPlan) -> None:
    if plan.expose is not Expose.INTERNAL and not plan.allowed_cidrs:
        raise ExposureError(
            f"expose {plan.expose.value} without allowed_cidrs would be open to everyone: "
            "name the networks that may ask"
        )
    if plan.expose is Expose.GATEWAY and plan.domain is None:
        raise ExposureError(
            "expose gateway without a domain: its certificate is for one, so name it"
        )


def _service(plan: PodPlan) -> Manifest:
    port: dict[str, object] = {"name": "https", "port": _PORT, "targetPort": "https"}
    spec: dict[str, object] = {"type": "ClusterIP"}
    annotations: dict[str, str] = SKIP_AWAIT
    match plan.expose:
        case Expose.INTERNAL:
            pass
        case Expose.LOAD_BALANCER:
            annotations = {
                "cloud.google.com/l4-rbs": "enabled",
                "networking.gke.io/load-balancer-ip-addresses": plan.base_name,
            }
            spec = {
                "type": "LoadBalancer",
                # Else the gateway's network policy would see the address of a node.
                "externalTrafficPolicy": "Local",
                # Its address is of IPv4, and a firewall rule takes ranges of one version.
                "loadBalancerSourceRanges": [
                    cidr for cidr in plan.allowed_cidrs if ip_network(cidr).version == 4
                ],
            }
        case Expose.GATEWAY:
            # What it says to pods is encrypted too.
            port["appProtocol"] = "HTTPS"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, GATEWAY, annotations=annotations),
        "spec": {**spec, "selector": {NAME_LABEL: GATEWAY}, "ports": [port]},
    }


def _activity_service(plan: PodPlan) -> Manifest:
    """Return the Service of what only the parking job may ask."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, GATEWAY_ACTIVITY, GATEWAY, SKIP_AWAIT),
        "spec": {
            "type": "ClusterIP",
            "selector": {NAME_LABEL: GATEWAY},
            "ports": [{"name": "activity", "port": ACTIVITY_PORT, "targetPort": "activity"}],
        },
    }


def _health_check(plan: PodPlan) -> Manifest:
    """Return the health check in the place of `GET /`, which wants a key and the right host.

    Whether Caddy takes a connection, then: that the key checker serves is the pod's own readiness,
    without which it is no backend, and a model that is away is to be told by our own 503.
    """
    return _policy(
        plan,
        "HealthCheckPolicy",
        {
            "checkIntervalSec": 10,
            "timeoutSec": 5,
            "healthyThreshold": 1,
            "unhealthyThreshold": 3,
            "config": {"type": "TCP", "tcpHealthCheck": {"port": HTTPS_PORT}},
        },
    )


def _backend_policy(plan: PodPlan) -> Manifest:
    """Return the policy without which answers are cut after 30 s, and anybody gets in."""
    return _policy(
        plan,
        "GCPBackendPolicy",
        {
            "timeoutSec": plan.limits.request_seconds,
            "connectionDraining": {"drainingTimeoutSec": plan.drain_seconds + STOP_SECONDS},
            "securityPolicy": plan.base_name,
        },
    )


def _policy(plan: PodPlan, kind: str, default: dict[str, object]) -> Manifest:
    return {
        "apiVersion": "networking.gke.io/v1",
        "kind": kind,
        "metadata": metadata(plan, GATEWAY),
        "spec": {
            "default": default,
            "targetRef": {"group": "", "kind": "Service", "name": GATEWAY},
        },
    }


def _gateway(plan: PodPlan) -> Manifest:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": metadata(
            plan, GATEWAY, annotations={"networking.gke.io/certmap": plan.base_name}
        ),
        "spec": {
            "gatewayClassName": GATEWAY_CLASS,
            "addresses": [{"type": "NamedAddress", "value": plan.base_name}],
            "listeners": [
                {
                    "name": _LISTENER,
                    "protocol": "HTTPS",
                    "port": _PORT,
                    "hostname": plan.domain,
                    # The certificate is the map's; the Gateway API wants one named here too.
                    "tls": {
                        "mode": "Terminate",
                        "options": {"networking.gke.io/pre-shared-certs": ""},
                    },
                    "allowedRoutes": {"namespaces": {"from": "Same"}},
                }
            ],
        },
    }


def _route(plan: PodPlan) -> Manifest:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(plan, GATEWAY),
        "spec": {
            "parentRefs": [{"name": GATEWAY, "sectionName": _LISTENER}],
            "hostnames": [plan.domain],
            "rules": [{"backendRefs": [{"name": GATEWAY, "port": _PORT}]}],
        },
    }
