"""The gateway: a Deployment of one pod, Caddy and the key checker before the servers."""

from __future__ import annotations

import json

from components.rendering.kubernetes.code import (
    LOCK_MOUNT,
    MOUNT,
    code_digest,
    code_volume,
    lock_volume,
)
from components.rendering.kubernetes.manifests import Manifest, config_map, metadata
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    CA_CERTIFICATE,
    CA_KEY,
    CA_SECRET,
    CADDY_RUN,
    CODE_ANNOTATION,
    CONFIGURATION,
    GATEWAY,
    GATEWAY_MODULE,
    HOST_CONFIG,
    HOST_KEY,
    HTTPS_PORT,
    KEYS_FILE,
    KEYS_SECRET,
    LOCK,
    LOCKS,
    NAME_LABEL,
    PACKAGES,
    PACKAGES_MODULE,
    RUN,
    origin,
)
from components.rendering.kubernetes.plan import Expose, PodPlan, PodServer
from components.rendering.kubernetes.pods import (
    MIB,
    READ_ONLY_MODE,
    Mount,
    Resources,
    Source,
    container,
    http_probe,
    off_the_pool,
    pod_template,
    python,
    python_environment,
    scratch_volume,
    sleep,
    tcp_probe,
    tmp_volume,
    tolerations,
)
from components.rendering.machine.places import FILES

COMPONENT = "gateway"
_SETTINGS_FILE = "gateway.json"
_CADDYFILE = "Caddyfile"
_LOOPBACK = "https://127.0.0.1 https://localhost"
"""What an internal one is asked for besides: a port-forward begins there, and its authority vouches
for these too."""
_IDLE_BEHIND_GOOGLE = "11m"
"""How long an idle connection is kept. Google's proxies keep theirs for 10 minutes, and a request
that they send on one that is just being closed fails ("Backend HTTP keepalive timeout")."""
_LEAVING_SECONDS = {Expose.INTERNAL: 5, Expose.LOAD_BALANCER: 5, Expose.GATEWAY: 60}
"""How long others may need to learn that the pod is leaving its Services: nodes are told at once,
and Google's proxies by their list of endpoints, which takes up to a minute."""
_ENDING_SECONDS = 5
"""What the pod's programs need after the last request."""

_GATEWAY_MIB = 256
"""What the key checker takes beside the bodies that it holds."""
_BODIES_MIB = 1024
"""The most that bodies may take, on a system node of 6 GB: few have the size that is allowed."""
_CADDY = Resources(50, 64, 1000, 256)
_PACKAGES = Resources(100, 128, 1000, 512)
_MODULES = (GATEWAY_MODULE, PACKAGES_MODULE)


def gateway_objects(plan: PodPlan) -> list[Manifest]:
    """Return the gateway's configuration, the Secrets without their data, and its Deployment."""
    configuration = {_SETTINGS_FILE: _settings(plan), _CADDYFILE: _caddyfile()}
    host = None if plan.host is None else {HOST_KEY: plan.host}
    return [
        config_map(plan, GATEWAY, configuration),
        config_map(plan, HOST_CONFIG, host, of=GATEWAY),
        *(_secret(plan, name) for name in (KEYS_SECRET, CA_SECRET)),
        _deployment(plan, code_digest(_MODULES, *configuration.values(), plan.host or "")),
    ]


def _settings(plan: PodPlan) -> str:
    """Return what `machine.gateway.pod` reads, which holds no secret."""
    content = {
        "port": ACTIVITY_PORT,
        "host": "0.0.0.0",  # noqa: S104 - network policies say who gets there
        "front_port": HTTPS_PORT,
        "keys": f"{CONFIGURATION}/keys/{KEYS_FILE}",
        "activity": f"{RUN}/activity.json",
        "limits": {
            "active_requests": plan.limits.active_requests,
            "body_bytes": plan.limits.body_bytes,
            "request_seconds": plan.limits.request_seconds,
        },
        "upstreams": [_upstream(plan, server) for server in plan.servers],
    }
    return json.dumps(content, indent=2) + "\n"


def _upstream(plan: PodPlan, server: PodServer) -> dict[str, object]:
    return {
        "name": server.name,
        "origin": origin(server.name, plan.namespace),
        "api_path": server.launch.api_path,
        "probe_path": server.launch.probe.path,
        "loading_status": server.launch.probe.loading_status,
        "state_path": server.launch.probe.state_path,
        **({"models": [str(model) for model in server.models]} if server.models else {}),
    }


def _caddyfile() -> str:
    return (FILES / "Caddyfile.own-ca").read_text(encoding="utf-8")


def _secret(plan: PodPlan, name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(plan, name, GATEWAY),
        "type": "Opaque",
    }


