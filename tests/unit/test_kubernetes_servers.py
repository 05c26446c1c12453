"""Model servers in pods: where they run, what they are started with, and how they are judged."""

from dataclasses import replace
from typing import Any

import pytest
from rendering_kubernetes import (
    CHAT,
    FULL,
    PLAIN,
    Object,
    container,
    environment,
    kinds,
    llama_cpp_server,
    objects,
)

from components.rendering.kubernetes.plan import PodServer
from components.rendering.kubernetes.servers import PodLaunchError
from machine.pod.placing import ONE_FILE
from machine.pod.wanted import VARIABLE, Form, Wanted, parse


def stateful_set(plan: str, name: str = "chat") -> Object:
    return kinds(objects(plan), "StatefulSet")[name]


def pod(plan: str, name: str = "chat") -> Object:
    return stateful_set(plan, name)["spec"]["template"]


def of_server(server: PodServer) -> Object:
    found = kinds(objects(replace(PLAIN, servers=(server,))), "StatefulSet")
    return found["chat"]["spec"]["template"]


def test_the_slots_of_a_launch_are_filled():
    command = container(pod("plain"), "server")["command"]
    assert command == [
        *("/ovms/bin/ovms", "--model_path", "/models/served/chat"),
        *("--model_name", "qwen3-8b-int4-ov", "--rest_port", "8000"),
        *("--rest_bind_address", "0.0.0.0", "--task", "text_generation"),
    ]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("owner/repo:quants/model-Q4_K_M.gguf", "model-Q4_K_M.gguf"),
        ("owner/repo@main:big-00001-of-00003.gguf", "big-00001-of-00003.gguf"),
        ("owner/repo:Q4_K_M", ONE_FILE),
        ("owner/repo", ONE_FILE),
        ("https://example.org/a%20b.gguf", ONE_FILE),
        ("https://example.org/big-00001-of-00003.gguf", "big-00001-of-00003.gguf"),
    ],
)
def test_a_gguf_model_is_the_file_that_its_reference_names(model: str, path: str):
    command = container(of_server(llama_cpp_server(model)), "server")["command"]
    assert command[command.index("--model") + 1] == f"/models/served/chat/{path}"


def test_a_launch_that_reads_keys_from_a_file_is_refused():
    with pytest.raises(PodLaunchError, match=r"'chat' reads keys from a file.*checks_keys=False"):
        of_server(llama_cpp_server("owner/repo:model.gguf", checks_keys=True))


def test_the_model_is_written_by_what_pulls_it_and_read_by_what_serves_it():
    template = pod("plain")
    pulls, serves = container(template, "model"), container(template, "server")
    mounts = {
        name: next(one for one in each["volumeMounts"] if one["name"] == "models")
        for name, each in (("pulls", pulls), ("serves", serves))
    }
    assert mounts["pulls"] == {"name": "models", "mountPath": "/models"}
    assert mounts["serves"] == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert parse(environment(pulls)[VARIABLE]) == Wanted("chat", CHAT.model, Form.OPENVINO)
    assert pulls["command"] == ["python3", "-m", "machine.pod.model"]


def test_the_server_has_whole_processors_and_all_that_it_asks_for():
    for each in ("server", "model"):
        resources = container(pod("plain"), each)["resources"]
        assert resources["requests"] == resources["limits"] == {"cpu": "20", "memory": "70Gi"}


def test_a_server_is_ready_once_it_serves_its_very_model_and_has_time_to_load_it():
    server = container(pod("plain"), "server")
    model = {"path": "/v2/models/qwen3-8b-int4-ov/ready", "port": "http"}
    assert server["startupProbe"]["httpGet"] == server["readinessProbe"]["httpGet"] == model
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 1800
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}


def test_a_server_without_a_path_for_it_lives_while_it_takes_connections():
    server = container(pod("llama_cpp"), "server")
    assert server["readinessProbe"]["httpGet"]["path"] == "/health"
    assert server["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_a_server_goes_on_answering_while_its_pod_leaves():
    server = container(pod("plain"), "server")
    assert server["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}


def test_servers_run_on_nodes_of_their_stacks_pool_alone():
    spec = pod("plain")["spec"]
    assert spec["nodeSelector"] == {
        "llm-endpoint/pool": "llm-endpoint-tests",
        "cloud.google.com/gke-spot": "true",
    }
    assert "cloud.google.com/gke-spot" not in pod("llama_cpp")["spec"]["nodeSelector"]
    assert spec["tolerations"][0] == {
        "key": "cloud.google.com/gke-spot",
        "operator": "Equal",
        "value": "true",
        "effect": "NoSchedule",
    }
    gone = {each["key"]: each["tolerationSeconds"] for each in spec["tolerations"][1:]}
    assert gone == {"node.kubernetes.io/not-ready": 30, "node.kubernetes.io/unreachable": 30}


@pytest.mark.parametrize("plan", ["plain", "full", "parked"])
def test_how_many_pods_serve_is_left_to_whoever_scales(plan: str):
    assert "replicas" not in stateful_set(plan)["spec"]
    assert stateful_set(plan)["metadata"]["annotations"] == {
        "pulumi.com/waitFor": "jsonpath={.metadata.uid}"
    }


def test_a_volume_goes_with_its_server_unless_data_are_kept_and_never_by_scaling():
    def retention(plan: str) -> Any:
        return stateful_set(plan)["spec"]["persistentVolumeClaimRetentionPolicy"]

    assert retention("plain") == {"whenDeleted": "Delete", "whenScaled": "Retain"}
    assert retention("full") == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = stateful_set("plain")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "models"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "standard-rwo",
        "resources": {"requests": {"storage": "30Gi"}},
    }


def test_only_several_pods_have_a_disruption_budget():
    assert kinds(objects("plain"), "PodDisruptionBudget") == {}
    budgets = kinds(objects("full"), "PodDisruptionBudget")
    assert {name: each["spec"]["minAvailable"] for name, each in budgets.items()} == {"chat": 1}


def test_only_a_server_that_may_have_more_pods_is_scaled_by_its_load():
    assert kinds(objects("plain"), "HorizontalPodAutoscaler") == {}
    (name, scaler), *others = kinds(objects("full"), "HorizontalPodAutoscaler").items()
    assert (name, others) == ("chat", [])
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 4)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_the_launchs_own_variables_are_the_servers():
    found = environment(container(pod("llama_cpp"), "server"))
    assert found == {"HOME": "/tmp", "OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"}
    launch = replace(CHAT.launch, environment={"HOME": "/elsewhere"})
    assert environment(container(of_server(replace(CHAT, launch=launch)), "server")) == {
        "HOME": "/elsewhere"
    }


def test_each_server_has_a_service_of_its_own():
    services = kinds(objects(FULL), "Service")
    for name in ("chat", "embeddings"):
        service = services[name]
        assert service["spec"]["selector"] == {"app.kubernetes.io/name": name}
        assert [port["port"] for port in service["spec"]["ports"]] == [8000]
        assert service["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
