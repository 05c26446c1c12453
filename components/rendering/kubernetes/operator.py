"""Model servers that OpenVINO's operator makes: a `ModelServer` each, on a disk that a job fills.

The operator (github.com/openvinotoolkit/operator, v1.2.0) installs its chart `helm-charts/ovms` by
each `ModelServer`. From its `templates/deployment.yaml`, `service.yaml` and `_helpers.tpl`: pods
have the label `app: <name>-ovms`, where the name does not hold `ovms` itself, and REST on 8081;
`/models` is a claim that is only read, `/config` a ConfigMap. They have no tolerations, no service
account, no init containers and no security context, so that our own job fetches the model, on a
pool without a taint and in a namespace that does not ask for `restricted`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from components.launch import Slot
from components.rendering.kubernetes.manifests import (
    SKIP_AWAIT,
    WAIT_FOR_ITS_END,
    Manifest,
    digest,
    metadata,
)
from components.rendering.kubernetes.names import CODE_ANNOTATION, SERVER_PORT, USER
from components.rendering.kubernetes.plan import POOL_LABEL, SPOT_LABEL, PodPlan, PodServer
from components.rendering.kubernetes.pods import Resources, size
from components.rendering.kubernetes.servers import PodLaunchError, configuration_of
from components.rendering.kubernetes.volumes import CLAIM, model_path

GROUP, VERSION, KIND, PLURAL = "intel.com", "v1alpha1", "ModelServer", "modelservers"
POD_SECURITY = "baseline"
"""What the namespace asks of its pods."""
APP_LABEL = "app"
REST_PORT = 8081
"""The port of REST in the chart's pods."""
OPERATORS_NAMESPACE = "operators"
"""Where OLM has the operators of a whole cluster (its `deploy/upstream/quickstart/olm.yaml`)."""
PACKAGE = "ovms-operator"

_CHART = "ovms"
_LONGEST_NAME = 63
_CONFIG_FOLDER = "/config"
_CONFIG_FILE = "config.json"
_GRAPH_FILE = "graph.pbtxt"
_DIGITS = 10
_RETRIES = 10
_FORCED = {"pulumi.com/patchForce": "true"}
"""The deployment scales a server to none while its disk is filled, and takes the count back."""


def app_of(server: str) -> str:
    """Return the label `app` of the chart's pods, which is also its Deployment's name."""
    whole = server if _CHART in server else f"{server}-{_CHART}"
    return whole[:_LONGEST_NAME].removesuffix("-")


def claim_of(server: str) -> str:
    """Return the name of the claim of `server`."""
    return f"{CLAIM}-{server}"


def job_of(server: str) -> str:
    """Return the name of the job that fills the disk of `server`."""
    return f"{server}-model"


def server_objects(plan: PodPlan, server: PodServer, base: Sequence[Manifest]) -> list[Manifest]:
    """Return the objects of `server`; `base` are those that it has as a StatefulSet.

    The job comes before the `ModelServer`, and is not there while parked, when it would have a
    node be made. Raises `PodLaunchError` for a server that has neither a configuration nor a graph:
    the chart passes no flags on.
    """
    sets = [manifest for manifest in base if manifest["kind"] == "StatefulSet"]
    template = _template(sets[0])
    job = _job(plan, server, template)
    files = _files(server)
    config = f"{server.name}-config-{digest(files)[:_DIGITS]}"
    return [
        _claim(plan, server, sets[0]),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(plan, config, server.name),
            "data": files,
        },
        _service(plan, server),
        *([] if plan.parked else [job]),
        _model_server(plan, server, config, digest(job)),
    ]


def subscription(plan: PodPlan) -> Manifest:
    """Return what has the Operator Lifecycle Manager (version 0) install the operator.

    It installs for the whole cluster alone, from the catalogue that comes with it.
    """
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "Subscription",
        "metadata": {
            **metadata(plan, PACKAGE, annotations=SKIP_AWAIT),
            "namespace": OPERATORS_NAMESPACE,
        },
        "spec": {
            "channel": "alpha",
            "name": PACKAGE,
            "source": "operatorhubio-catalog",
            "sourceNamespace": "olm",
            "installPlanApproval": "Automatic",
        },
    }


def _template(stateful_set: Manifest) -> Mapping[str, object]:
    spec = cast("Mapping[str, object]", stateful_set["spec"])
    return cast("Mapping[str, object]", spec["template"])


def _claim(plan: PodPlan, server: PodServer, stateful_set: Manifest) -> Manifest:
    """Return the claim: of its size and class as a StatefulSet's, but one for all pods."""
    spec = cast("Mapping[str, object]", stateful_set["spec"])
    (wanted,) = cast("Sequence[Mapping[str, object]]", spec["volumeClaimTemplates"])
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        # Nothing is there before a pod needs it, and nothing is to wait for.
        "metadata": metadata(plan, claim_of(server.name), server.name, SKIP_AWAIT),
        "spec": wanted["spec"],
    }