def _deployment(plan: PodPlan, code: str) -> Manifest:
    """Return the Deployment; the pod that replaces another is ready before that one goes."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(plan, GATEWAY),
        "spec": {
            "replicas": 0 if plan.parked else 1,
            "revisionHistoryLimit": 3,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": {NAME_LABEL: GATEWAY}},
            "template": pod_template(plan, GATEWAY, COMPONENT, _pod(plan), {CODE_ANNOTATION: code}),
        },
    }


def _pod(plan: PodPlan) -> dict[str, object]:
    return {
        "serviceAccountName": GATEWAY,
        "affinity": off_the_pool(),
        "tolerations": tolerations(plan, of_pool=False),
        "terminationGracePeriodSeconds": (
            _LEAVING_SECONDS[plan.expose] + plan.drain_seconds + _ENDING_SECONDS
        ),
        "initContainers": [
            container(
                "packages",
                plan.images.python,
                python(PACKAGES_MODULE, "--lock", f"{LOCKS}/{LOCK}", "--into", PACKAGES),
                python_environment(),
                (MOUNT, LOCK_MOUNT, Mount("packages", PACKAGES, writable=True)),
                _PACKAGES,
            )
        ],
        "containers": [_key_checker(plan), _caddy(plan)],
        "volumes": [
            code_volume(*_MODULES),
            lock_volume(),
            scratch_volume("packages", "256Mi"),
            _projected(
                "gateway",
                _files_of("configMap", GATEWAY, {_SETTINGS_FILE: _SETTINGS_FILE}),
                _files_of("secret", KEYS_SECRET, {KEYS_FILE: f"keys/{KEYS_FILE}"}),
            ),
            _projected(
                "caddy",
                _files_of("configMap", GATEWAY, {_CADDYFILE: _CADDYFILE}),
                _files_of("secret", CA_SECRET, {name: f"ca/{name}" for name in _CA_FILES}),
            ),
            scratch_volume("run", "16Mi"),
            # Where the certificates' own keys are: never on a disk.
            scratch_volume("caddy-run", "16Mi", in_memory=True),
            tmp_volume(),
        ],
    }


_CA_FILES = (CA_CERTIFICATE, CA_KEY)


def _projected(name: str, *sources: dict[str, object]) -> dict[str, object]:
    """Return a volume of several sources, whose files follow them without a new pod."""
    return {
        "name": name,
        "projected": {"defaultMode": READ_ONLY_MODE, "sources": list(sources)},
    }


def _files_of(kind: str, name: str, paths: dict[str, str]) -> dict[str, object]:
    items = [{"key": key, "path": path} for key, path in paths.items()]
    return {kind: {"name": name, "items": items}}


def _key_checker(plan: PodPlan) -> dict[str, object]:
    held = min(plan.limits.active_requests * plan.limits.body_bytes // MIB, _BODIES_MIB)
    return container(
        "gateway",
        plan.images.python,
        python(GATEWAY_MODULE, "--config", f"{CONFIGURATION}/{_SETTINGS_FILE}"),
        python_environment(packages=True),
        (
            MOUNT,
            Mount("packages", PACKAGES),
            Mount("gateway", CONFIGURATION),
            Mount("run", RUN, writable=True),
        ),
        Resources(100, 128, 1000, _GATEWAY_MIB + held),
        ports=[{"name": "activity", "containerPort": ACTIVITY_PORT}],
        readinessProbe=http_probe("/live", "activity", every=5, failures=3),
        livenessProbe=tcp_probe("activity", every=10, failures=6),
        lifecycle=sleep(_LEAVING_SECONDS[plan.expose]),
    )


def _of_the_way_in(expose: Expose) -> dict[str, str | Source]:
    """Return what Caddy is told for one way in. Kubernetes drops a value that is empty."""
    match expose:
        case Expose.INTERNAL:
            return {"LLM_ENDPOINT_ALSO": _LOOPBACK}
        case Expose.LOAD_BALANCER:
            return {}
        case Expose.GATEWAY:
            return {"LLM_ENDPOINT_IDLE": _IDLE_BEHIND_GOOGLE}


def _caddy(plan: PodPlan) -> dict[str, object]:
    return container(
        "caddy",
        plan.images.caddy,
        ("caddy", "run", "--config", f"{CONFIGURATION}/{_CADDYFILE}", "--adapter", "caddyfile"),
        {
            **_of_the_way_in(plan.expose),
            "LLM_ENDPOINT_HOST": Source(HOST_CONFIG, HOST_KEY),
            "LLM_ENDPOINT_HTTPS_PORT": str(HTTPS_PORT),
            "LLM_ENDPOINT_GATEWAY_PORT": str(ACTIVITY_PORT),
            "LLM_ENDPOINT_BODY_BYTES": str(plan.limits.body_bytes),
            "LLM_ENDPOINT_CADDY_ADMIN": "off",
            "CREDENTIALS_DIRECTORY": f"{CONFIGURATION}/ca",
            "RUNTIME_DIRECTORY": CADDY_RUN,
            "XDG_CONFIG_HOME": f"{CADDY_RUN}/config",
            "XDG_DATA_HOME": f"{CADDY_RUN}/data",
        },
        (Mount("caddy", CONFIGURATION), Mount("caddy-run", CADDY_RUN, writable=True)),
        _CADDY,
        # The image's program asks for it by its file, and is not started without.
        capabilities=("NET_BIND_SERVICE",),
        ports=[{"name": "https", "containerPort": HTTPS_PORT}],
        # By the pod's address, as probes ask, no certificate is to be had.
        readinessProbe=tcp_probe("https", every=5, failures=3),
        livenessProbe=tcp_probe("https", every=10, failures=6),
        lifecycle=sleep(_LEAVING_SECONDS[plan.expose]),
    )
