"""Pods whose models a registry has: what they run and read, and who else gets what lets them in."""

import json
from dataclasses import replace
from typing import Any

import pytest
from rendering_kubernetes import (
    CHAT,
    CLASSIC,
    GOOGLES,
    PLAIN,
    REGISTRY,
    Object,
    container,
    containers,
    environment,
    kinds,
    llama_cpp_server,
    objects,
    pod_templates,
    with_registry,
)

from components.models.registry import RegistryModel, parse_registry_url
from components.rendering.kubernetes.code import code_digest
from components.rendering.kubernetes.names import REGISTRY_LOCK, REGISTRY_MODULE
from components.rendering.kubernetes.plan import ModelForm, PodPlan, RegistryAccess
from components.rendering.kubernetes.registry import RegistryPlanError
from machine.pod.placing import ONE_FILE
from machine.pod.registry_wanted import Access, Form, Wanted, parse

METADATA = {("169.254.169.252/32", 988), ("169.254.169.254/32", 80)}
CREDENTIALS = ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def pod(plan: str | PodPlan, name: str) -> Object:
    return kinds(objects(plan), "StatefulSet")[name]["spec"]["template"]


def pulls(plan: str | PodPlan, name: str) -> Object:
    return container(pod(plan, name), "model")


def told(plan: str | PodPlan, name: str) -> Wanted:
    given = environment(pulls(plan, name))
    return parse(given["LLM_ENDPOINT_POD_MODEL"], given["LLM_ENDPOINT_POD_REGISTRY"])


def egress(plan: str | PodPlan, name: str = "servers") -> list[Any]:
    return kinds(objects(plan), "NetworkPolicy")[name]["spec"]["egress"]


def blocks(plan: str | PodPlan) -> set[tuple[str, int]]:
    """Addresses that servers may ask besides the internet's, and at which port."""
    return {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in egress(plan)[2:]
        for peer in rule["to"]
        for port in rule["ports"]
    }


def test_classic_models_are_pulled_by_the_program_that_reads_registries():
    wanted = told("registry", "models")
    assert wanted == Wanted(
        "models",
        (RegistryModel("bert", 3), RegistryModel("resnet50", 1), RegistryModel("resnet50", 2)),
        Form.CLASSIC,
        parse_registry_url(GOOGLES),
        Access.WORKLOAD_IDENTITY,
    )
    command = pulls("registry", "models")["command"]
    assert command[:3] == ["python3", "-m", REGISTRY_MODULE]
    lock = command[command.index("--lock") + 1]
    locks = kinds(objects("registry"), "ConfigMap")["requirements"]["data"]
    assert lock == f"/opt/llm-endpoint/requirements/{REGISTRY_LOCK}"
    assert "boto3==" in locks[REGISTRY_LOCK]


def test_so_is_a_language_model_of_a_registry_and_no_other():
    wanted = told("registry", "chat")
    assert (wanted.server, wanted.form) == ("chat", Form.OPENVINO)
    assert wanted.models == (RegistryModel("qwen3-8b", 2),)
    assert pulls("registry", "embeddings")["command"][2] == "machine.pod.model"
    assert "LLM_ENDPOINT_POD_REGISTRY" not in environment(pulls("registry", "embeddings"))


def test_a_gguf_model_of_a_registry_is_loaded_by_the_name_that_it_is_given_there():
    server = llama_cpp_server("registry:qwen3-8b@2")
    plan = with_registry(GOOGLES, RegistryAccess.WORKLOAD_IDENTITY, server)
    command = container(pod(plan, "chat"), "server")["command"]
    assert command[command.index("--model") + 1] == f"/models/served/chat/{ONE_FILE}"
    assert told(plan, "chat").form is Form.GGUF


