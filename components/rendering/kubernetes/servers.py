"""The model servers: a StatefulSet each, whose pods pull their model before they serve it."""

from __future__ import annotations

import json

from components.launch import Slot
from components.rendering.kubernetes.code import (
    LOCK_MOUNT,
    MOUNT,
    code_digest,
    code_volume,
    lock_volume,
)
from components.rendering.kubernetes.manifests import (
    SKIP_AWAIT,
    WAIT_FOR_ITS_END,
    Manifest,
    config_map,
    metadata,
)
from components.rendering.kubernetes.names import (
    CODE_ANNOTATION,
    CONFIGURATION,
    LOCKS,
    MODEL_MODULE,
    NAME_LABEL,
    REGISTRY_LOCK,
    REGISTRY_MODULE,
    SERVER_PORT,
    SERVERS,
    pods_service,
)
from components.rendering.kubernetes.plan import POOL_LABEL, SPOT_LABEL, PodPlan, PodServer
from components.rendering.kubernetes.pods import (
    STOP_SECONDS,
    Mount,
    Resources,
    container,
    http_probe,
    pod_template,
    python,
    python_environment,
    sleep,
    tcp_probe,
    tmp_volume,
    tolerations,
)
from components.rendering.kubernetes.registry import (
    registry_environment,
    registry_mounts,
    registry_of,
    registry_volumes,
)
from components.rendering.kubernetes.scaling import spread
from components.rendering.kubernetes.volumes import (
    READ,
    WRITTEN,
    claim_retention,
    claim_template,
    model_path,
)

COMPONENT = "server"
_HOST = "0.0.0.0"  # noqa: S104 - the pod's own address; network policies say who gets there
_PORT_NAME = "http"
_MODEL_VARIABLE = "LLM_ENDPOINT_POD_MODEL"
_ENGINE_FILE = "config.json"

_LOADING_SECONDS = 1800
"""How long a model may take to load from its volume: 100 GB at 60 MB/s. A server that fails to
load ends by itself, and sooner."""


class PodLaunchError(ValueError):
    """A launch that no pod can run; the message names the server and the word."""


def server_objects(plan: PodPlan, server: PodServer) -> list[Manifest]:
    """Return the Services and the StatefulSet of `server`, and what they read.

    Raises `PodLaunchError` and `RegistryPlanError`.
    """
    return [
        *_engine_config(plan, server),
        _pods_service(plan, server),
        _service(plan, server),
        _stateful_set(plan, server),
    ]


def configuration_of(server: PodServer) -> str | None:
    """Return what the engine reads from its own file; None where it reads none."""
    text = server.launch.configuration
    return None if text is None else text.replace(Slot.MODEL, model_path(server))


def _engine_config(plan: PodPlan, server: PodServer) -> list[Manifest]:
    text = configuration_of(server)
    if text is None:
        return []
    return [config_map(plan, _config_name(server), {_ENGINE_FILE: text}, server.name)]


def _config_name(server: PodServer) -> str:
    return f"{server.name}-config"


def _config_mount(server: PodServer) -> Mount:
    return Mount("configuration", f"{CONFIGURATION}/{server.launch.engine}")


def _pods_service(plan: PodPlan, server: PodServer) -> Manifest:
    """Return the headless Service that a StatefulSet's pods are named by."""
    return _any_service(plan, server, pods_service(server.name), {"clusterIP": "None"})


def _service(plan: PodPlan, server: PodServer) -> Manifest:
    return _any_service(plan, server, server.name, {"type": "ClusterIP"})


def _any_service(plan: PodPlan, server: PodServer, name: str, kind: dict[str, object]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, name, server.name, SKIP_AWAIT),
        "spec": {
            **kind,
            "selector": {NAME_LABEL: server.name},
            "ports": [{"name": _PORT_NAME, "port": SERVER_PORT, "targetPort": _PORT_NAME}],
        },
    }


