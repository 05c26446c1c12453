"""`deploy: kserve`: an `InferenceService` each, and the runtime that they name."""

from dataclasses import replace
from typing import Any

import pytest
from rendering_kubernetes import CHAT, EMBEDDINGS, GIB, PLAIN, Object, kinds
from rendering_kubernetes import objects_once as objects

from components.models.registry import parse_registry_url
from components.rendering.kubernetes.kserve import StorageError, storage_uri
from components.rendering.kubernetes.plan import (
    Deploy,
    ModelForm,
    PodPlan,
    PodResources,
    Registry,
    RegistryAccess,
)

PLAN = replace(PLAIN, deploy=Deploy.KSERVE)
SCALED = replace(PLAN, servers=(replace(CHAT, replicas=2, most_replicas=4), EMBEDDINGS))
SET = replace(PLAIN, deploy=Deploy.DEPLOYMENT)


def service(plan: PodPlan = PLAN, name: str = "chat") -> Object:
    return kinds(objects(plan), "InferenceService")[name]


def predictor(plan: PodPlan = PLAN, name: str = "chat") -> Object:
    return service(plan, name)["spec"]["predictor"]


def runtime(plan: PodPlan = PLAN) -> Object:
    return kinds(objects(plan), "ServingRuntime")["kserve-openvino"]["spec"]


def set_pod() -> Object:
    return kinds(objects(SET), "StatefulSet")["chat"]["spec"]["template"]


def with_registry(url: str, access: RegistryAccess, **changes: Any) -> PodPlan:
    server = replace(CHAT, model="registry:chat-model-ov@3")
    registry = Registry(parse_registry_url(url), access)
    return replace(PLAN, servers=(server,), registry=registry, **changes)


def test_the_program_gets_the_flags_of_any_other_server_and_kserves_folder():
    (container,) = runtime()["containers"]
    (served,) = set_pod()["spec"]["containers"]
    command = [*container["command"], *predictor()["model"]["args"]]
    moved = ["/mnt/models" if word == "/models/served/chat" else word for word in served["command"]]
    assert command == moved
    assert command.count("/mnt/models") == 1
    assert container["image"] == CHAT.image
    assert "args" not in container