def test_the_server_of_classic_models_reads_its_configuration_where_it_is_mounted():
    serves = container(pod("registry", "models"), "server")
    command = serves["command"]
    path = command[command.index("--config_path") + 1]
    assert path == "/etc/llm-endpoint/ovms/config.json"
    mount = next(one for one in serves["volumeMounts"] if path.startswith(one["mountPath"]))
    (volume,) = (
        one for one in pod("registry", "models")["spec"]["volumes"] if one["name"] == mount["name"]
    )
    assert volume["configMap"]["name"] == "models-config"
    text = kinds(objects("registry"), "ConfigMap")["models-config"]["data"]["config.json"]
    listed = [one["config"] for one in json.loads(text)["model_config_list"]]
    assert [(one["name"], one["base_path"]) for one in listed] == [
        ("bert", "/models/served/models/bert"),
        ("resnet50", "/models/served/models/resnet50"),
    ]
    assert serves["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def test_another_list_of_models_starts_that_pod_anew_and_no_other():
    fewer = replace(
        CLASSIC, launch=replace(CLASSIC.launch, configuration="{}"), models=CLASSIC.models[:1]
    )
    changed = replace(REGISTRY, servers=(*REGISTRY.servers[:2], fewer))
    before, after = (dict(pod_templates(objects(plan))) for plan in (REGISTRY, changed))
    digests = [one["StatefulSet/models"]["metadata"]["annotations"] for one in (before, after)]
    assert digests[0] != digests[1]
    for name in ("StatefulSet/chat", "StatefulSet/embeddings"):
        assert before[name] == after[name]


def test_a_pod_starts_anew_with_the_lock_that_it_installs():
    assert code_digest([REGISTRY_MODULE], lock=REGISTRY_LOCK) != code_digest([REGISTRY_MODULE])
    annotations = pod("registry", "chat")["metadata"]["annotations"]
    assert code_digest([REGISTRY_MODULE], lock=REGISTRY_LOCK) in annotations.values()


def test_a_server_without_anything_of_it_stays_as_it_is_when_a_registry_comes():
    with_it = with_registry(GOOGLES, RegistryAccess.KEY, CHAT, CLASSIC)
    assert pod(with_it, "chat") == pod("plain", "chat")


def test_the_gateway_is_told_which_classic_models_there_are():
    text = kinds(objects("registry"), "ConfigMap")["gateway"]["data"]["gateway.json"]
    chat, embeddings, classic = json.loads(text)["upstreams"]
    assert classic["models"] == ["bert@3", "resnet50@1", "resnet50@2"]
    assert (classic["name"], classic["api_path"]) == ("models", "")
    assert not {"models"} & (chat.keys() | embeddings.keys())


@pytest.mark.parametrize("plan", ["registry", "registry by key", "registry by secret"])
def test_what_lets_a_pod_in_is_its_pulling_containers_alone(plan: str):
    named = {"registry": (), "registry by key": CREDENTIALS[:1]}.get(plan, CREDENTIALS[1:])
    for name, template in pod_templates(objects(plan)):
        for each in containers(template):
            given = {one["name"] for one in each["env"]} & set(CREDENTIALS)
            mounted = "registry" in {one["name"] for one in each["volumeMounts"]}
            pulling = name == "StatefulSet/models" and each["name"] == "model"
            assert given == (set(named) if pulling else set())
            assert mounted == (pulling and plan == "registry by key")


def test_the_key_of_an_account_is_a_file_that_the_pods_group_reads():
    template = pod("registry by key", "models")
    (volume,) = (one for one in template["spec"]["volumes"] if one["name"] == "registry")
    assert volume["secret"] == {"secretName": "registry-credentials", "defaultMode": 0o440}
    path = environment(container(template, "model"))["GOOGLE_APPLICATION_CREDENTIALS"]
    assert path == "/etc/llm-endpoint/registry/gcp-creds.json"


def test_an_access_key_comes_from_the_secret_under_the_names_of_its_variables():
    given = {one["name"]: one for one in pulls("registry by secret", "models")["env"]}
    for name in CREDENTIALS[1:]:
        reference = {"name": "registry-credentials", "key": name}
        assert given[name] == {"name": name, "valueFrom": {"secretKeyRef": reference}}


def test_a_registry_that_asks_for_nothing_has_no_secret():
    assert "registry-credentials" not in kinds(objects("registry"), "Secret")
    assert "registry-credentials" in kinds(objects("registry by key"), "Secret")
    assert kinds(objects("registry by secret"), "Secret")["registry-credentials"].keys() == {
        *("apiVersion", "kind", "metadata", "type")
    }


def test_only_pods_that_are_known_by_their_identity_reach_the_metadata_server():
    assert blocks("registry") == METADATA
    for plan in ("plain", "registry by key", "registry by secret"):
        assert blocks(plan) == set()
    for plan in ("plain", "registry"):
        assert egress(plan, "gateway") == egress("plain", "gateway")


@pytest.mark.parametrize(
    ("endpoint", "rules"),
    [
        ("http://10.0.0.5:9000", {("10.0.0.5/32", 9000)}),
        ("https://10.0.0.5", {("10.0.0.5/32", 443)}),
        ("https://storage.example.org:9443", {("0.0.0.0/0", 9443)}),
        ("http://minio", {("0.0.0.0/0", 80)}),
        ("https://minio.office.internal", {("0.0.0.0/0", 443)}),
        ("https://storage.example.org", set()),
    ],
)
def test_storage_that_is_not_at_a_public_address_is_reached_too(
    endpoint: str, rules: set[tuple[str, int]]
):
    plan = with_registry(f"s3://models?endpoint={endpoint}", RegistryAccess.SECRET, CLASSIC)
    assert blocks(plan) == rules
    for rule in egress(plan)[2:]:
        for peer in rule["to"]:
            wide = peer["ipBlock"]["cidr"] == "0.0.0.0/0"
            assert peer["ipBlock"].get("except", []) == (["169.254.0.0/16"] if wide else [])


def test_storage_in_the_cluster_is_reached_by_its_namespace():
    url = "s3://models?endpoint=http://minio.storage.svc.cluster.local:9000"
    rule = egress(with_registry(url, RegistryAccess.SECRET, CLASSIC))[2]
    labels = {"kubernetes.io/metadata.name": "storage"}
    assert rule == {"to": [{"namespaceSelector": {"matchLabels": labels}}]}


@pytest.mark.parametrize("server", [CLASSIC, replace(CHAT, model="registry:qwen3-8b@2")])
def test_a_plan_without_the_registry_that_a_server_needs_is_refused(server: Any):
    with pytest.raises(RegistryPlanError, match=f"the server '{server.name}' serves .*@"):
        objects(replace(PLAIN, servers=(server,)))


def test_classic_models_lie_in_a_folder_of_their_servers():
    assert CLASSIC.form is ModelForm.CLASSIC
    claim = kinds(objects("registry"), "StatefulSet")["models"]["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