def _stateful_set(plan: PodPlan, server: PodServer) -> Manifest:
    """Return the StatefulSet, without `replicas`: they are whoever's who scales it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(plan, server.name, annotations=WAIT_FOR_ITS_END),
        "spec": {
            "serviceName": pods_service(server.name),
            # A pod that never gets ready would else keep its own successor from being made.
            "podManagementPolicy": "Parallel",
            "revisionHistoryLimit": 3,
            "persistentVolumeClaimRetentionPolicy": claim_retention(plan),
            "selector": {"matchLabels": {NAME_LABEL: server.name}},
            "template": pod_template(
                plan,
                server.name,
                COMPONENT,
                _pod(plan, server),
                {CODE_ANNOTATION: _digest(plan, server)},
            ),
            "volumeClaimTemplates": [claim_template(plan, server)],
        },
    }


def _digest(plan: PodPlan, server: PodServer) -> str:
    """Return the digest of what the pod runs and reads."""
    configuration = [text for text in (configuration_of(server),) if text is not None]
    if registry_of(plan, server) is None:
        return code_digest([MODEL_MODULE], *configuration)
    return code_digest([REGISTRY_MODULE], *configuration, lock=REGISTRY_LOCK)


def _pod(plan: PodPlan, server: PodServer) -> dict[str, object]:
    spot = {SPOT_LABEL: "true"} if plan.spot else {}
    return {
        "serviceAccountName": SERVERS,
        "nodeSelector": {POOL_LABEL: plan.base_name, **spot},
        "tolerations": tolerations(plan, of_pool=True),
        "topologySpreadConstraints": [spread(server.name)],
        "terminationGracePeriodSeconds": plan.drain_seconds + STOP_SECONDS,
        "initContainers": [_pull(plan, server)],
        "containers": [_serve(plan, server)],
        "volumes": _volumes(plan, server),
    }


def _volumes(plan: PodPlan, server: PodServer) -> list[dict[str, object]]:
    registry = registry_of(plan, server)
    found = [
        code_volume(MODEL_MODULE if registry is None else REGISTRY_MODULE),
        lock_volume(),
        *registry_volumes(registry),
    ]
    if server.launch.configuration is not None:
        volume = _config_mount(server).volume
        found.append({"name": volume, "configMap": {"name": _config_name(server)}})
    return [*found, tmp_volume()]


def _pull(plan: PodPlan, server: PodServer) -> dict[str, object]:
    """Return what fetches the model, with the resources that wait for the server anyway.

    Nothing else in the pod has what lets it read the registry.
    """
    registry = registry_of(plan, server)
    named = {"models": [str(model) for model in server.models]} if server.models else {}
    model = {"server": server.name, **(named or {"model": server.model}), "form": server.form.value}
    if registry is not None:
        return container(
            "model",
            plan.images.python,
            python(REGISTRY_MODULE, "--lock", f"{LOCKS}/{REGISTRY_LOCK}"),
            {
                **python_environment(),
                **registry_environment(registry),
                _MODEL_VARIABLE: json.dumps(model),
            },
            (WRITTEN, MOUNT, LOCK_MOUNT, *registry_mounts(registry)),
            _resources(server),
        )
    return container(
        "model",
        plan.images.python,
        python(MODEL_MODULE),
        {**python_environment(), _MODEL_VARIABLE: json.dumps(model)},
        (WRITTEN, MOUNT, LOCK_MOUNT),
        _resources(server),
    )


def _serve(plan: PodPlan, server: PodServer) -> dict[str, object]:
    probe = server.launch.probe
    live = (
        tcp_probe(_PORT_NAME, every=20, failures=6)
        if probe.live_path is None
        else http_probe(probe.live_path, _PORT_NAME, every=20, failures=6)
    )
    every = 5
    return container(
        "server",
        server.image,
        [*server.program, *(_argument(word, server) for word in server.launch.arguments)],
        server.launch.environment,
        (READ,) if server.launch.configuration is None else (READ, _config_mount(server)),
        _resources(server),
        ports=[{"name": _PORT_NAME, "containerPort": SERVER_PORT}],
        startupProbe=http_probe(
            probe.path, _PORT_NAME, every=every, failures=_LOADING_SECONDS // every
        ),
        # The path answers 200 only where the very model is served. Generous, since a busy server
        # may keep it waiting, and one that crashed is not ready at once.
        readinessProbe=http_probe(probe.path, _PORT_NAME, every=every, failures=4),
        livenessProbe=live,
        # Engines end what they answer when they are told to end, so they are told late.
        lifecycle=sleep(plan.drain_seconds),
    )


def _resources(server: PodServer) -> Resources:
    return Resources.exactly(server.resources.cpus, server.resources.memory_bytes)


def _argument(word: str, server: PodServer) -> str:
    match word:
        case Slot.MODEL:
            return model_path(server)
        case Slot.HOST:
            return _HOST
        case Slot.PORT:
            return str(SERVER_PORT)
        case Slot.CONFIGURATION:
            return f"{_config_mount(server).path}/{_ENGINE_FILE}"
        case Slot.KEY_FILE:
            raise PodLaunchError(
                f"the launch of server {server.name!r} reads keys from a file, and in a cluster "
                "the gateway checks them: launch it with checks_keys=False"
            )
        case _:
            return word
