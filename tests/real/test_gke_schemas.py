"""`deploy` operator and kserve on a real API server: what the definitions take, and refuse.

The definitions are those that KServe and the Operator Lifecycle Manager publish, and for OpenVINO's
operator one with the fields that it documents. No controller is there: nothing runs of these.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster.api import Api, ApiError, Object
from cluster.plane import ControlPlane
from cluster.rewriting import rewritten
from crds.modules import KSERVE, OPERATOR_LIFECYCLE_MANAGER, definitions
from pods.deployed import JOB, ROOT, STATEFUL_SET, Endpoint, planned
from pods.nodes import gke_daemon

from components.models.registry import parse_registry_url
from components.rendering.kubernetes.plan import PodPlan, Registry, RegistryAccess
from components.rendering.process import Variable
from components.targets.kubernetes.access import ClusterAccess

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

OWN = Path(__file__).parent / "crds"
MODEL_SERVER = "intel.com/v1alpha1/ModelServer"
INFERENCE_SERVICE = "serving.kserve.io/v1beta1/InferenceService"
IMAGE = f"openvino/model_server:2026.2.1@sha256:{'a' * 64}"

OPERATOR = {"deploy": "operator", "container_image": IMAGE}
INSTALLED = {**OPERATOR, "operator_subscription": "true"}
REGISTRY = {"registry": "gs://example-models"}
CLASSIC = {**OPERATOR, **REGISTRY, "classic_models": "resnet50@1 resnet50@2"}
SERVED_BY_KSERVE = {"deploy": "kserve"}
SCALED = {**SERVED_BY_KSERVE, "replicas": "2", "max_replicas": "3", "max_nodes": "3"}
FROM_REGISTRY = {**SERVED_BY_KSERVE, **REGISTRY, "model": "registry:chat-model-ov@3"}
VARIANTS = {
    "operator": INSTALLED,
    "operator-on-demand": {**OPERATOR, "spot": "false"},
    "operator-classic": CLASSIC,
    "operator-parked": {**INSTALLED, "parked": "true"},
    "kserve": SERVED_BY_KSERVE,
    "kserve-scaled": SCALED,
    "kserve-embeddings": {
        **SERVED_BY_KSERVE,
        "embeddings_model": "OpenVINO/Qwen3-Embedding-0.6B-int8-ov",
    },
    "kserve-registry": FROM_REGISTRY,
    "kserve-parked": {**SERVED_BY_KSERVE, "parked": "true"},
}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    published = [*definitions(KSERVE), *definitions(OPERATOR_LIFECYCLE_MANAGER)]
    with ControlPlane() as plane:
        plane.install_definitions()
        plane.api.apply(gke_daemon())
        for path in (*published, *sorted(OWN.glob("*.yaml"))):
            group, _, plural = path.stem.partition("_")
            plane.api.apply_definition(f"{plural}.{group}", path.read_text(encoding="utf-8"))
        # The Operator Lifecycle Manager brings it.
        plane.api.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "operators"}}
        )
        yield plane


@pytest.fixture(scope="module")
def api(plane: ControlPlane) -> Api:
    return plane.api


def applied(plane: ControlPlane, plan: PodPlan) -> None:
    """Apply all objects of `plan` twice, and hold both to what was declared."""
    endpoint = Endpoint(plane, plan)
    objects = endpoint.objects()
    plane.api.apply(objects[0])
    plane.wait_for_namespace(plan.namespace)
    plane.api.warnings.clear()
    made = endpoint.apply()
    again = endpoint.apply()
    assert plane.api.warnings == []
    for declared, live in zip(objects, made, strict=True):
        assert rewritten(declared, live) == []
    for first, second in zip(made, again, strict=True):
        assert first["metadata"]["uid"] == second["metadata"]["uid"]
        assert first["metadata"].get("generation") == second["metadata"].get("generation")
    assert endpoint.refusals() == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cluster_takes_every_object_and_a_second_apply_changes_nothing(
    plane: ControlPlane, api: Api, name: str
):
    plan = planned(name, **VARIANTS[name])
    try:
        applied(plane, plan)
        assert api.names(STATEFUL_SET, plan.namespace) == set()
        kind = MODEL_SERVER if name.startswith("operator") else INFERENCE_SERVICE
        assert api.names(kind, plan.namespace) == {server.name for server in plan.servers}
    finally:
        api.delete("v1/Namespace", plan.namespace)


def test_kserve_finds_the_credentials_of_storage_that_speaks_s3(plane: ControlPlane, api: Api):
    plan = planned("kserve-s3", **FROM_REGISTRY)
    url = parse_registry_url("s3://models/own?endpoint=https://storage.example.org&region=ru-msk")
    plan = replace(plan, registry=Registry(url, RegistryAccess.SECRET))
    try:
        applied(plane, plan)
        account = api.need("v1/ServiceAccount", "servers", plan.namespace)
        (named,) = account["secrets"]
        secret = api.need("v1/Secret", named["name"], plan.namespace)
        assert secret["metadata"]["annotations"]["serving.kserve.io/s3-region"] == "ru-msk"
    finally:
        api.delete("v1/Namespace", plan.namespace)


def test_the_job_that_fills_a_disk_gets_its_pod(plane: ControlPlane, api: Api):
    plan = planned("filled", **OPERATOR)
    endpoint = Endpoint(plane, plan)
    try:
        endpoint.apply()
        api.wait_for("the job's pod", lambda: len(endpoint.pods("chat")) == 1)
        assert endpoint.refusals() == []
        assert api.names(JOB, plan.namespace) == {"chat-model"}
    finally:
        api.delete("v1/Namespace", plan.namespace)


def container(name: str, **more: object) -> Object:
    return {"name": name, "image": "registry.example.org/image", **more}


def pod(namespace: str, spec: Object) -> Object:
    metadata = {"name": "chat", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_namespace_lets_in_the_pods_that_the_controllers_make(plane: ControlPlane, api: Api):
    user = {"runAsUser": 5000, "runAsGroup": 5000}
    for name, keys, spec in (
        ("by-operator", OPERATOR, {"containers": [container("ovms", securityContext=user)]}),
        (
            "by-kserve",
            SERVED_BY_KSERVE,
            {
                "initContainers": [container("storage-initializer")],
                "containers": [container("kserve-container")],
            },
        ),
    ):
        plan = planned(name, **keys)
        namespace = Endpoint(plane, plan).objects()[0]
        api.apply(namespace)
        plane.wait_for_namespace(plan.namespace)
        try:
            api.apply(pod(plan.namespace, spec), dry_run=True)
            labels = namespace["metadata"]["labels"]
            strict = {**labels, "pod-security.kubernetes.io/enforce": "restricted"}
            api.apply({**namespace, "metadata": {**namespace["metadata"], "labels": strict}})
            with pytest.raises(ApiError, match="PodSecurity"):
                api.apply(pod(plan.namespace, spec), dry_run=True)
        finally:
            api.delete("v1/Namespace", plan.namespace)


def test_a_server_of_the_operator_rests_while_its_disk_is_filled(plane: ControlPlane, api: Api):
    plan = planned("resting", **OPERATOR)
    endpoint = Endpoint(plane, plan)

    def rest() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.gke.rest"],
            cwd=ROOT,
            env={
                **os.environ,
                Variable.CLUSTER: ClusterAccess(plane.url, plane.authority).as_json(),
                Variable.NAMESPACE: plan.namespace,
                Variable.REST: json.dumps(["chat"]),
                "GOOGLE_OAUTH_ACCESS_TOKEN": plane.token,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def replicas() -> int:
        server = api.need(MODEL_SERVER, "chat", plan.namespace)
        return server["spec"]["deployment_parameters"]["replicas"]

    # There is nothing yet, as at a first deployment.
    assert rest() == '["chat"]\n'
    try:
        endpoint.apply()
        assert replicas() == 1
        rest()
        assert replicas() == 0
        endpoint.apply()
        assert replicas() == 1
    finally:
        api.delete("v1/Namespace", plan.namespace)


WRONG: dict[str, tuple[dict[str, str], str, tuple[str, ...], object]] = {
    "a key that is none": (OPERATOR, "ModelServer", ("spec", "replicas"), 1),
    "a parameter that is none": (
        OPERATOR,
        "ModelServer",
        ("spec", "deployment_parameters", "tolerations"),
        [],
    ),
    "a setting that is none": (
        OPERATOR,
        "ModelServer",
        ("spec", "models_settings", "config_map"),
        "chat",
    ),
    "a count in words": (
        OPERATOR,
        "ModelServer",
        ("spec", "deployment_parameters", "replicas"),
        "one",
    ),
    "processors as a number": (
        OPERATOR,
        "ModelServer",
        ("spec", "deployment_parameters", "resources", "limits", "cpu"),
        20,
    ),
    "an unknown kind of Service": (
        OPERATOR,
        "ModelServer",
        ("spec", "service_parameters", "service_type"),
        "None",
    ),
    "a subscription to nothing": (INSTALLED, "Subscription", ("spec", "source"), None),
    "a predictor's key that is none": (
        SERVED_BY_KSERVE,
        "InferenceService",
        ("spec", "predictor", "replicas"),
        1,
    ),
    "a model's key that is none": (
        SERVED_BY_KSERVE,
        "InferenceService",
        ("spec", "predictor", "model", "storageURI"),
        "hf://owner/repo",
    ),
    "a format without a name": (
        SERVED_BY_KSERVE,
        "InferenceService",
        ("spec", "predictor", "model", "modelFormat", "name"),
        None,
    ),
    "arguments in one text": (
        SERVED_BY_KSERVE,
        "InferenceService",
        ("spec", "predictor", "model", "args"),
        "--model_path /mnt/models",
    ),
    "a toleration's effect as a number": (
        SERVED_BY_KSERVE,
        "InferenceService",
        ("spec", "predictor", "tolerations"),
        [{"key": "spot", "effect": 1}],
    ),
    "a runtime without containers": (
        SERVED_BY_KSERVE,
        "ServingRuntime",
        ("spec", "containers"),
        None,
    ),
    "a runtime's key that is none": (
        SERVED_BY_KSERVE,
        "ServingRuntime",
        ("spec", "modelFormats"),
        [],
    ),
}
"""What is changed in which object: its path, and the value; None takes it out."""


def with_change(manifest: Object, path: tuple[str, ...], value: object) -> Object:
    changed = copy.deepcopy(manifest)
    held: dict[str, Any] = changed
    for step in path[:-1]:
        held = held[step]
    if value is None:
        del held[path[-1]]
    else:
        held[path[-1]] = value
    return changed


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_refused(plane: ControlPlane, api: Api, case: str):
    keys, kind, path, value = WRONG[case]
    plan = planned("wrong", **keys)
    objects = Endpoint(plane, plan).objects()
    api.apply(objects[0])
    (manifest,) = [one for one in objects if one["kind"] == kind]
    # As it is rendered, it is taken.
    api.apply(manifest, dry_run=True)
    with pytest.raises(ApiError) as caught:
        api.apply(with_change(manifest, path, value), dry_run=True)
    assert caught.value.status in {400, 422, 500}
    assert path[-1] in str(caught.value)
