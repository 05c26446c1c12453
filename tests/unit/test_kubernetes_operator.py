"""`deploy: operator`: a `ModelServer` each, on a disk that a job of ours fills."""

import json
from dataclasses import replace
from typing import Any

import pytest
from rendering_kubernetes import CHAT, EMBEDDINGS, PLAIN, Object, kinds
from rendering_kubernetes import objects_once as objects

from components.engines import ovms_classic
from components.launch import Slot
from components.models.registry import RegistryModel, parse_registry_url
from components.rendering.kubernetes.operator import app_of
from components.rendering.kubernetes.plan import (
    Deploy,
    ModelForm,
    PodPlan,
    Registry,
    RegistryAccess,
)
from components.rendering.kubernetes.servers import PodLaunchError

SERVER = replace(CHAT, graph=f'models_path: "{Slot.MODEL}"\ncache_size: 12\n')
CLASSIC = replace(
    CHAT,
    name="models",
    launch=ovms_classic.launch({"resnet50": (1, 2)}, cpus=2),
    model="resnet50@1 resnet50@2",
    models=(RegistryModel("resnet50", 1), RegistryModel("resnet50", 2)),
    form=ModelForm.CLASSIC,
)
PLAN = replace(PLAIN, deploy=Deploy.OPERATOR, taint=None, servers=(SERVER,))
WITH_CLASSIC = replace(
    PLAN,
    servers=(SERVER, CLASSIC),
    registry=Registry(parse_registry_url("gs://mine"), RegistryAccess.WORKLOAD_IDENTITY),
)


def served(plan: PodPlan = PLAN, name: str = "chat") -> Object:
    return kinds(objects(plan), "ModelServer")[name]


def files(plan: PodPlan = PLAN, name: str = "chat") -> dict[str, str]:
    """What the chart puts into the server's `/config`."""
    config = served(plan, name)["spec"]["models_settings"]["config_configmap_name"]
    return kinds(objects(plan), "ConfigMap")[config]["data"]


def changed(**values: Any) -> PodPlan:
    return replace(PLAN, servers=(replace(SERVER, **values),))


def test_there_is_a_model_server_and_nothing_of_a_stateful_set():
    found = objects(PLAN)
    assert not kinds(found, "StatefulSet")
    assert set(kinds(found, "ModelServer")) == {"chat"}
    assert not any("chat-pods" in kinds(found, kind) for kind in ("Service", "ConfigMap"))


def test_the_job_does_what_a_servers_pod_does_first_and_nothing_else():
    set_pod = kinds(objects(replace(PLAN, deploy=Deploy.DEPLOYMENT)), "StatefulSet")["chat"]
    first = set_pod["spec"]["template"]["spec"]["initContainers"]
    pod = kinds(objects(PLAN), "Job")["chat-model"]["spec"]["template"]["spec"]
    assert pod["containers"] == first
    assert pod["restartPolicy"] == "OnFailure"
    assert "initContainers" not in pod
    mounted = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
    assert {volume["name"] for volume in pod["volumes"]} == mounted


