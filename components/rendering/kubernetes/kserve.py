"""Model servers that KServe makes: an `InferenceService` each, and the runtime that they name.

github.com/kserve/kserve, v0.20.0. In its mode without Knative pods have the labels of their
`InferenceService` and of its predictor (`components/predictor.go`, `buildObjectMeta`, and
`reconcilers/deployment/deployment_reconciler.go` below `pkg/controller/v1beta1/inferenceservice`),
and so ours: our own Service and our network policies find them, whatever KServe's Service is called
and whether it has an address. The model is fetched into `/mnt/models` of each pod by KServe's init
container (`pkg/webhook/admission/pod/storage_initializer_injector.go`), which runs as the user of
its image and asks for no security context, as `restricted` would want it to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from components.launch import Slot
from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.models.reference import HubFile
from components.models.registry import RegistryUrl
from components.rendering.kubernetes import servers
from components.rendering.kubernetes.manifests import (
    WAIT_FOR_ITS_END,
    Manifest,
    labels,
    metadata,
)
from components.rendering.kubernetes.names import REGISTRY_SECRET, SERVERS, TMP
from components.rendering.kubernetes.plan import ModelForm, PodPlan, PodServer, RegistryAccess

GROUP, VERSION, KIND = "serving.kserve.io", "v1beta1", "InferenceService"
RUNTIME_KIND = "ServingRuntime"
POD_SECURITY = "baseline"
"""What the namespace asks of its pods."""
RUNTIME = "kserve-openvino"
"""The name of KServe's own runtime for OpenVINO (`config/runtimes/kserve-openvino.yaml`), of which
ours is a namespace's: nothing of the cluster's is needed or changed."""

_MODELS = "/mnt/models"
_FORMAT = "openvino"
_CONTAINER = "kserve-container"
"""The container of a runtime that serves (`pkg/constants/constants.go`)."""
_CPU_PERCENT = 70
_OF_THE_POD = (
    *("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"),
    *("nodeSelector", "tolerations", "topologySpreadConstraints", "terminationGracePeriodSeconds"),
)
_USER = ("runAsUser", "runAsGroup")
_OF_THE_RUNTIME = ("image", "env", "ports")
_OF_THE_MODEL = ("resources", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")


class StorageError(ValueError):
    """A model that KServe can't fetch; the message says which, and what would do."""


def storage_uri(plan: PodPlan, model: str) -> str:
    """Return by what KServe fetches `model`: a hub repository, or a folder of the registry.

    KServe checks no checksums. Raises `StorageError`.
    """
    match parse_pod_model(model):
        case HubFile(selector=None) as repository:
            revision = "" if repository.revision == "main" else f":{repository.revision}"
            return f"hf://{repository.owner}/{repository.repo}{revision}"
        case RegistryModelReference(model=named) if plan.registry is not None:
            url = plan.registry.url
            return f"{url.scheme}://{url.bucket}/{url.key(named.folder)}"
        case _:
            raise StorageError(
                f"{model!r} is nothing that KServe fetches for OpenVINO Model Server: it takes a "
                "hub repository (owner/repo), or registry:NAME@VERSION where there is a registry"
            )


def runtime(plan: PodPlan) -> Manifest:
    """Return the runtime of the plan's servers: they have one image."""
    server = plan.servers[0]
    container, security = _container(plan, server), _security(_pod(plan, server))
    program = list(server.program)
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": RUNTIME_KIND,
        "metadata": metadata(plan, RUNTIME, "llm-endpoint"),
        "spec": {
            # Only who names it gets it.
            "supportedModelFormats": [{"name": _FORMAT, "autoSelect": False}],
            "protocolVersions": ["v2"],
            "containers": [
                {
                    "name": _CONTAINER,
                    **{key: container[key] for key in _OF_THE_RUNTIME},
                    "command": program,
                    "securityContext": {
                        **cast("Mapping[str, object]", container["securityContext"]),
                        **{key: security[key] for key in _USER},
                    },
                    "volumeMounts": [_TMP_MOUNT],
                }
            ],
            "volumes": [_tmp(plan, server)],
        },
    }


def server_objects(plan: PodPlan, server: PodServer, base: Sequence[Manifest]) -> list[Manifest]:
    """Return the objects of `server`; `base` are those that it has as a StatefulSet.

    Raises `StorageError` for a model that KServe can't fetch.
    """
    services = [
        manifest
        for manifest in base
        if manifest["kind"] == "Service" and _name(manifest) == server.name
    ]
    return [*services, _inference_service(plan, server)]