def test_probes_and_resources_are_those_of_any_other_server():
    (served,) = set_pod()["spec"]["containers"]
    model = predictor()["model"]
    for key in ("resources", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
        assert model[key] == served[key]
    # By the name of a port, which the runtime's container has.
    assert runtime()["containers"][0]["ports"] == served["ports"]


def test_pods_go_to_the_pool_and_end_as_any_other():
    pod, given = set_pod()["spec"], predictor()
    for key in ("nodeSelector", "tolerations", "terminationGracePeriodSeconds"):
        assert given[key] == pod[key]
    assert given["serviceAccountName"] == "servers"


def test_pods_have_our_labels_so_that_policies_and_the_service_find_them():
    labels = set_pod()["metadata"]["labels"]
    assert predictor()["labels"] == labels
    found = objects(PLAN)
    selector = kinds(found, "Service")["chat"]["spec"]["selector"]
    assert selector.items() <= labels.items()
    policies, others = (kinds(objects(plan), "NetworkPolicy") for plan in (PLAN, SET))
    assert policies == others
    assert kinds(found, "Service").keys() == {"chat", "gateway", "gateway-activity"} & set(
        kinds(found, "Service")
    )


def test_our_container_writes_nowhere_and_kserves_is_left_its_own_user():
    (container,) = runtime()["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == context["runAsGroup"] == 5000
    assert "runAsUser" not in predictor()["securityContext"]
    assert predictor()["securityContext"]["fsGroup"] == 5000
    labels = kinds(objects(PLAN), "Namespace")["llm-endpoint-tests"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_kserve_makes_no_way_in_of_its_own():
    metadata = service()["metadata"]
    assert metadata["labels"]["networking.kserve.io/visibility"] == "cluster-local"
    assert metadata["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"


def test_pods_scale_by_their_load_where_that_is_asked_for():
    scaled = predictor(SCALED)
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 4)
    assert (scaled["scaleMetric"], scaled["scaleTarget"]) == ("cpu", 70)
    classes = [
        service(SCALED, name)["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"]
        for name in ("chat", "embeddings")
    ]
    assert classes == ["hpa", "none"]
    found = objects(SCALED)
    # KServe makes it, and two would pull at the same pods.
    assert not kinds(found, "HorizontalPodAutoscaler")
    assert set(kinds(found, "PodDisruptionBudget")) == {"chat"}


def test_a_fixed_number_of_pods_is_what_it_is():
    fixed = predictor(replace(PLAN, servers=(replace(CHAT, replicas=3),)))
    assert (fixed["minReplicas"], fixed["maxReplicas"]) == (3, 3)
    assert "scaleMetric" not in fixed


def test_a_parked_server_is_stopped_and_another_is_not():
    annotation = "serving.kserve.io/stop"
    assert service(replace(PLAN, parked=True))["metadata"]["annotations"][annotation] == "true"
    assert annotation not in service()["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("model", "uri"),
    [
        ("OpenVINO/Qwen3-8B-int4-ov", "hf://OpenVINO/Qwen3-8B-int4-ov"),
        ("OpenVINO/Qwen3-8B-int4-ov@5c47abf", "hf://OpenVINO/Qwen3-8B-int4-ov:5c47abf"),
    ],
)
def test_a_hub_repository_is_fetched_at_its_revision(model: str, uri: str):
    assert storage_uri(PLAN, model) == uri
    plan = replace(PLAN, servers=(replace(CHAT, model=model),))
    assert predictor(plan)["model"]["storageUri"] == uri


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("gs://models-of-mine", "gs://models-of-mine/models/chat-model-ov/3"),
        ("gs://mine/team/a", "gs://mine/team/a/models/chat-model-ov/3"),
        ("s3://mine?endpoint=https://s3.example.org", "s3://mine/models/chat-model-ov/3"),
    ],
)
def test_a_model_of_the_registry_is_fetched_from_its_folder(url: str, uri: str):
    plan = with_registry(url, RegistryAccess.WORKLOAD_IDENTITY)
    assert storage_uri(plan, "registry:chat-model-ov@3") == uri


@pytest.mark.parametrize(
    "model", ["owner/repo:model.gguf", "https://example.org/model.gguf", "registry:chat-model-ov@3"]
)
def test_a_model_that_kserve_can_not_fetch_is_refused(model: str):
    with pytest.raises(StorageError, match="nothing that KServe fetches"):
        storage_uri(PLAN, model)


def test_classic_models_are_refused():
    server = replace(CHAT, name="models", form=ModelForm.CLASSIC, resources=PodResources(1, GIB))
    with pytest.raises(StorageError, match="classic models"):
        objects(replace(PLAN, servers=(server,)))


def test_credentials_of_storage_that_speaks_s3_are_where_kserve_looks_for_them():
    url = "s3://mine?endpoint=https://s3.example.org:9000&region=ru-msk"
    found = objects(with_registry(url, RegistryAccess.SECRET))
    secret = kinds(found, "Secret")["registry-credentials"]
    assert kinds(found, "ServiceAccount")["servers"]["secrets"] == [
        {"name": "registry-credentials"}
    ]
    assert secret["metadata"]["annotations"] == {
        "serving.kserve.io/s3-endpoint": "s3.example.org:9000",
        "serving.kserve.io/s3-usehttps": "1",
        "serving.kserve.io/s3-region": "ru-msk",
    }


def test_storage_of_amazons_own_needs_no_endpoint():
    found = objects(with_registry("s3://mine?region=eu-west-1", RegistryAccess.SECRET))
    annotations = kinds(found, "Secret")["registry-credentials"]["metadata"]["annotations"]
    assert annotations == {"serving.kserve.io/s3-region": "eu-west-1"}


def test_a_registry_that_is_read_by_identity_adds_no_secret():
    found = objects(with_registry("gs://mine", RegistryAccess.WORKLOAD_IDENTITY))
    assert "secrets" not in kinds(found, "ServiceAccount")["servers"]