def _job(plan: PodPlan, server: PodServer, template: Mapping[str, object]) -> Manifest:
    """Return the job: what a server's pod does first, alone. It is made anew with what it does."""
    pod = cast("Mapping[str, object]", template["spec"])
    pulls = cast("Sequence[Mapping[str, object]]", pod["initContainers"])
    used = {
        mount["name"]
        for pull in pulls
        for mount in cast("Sequence[Mapping[str, object]]", pull["volumeMounts"])
    }
    volumes = cast("Sequence[Mapping[str, object]]", pod["volumes"])
    left_out = {"topologySpreadConstraints", "initContainers", "containers", "volumes"}
    given = cast("Mapping[str, object]", template["metadata"])
    labels = cast("Mapping[str, str]", given["labels"])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(plan, job_of(server.name), server.name),
        "spec": {
            "backoffLimit": _RETRIES,
            "template": {
                "metadata": {**given, "labels": dict(labels)},
                "spec": {
                    **{key: value for key, value in pod.items() if key not in left_out},
                    "restartPolicy": "OnFailure",
                    "containers": list(pulls),
                    "volumes": [
                        *(volume for volume in volumes if volume["name"] in used),
                        {
                            "name": CLAIM,
                            "persistentVolumeClaim": {"claimName": claim_of(server.name)},
                        },
                    ],
                },
            },
        },
    }


def _files(server: PodServer) -> dict[str, str]:
    """Return what lies in `/config`: several classic models, or a language model as a graph."""
    several = configuration_of(server)
    if several is not None:
        return {_CONFIG_FILE: several}
    if server.graph is None:
        raise PodLaunchError(
            f"the launch of server {server.name!r} is by flags, which OpenVINO's operator does not "
            "pass on: it takes a configuration, or a graph"
        )
    folder = model_path(server)
    # A graph stands among the models (docs/mediapipe.md of OpenVINO Model Server, v2026.2.1).
    model = {
        "name": server.launch.model_id,
        "base_path": folder,
        "graph_path": f"{_CONFIG_FOLDER}/{_GRAPH_FILE}",
    }
    return {
        _CONFIG_FILE: json.dumps({"model_config_list": [{"config": model}]}, indent=2) + "\n",
        _GRAPH_FILE: server.graph.replace(Slot.MODEL, folder),
    }


def _service(plan: PodPlan, server: PodServer) -> Manifest:
    """Return the Service by which the gateway knows a server, however it is deployed."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(plan, server.name, annotations=SKIP_AWAIT),
        "spec": {
            "type": "ClusterIP",
            "selector": {APP_LABEL: app_of(server.name)},
            "ports": [{"name": "http", "port": SERVER_PORT, "targetPort": REST_PORT}],
        },
    }


def _model_server(plan: PodPlan, server: PodServer, config: str, job: str) -> Manifest:
    annotations = {**WAIT_FOR_ITS_END, **_FORCED, CODE_ANNOTATION: job}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": metadata(plan, server.name, annotations=annotations),
        "spec": {
            "image_name": server.image,
            "deployment_parameters": {
                "replicas": 0 if plan.parked else server.replicas,
                "node_affinity": _on_the_pool(plan),
                # A second pod has neither room on the node nor, on another, the disk.
                "update_strategy": {"type": "Recreate"},
                "resources": _resources(server),
            },
            "service_parameters": {"rest_port": REST_PORT, "service_type": "ClusterIP"},
            "models_settings": {
                "single_model_mode": False,
                "config_configmap_name": config,
                "config_path": f"{_CONFIG_FOLDER}/{_CONFIG_FILE}",
            },
            "server_settings": {
                "file_system_poll_wait_seconds": 0,
                "log_level": "INFO",
                "sequence_cleaner_poll_wait_minutes": 0,
            },
            "models_repository": {
                "storage_type": "cluster",
                "models_volume_claim": claim_of(server.name),
                "runAsUser": str(USER),
                "runAsGroup": str(USER),
            },
            "monitoring": {"metrics_enable": True},
        },
    }


def _on_the_pool(plan: PodPlan) -> dict[str, object]:
    wanted = {POOL_LABEL: plan.base_name, **({SPOT_LABEL: "true"} if plan.spot else {})}
    nodes = {
        "matchExpressions": [
            {"key": key, "operator": "In", "values": [value]} for key, value in wanted.items()
        ]
    }
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [nodes]}}


def _resources(server: PodServer) -> dict[str, object]:
    given = server.resources
    amounts = Resources.exactly(given.cpus, given.memory_bytes)
    quantities = {"cpu": str(given.cpus), "memory": size(amounts.mib)}
    return {"requests": quantities, "limits": dict(quantities)}