def test_the_disk_that_the_job_fills_is_the_one_that_the_server_reads():
    found = objects(PLAN)
    job = kinds(found, "Job")["chat-model"]["spec"]["template"]["spec"]
    claimed = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in job["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    repository = served()["spec"]["models_repository"]
    assert claimed == [repository["models_volume_claim"]]
    claim = kinds(found, "PersistentVolumeClaim")[claimed[0]]
    assert claim["spec"]["storageClassName"] == PLAN.storage_class
    assert claim["spec"]["resources"]["requests"]["storage"] == "30Gi"
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    # Who writes the model is who reads it: the chart gives a pod no group for its volumes.
    user = job["securityContext"]
    assert repository["runAsUser"] == str(user["runAsUser"])
    assert repository["runAsGroup"] == str(user["runAsGroup"])


def test_the_model_is_a_graph_in_the_configuration():
    (model,) = json.loads(files()["config.json"])["model_config_list"]
    assert model["config"]["name"] == "qwen3-8b-int4-ov"
    assert model["config"]["base_path"] == "/models/served/chat"
    assert model["config"]["graph_path"] == "/config/graph.pbtxt"
    assert 'models_path: "/models/served/chat"' in files()["graph.pbtxt"]
    assert "cache_size: 12" in files()["graph.pbtxt"]
    assert served()["spec"]["models_settings"]["single_model_mode"] is False


def test_classic_models_have_their_own_configuration_and_no_graph():
    plan = WITH_CLASSIC
    assert set(files(plan, "models")) == {"config.json"}
    (model,) = json.loads(files(plan, "models")["config.json"])["model_config_list"]
    assert model["config"]["base_path"].startswith("/models/served/models")
    assert model["config"]["model_version_policy"] == {"specific": {"versions": [1, 2]}}
    assert set(kinds(objects(plan), "Job")) == {"chat-model", "models-model"}


def test_another_configuration_has_another_name_so_that_pods_take_it():
    other = changed(graph=f'models_path: "{Slot.MODEL}"\ncache_size: 13\n')
    names = {
        served(plan)["spec"]["models_settings"]["config_configmap_name"] for plan in (PLAN, other)
    }
    assert len(names) == 2


def test_another_model_changes_the_server_too_which_had_to_rest_for_it():
    other = changed(model="OpenVINO/Qwen3-8B-int4-ov@0000000")
    assert served()["spec"] == served(other)["spec"]
    assert served()["metadata"]["annotations"] != served(other)["metadata"]["annotations"]


def test_the_server_goes_to_the_pool_which_has_no_taint():
    spec = served()["spec"]["deployment_parameters"]
    (term,) = spec["node_affinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    wanted = {one["key"]: one["values"] for one in term["matchExpressions"]}
    pod = kinds(objects(PLAN), "Job")["chat-model"]["spec"]["template"]["spec"]
    assert {key: [value] for key, value in pod["nodeSelector"].items()} == wanted
    assert all(one["effect"] == "NoExecute" for one in pod["tolerations"])
    # A second pod would have neither room nor the disk.
    assert spec["update_strategy"] == {"type": "Recreate"}


def test_resources_are_texts_and_those_of_any_other_server():
    given = served()["spec"]["deployment_parameters"]["resources"]
    assert given == {
        "requests": {"cpu": "20", "memory": "70Gi"},
        "limits": {"cpu": "20", "memory": "70Gi"},
    }


def test_a_parked_server_has_no_pods_and_no_job_that_would_make_a_node():
    parked = replace(PLAN, parked=True)
    assert served(parked)["spec"]["deployment_parameters"]["replicas"] == 0
    assert not kinds(objects(parked), "Job")
    assert set(kinds(objects(parked), "PersistentVolumeClaim")) == {"models-chat"}
    # Nothing else tells them apart, so that waking it fills no disk again.
    assert served()["metadata"] == served(parked)["metadata"]


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("chat", "chat-ovms"),
        ("models", "models-ovms"),
        ("my-ovms", "my-ovms"),
        ("a" * 59, f"{'a' * 59}-ovm"),
        ("a" * 62, "a" * 62),
    ],
)
def test_pods_have_the_label_that_the_chart_makes_of_a_name(name: str, app: str):
    assert app_of(name) == app


def test_the_gateway_finds_the_pods_by_a_service_of_the_same_name_as_ever():
    services = kinds(objects(PLAN), "Service")
    spec = services["chat"]["spec"]
    assert spec["selector"] == {"app": "chat-ovms"}
    assert spec["ports"] == [{"name": "http", "port": 8000, "targetPort": 8081}]
    deployed = objects(replace(PLAN, deploy=Deploy.DEPLOYMENT))
    for found in (objects(PLAN), deployed):
        settings = json.loads(kinds(found, "ConfigMap")["gateway"]["data"]["gateway.json"])
        assert settings["upstreams"][0]["origin"].startswith("http://chat.llm-endpoint-tests.")


def test_the_gateway_alone_gets_to_the_operators_pods_and_they_to_nobody():
    policies = kinds(objects(WITH_CLASSIC), "NetworkPolicy")
    own = policies["operator"]["spec"]
    apps = [{"key": "app", "operator": "In", "values": ["chat-ovms", "models-ovms"]}]
    assert own["podSelector"] == {"matchExpressions": apps}
    assert own["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in own
    (way,) = own["ingress"]
    assert way["ports"] == [{"protocol": "TCP", "port": 8081}]
    (peer,) = way["from"]
    gateway = policies["gateway"]["spec"]
    assert peer["podSelector"] == gateway["podSelector"]
    ways = [one for one in gateway["egress"] if one["ports"][0]["port"] == 8081]
    assert ways == [{"to": [{"podSelector": own["podSelector"]}], "ports": way["ports"]}]


def test_the_namespace_takes_pods_that_ask_for_no_security_context():
    labels = kinds(objects(PLAN), "Namespace")["llm-endpoint-tests"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"


def test_the_operator_is_installed_where_that_is_asked_for():
    assert not kinds(objects(PLAN), "Subscription")
    asked = objects(replace(PLAN, operator_subscription=True))
    subscription = kinds(asked, "Subscription")["ovms-operator"]
    assert subscription["metadata"]["namespace"] == "operators"
    assert subscription["spec"]["name"] == "ovms-operator"
    positions = [one["kind"] for one in asked]
    assert positions.index("Subscription") < positions.index("ModelServer")


def test_a_server_that_is_started_by_flags_alone_is_refused():
    with pytest.raises(PodLaunchError, match="does not pass on"):
        objects(replace(PLAN, servers=(EMBEDDINGS,)))
