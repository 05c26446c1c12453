"""What things are called in the namespace, and where the pods' containers find what they need."""

from __future__ import annotations

GATEWAY = "gateway"
"""The Deployment before the servers; also its Service, its ServiceAccount and its configuration."""
GATEWAY_ACTIVITY = "gateway-activity"
"""The Service by which the parking job asks when somebody last asked for something."""
SERVERS = "servers"
"""The ServiceAccount and the NetworkPolicy of all model servers."""
PARK = "park"
"""The CronJob that parks the servers, and its ServiceAccount and Role."""
CODE = "code"
"""The ConfigMap of this project's own modules."""
REQUIREMENTS = "requirements"
"""The ConfigMap of the lock of what those modules import."""

KEYS_SECRET = "gateway-keys"  # noqa: S105 - a name
"""The Secret with `KEYS_FILE`; its data come with the deployment."""
KEYS_FILE = "keys.json"
"""A JSON object: the sha256 of each API key in hex by the key's name (`machine.gateway.keys`)."""
CA_SECRET = "gateway-ca"  # noqa: S105 - a name
"""The Secret with the authority's `CA_CERTIFICATE` and `CA_KEY`; its data come with the deployment.
"""
CA_CERTIFICATE = "certificate.pem"
CA_KEY = "key.pem"
HOST_CONFIG = "gateway-host"
"""The ConfigMap with `HOST_KEY`; its data come with the deployment where the plan has no host."""
HOST_KEY = "host"
"""The name or address that the gateway has a certificate for."""

REGISTRY_SECRET = "registry-credentials"  # noqa: S105 - a name
"""The Secret by which pods read their registry, where it takes one; its data come with the
deployment."""
REGISTRY_KEY_FILE = "gcp-creds.json"
"""In it, the key of a service account of Google's."""
REGISTRY_KEY_ID = "AWS_ACCESS_KEY_ID"
REGISTRY_SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a name
"""In it, the access key of storage that speaks S3, by the names of its variables."""

AUTHORITY_ANNOTATION = "llm-endpoint/authority"
"""On the gateway's pods, set by the deployment: sha256 of the authority's certificate."""
CODE_ANNOTATION = "llm-endpoint/code"
"""On pods: sha256 of the modules and the configuration that they run, so that a change starts them
anew."""
COMPONENT_LABEL = "app.kubernetes.io/component"
"""`server`, `gateway` or `park`: whom the network policies let in."""
NAME_LABEL = "app.kubernetes.io/name"

SERVER_PORT = 8000
"""TCP port of every model server."""
HTTPS_PORT = 8443
"""TCP port of Caddy in the gateway's pod."""
ACTIVITY_PORT = 8080
"""TCP port of the key checker in the gateway's pod: Caddy's upstream, and what else may be asked.
"""

USER = 5000
"""Number of the user and the group of every container: that of OVMS's image."""
TMP = "/tmp"  # noqa: S108 - of the pod alone
CONFIGURATION = "/etc/llm-endpoint"
RUN = "/run/llm-endpoint"
CADDY_RUN = "/run/caddy"
LIB = "/opt/llm-endpoint/lib"
LOCKS = "/opt/llm-endpoint/requirements"
PACKAGES = "/opt/llm-endpoint/packages"
MODELS = "/models"
SERVED = f"{MODELS}/served"
LOCK = "machine.txt"
"""The lock of what our modules import, as machines have it."""
REGISTRY_LOCK = "registry.txt"
"""The lock of what reads a registry."""

MODEL_MODULE = "machine.pod.model"
REGISTRY_MODULE = "machine.pod.registry"
GATEWAY_MODULE = "machine.gateway.pod"
PARK_MODULE = "machine.pod.park"
PACKAGES_MODULE = "machine.pod.packages"


def pods_service(server: str) -> str:
    """Return the name of the headless Service that gives each pod of `server` a name."""
    return f"{server}-pods"


def origin(server: str, namespace: str) -> str:
    """Return the URL of `server` up to its port, as other pods know it."""
    return f"http://{server}.{namespace}.svc.cluster.local:{SERVER_PORT}"