def with_credentials(plan: PodPlan, manifest: Manifest) -> Manifest:
    """Return `manifest` with that by which KServe reads a registry that speaks S3.

    It finds the Secret at the service account, and in its annotations where the storage is
    (`pkg/credentials/s3/s3_secret.go`); the keys in it are called as ours.
    """
    registry = plan.registry
    if registry is None or registry.access is not RegistryAccess.SECRET:
        return manifest
    match manifest["kind"], _name(manifest):
        case "ServiceAccount", name if name == SERVERS:
            return {**manifest, "secrets": [{"name": REGISTRY_SECRET}]}
        case "Secret", name if name == REGISTRY_SECRET:
            given = cast("Mapping[str, object]", manifest["metadata"])
            old = cast("Mapping[str, str]", given.get("annotations", {}))
            annotations = {**old, **_place(registry.url)}
            return {**manifest, "metadata": {**given, "annotations": annotations}}
        case _:
            return manifest


def _place(url: RegistryUrl) -> dict[str, str]:
    """Return where storage that speaks S3 is, as KServe's annotations have it."""
    scheme, _, host = (url.endpoint or "").partition("://")
    endpoint = {
        f"{GROUP}/s3-endpoint": host,
        f"{GROUP}/s3-usehttps": "1" if scheme == "https" else "0",
    }
    region = {f"{GROUP}/s3-region": url.region} if url.region else {}
    return {**(endpoint if host else {}), **region}


def _inference_service(plan: PodPlan, server: PodServer) -> Manifest:
    if server.form is ModelForm.CLASSIC:
        raise StorageError(
            f"server {server.name!r} serves several classic models, and an {KIND} one model: they "
            "take deploy deployment, or operator"
        )
    pod = _pod(plan, server)
    container = _container(plan, server)
    command = cast("Sequence[str]", container["command"])
    most = server.most_replicas
    scaled = {} if most is None else {"scaleMetric": "cpu", "scaleTarget": _CPU_PERCENT}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": _metadata(plan, server),
        "spec": {
            "predictor": {
                "labels": labels(plan, server.name, servers.COMPONENT),
                "minReplicas": server.replicas,
                "maxReplicas": most or server.replicas,
                **scaled,
                **{key: pod[key] for key in _OF_THE_POD},
                "securityContext": {
                    key: value for key, value in _security(pod).items() if key not in _USER
                },
                "model": {
                    "modelFormat": {"name": _FORMAT},
                    "runtime": RUNTIME,
                    "protocolVersion": "v2",
                    "storageUri": storage_uri(plan, server.model),
                    "args": list(command[len(server.program) :]),
                    **{key: container[key] for key in _OF_THE_MODEL},
                },
            }
        },
    }


def _metadata(plan: PodPlan, server: PodServer) -> dict[str, object]:
    annotations = {
        **WAIT_FOR_ITS_END,
        # The name that all versions know; the newer one is Standard.
        f"{GROUP}/deploymentMode": "RawDeployment",
        f"{GROUP}/autoscalerClass": "none" if server.most_replicas is None else "hpa",
        **({f"{GROUP}/stop": "true"} if plan.parked else {}),
    }
    given = metadata(plan, server.name, annotations=annotations)
    own = cast("Mapping[str, str]", given["labels"])
    # Else KServe makes an Ingress for it, where nobody would be asked for a key.
    return {**given, "labels": {**own, "networking.kserve.io/visibility": "cluster-local"}}


def _pod(plan: PodPlan, server: PodServer) -> Mapping[str, object]:
    """Return the pod that a StatefulSet would have, whose model lies where KServe puts it."""
    words = tuple(_MODELS if word is Slot.MODEL else word for word in server.launch.arguments)
    placed = replace(server, launch=replace(server.launch, arguments=words))
    sets = [each for each in servers.server_objects(plan, placed) if each["kind"] == "StatefulSet"]
    spec = cast("Mapping[str, object]", sets[0]["spec"])
    template = cast("Mapping[str, object]", spec["template"])
    return cast("Mapping[str, object]", template["spec"])


def _container(plan: PodPlan, server: PodServer) -> Mapping[str, object]:
    (found,) = cast("Sequence[Mapping[str, object]]", _pod(plan, server)["containers"])
    return found


_TMP_MOUNT = {"name": "tmp", "mountPath": TMP}


def _tmp(plan: PodPlan, server: PodServer) -> Mapping[str, object]:
    volumes = cast("Sequence[Mapping[str, object]]", _pod(plan, server)["volumes"])
    return next(volume for volume in volumes if volume["name"] == _TMP_MOUNT["name"])


def _security(pod: Mapping[str, object]) -> Mapping[str, object]:
    return cast("Mapping[str, object]", pod["securityContext"])


def _name(manifest: Manifest) -> str:
    return str(cast("Mapping[str, object]", manifest["metadata"])["name"])
