"""The job that parks an idle Colab runtime."""

import json
from dataclasses import replace
from pathlib import Path

from rendering_kubernetes import Object, container, environment

from components.rendering.kubernetes.colab.parking import parking_objects
from components.rendering.kubernetes.colab.plan import ColabImages, ColabPlan
from components.rendering.kubernetes.plan import PodResources
from machine.pod.park_runtime import VARIABLE, Parking, parse

_DIGEST = f"sha256:{'0' * 64}"
PLAN = ColabPlan(
    base_name="llm-endpoint-tests",
    namespace="colab-llm-cpu",
    images=ColabImages(
        *(f"registry.example.org/{name}:1@{_DIGEST}" for name in ("r", "b", "c", "python"))
    ),
    resources=PodResources(20, 64 * 2**30),
    taint=None,
    storage_class="premium-rwo",
    data_gb=100,
    libraries_gb=30,
    backup=None,
    idle_minutes=240,
)


def objects(plan: ColabPlan = PLAN) -> dict[str, Object]:
    return {str(one["kind"]): one for one in parking_objects(plan)}


def pod(plan: ColabPlan = PLAN) -> Object:
    return objects(plan)["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]


def test_a_runtime_that_is_never_parked_has_nothing_of_the_job():
    assert parking_objects(replace(PLAN, idle_minutes=None)) == []
    assert set(objects()) == {"ConfigMap", "ServiceAccount", "Role", "RoleBinding", "CronJob"}


def test_the_job_may_scale_the_runtime_and_nothing_else():
    (rule,) = objects()["Role"]["rules"]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["deployments", "deployments/scale"],
        "resourceNames": ["colab-runtime"],
        "verbs": ["get", "patch"],
    }
    (subject,) = objects()["RoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == ("park", "colab-llm-cpu")


def test_the_job_is_told_whom_to_ask_and_what_to_scale():
    park = container(pod(), "park")
    assert park["image"] == f"registry.example.org/python:1@{_DIGEST}"
    assert park["command"] == ["python3", "-m", "machine.pod.park_runtime"]
    assert parse(environment(park)[VARIABLE]) == Parking(
        url="http://colab-runtime:9000",
        host="localhost:9000",
        token_file=Path("/run/llm-endpoint/token/token"),
        idle_minutes=240,
        namespace="colab-llm-cpu",
        runtime="colab-runtime",
    )


def test_the_token_is_in_a_file_of_its_secret_and_nowhere_else():
    (volume,) = [one for one in pod()["spec"]["volumes"] if "secret" in one]
    assert volume["secret"] == {"secretName": "colab-token", "defaultMode": 0o440}
    (mount,) = [
        one for one in container(pod(), "park")["volumeMounts"] if one["name"] == volume["name"]
    ]
    assert (mount["mountPath"], mount["readOnly"]) == ("/run/llm-endpoint/token", True)
    assert "secretKeyRef" not in json.dumps(pod())


def test_the_job_runs_where_no_runtime_does_and_not_while_it_is_parked():
    required = pod()["spec"]["affinity"]["nodeAffinity"]
    (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "llm-endpoint/pool", "operator": "DoesNotExist"}]
    assert objects()["CronJob"]["spec"]["suspend"] is False
    parked = objects(replace(PLAN, replicas=0))
    assert parked["CronJob"]["spec"]["suspend"] is True


def test_the_job_carries_its_own_modules_and_no_others():
    carried = set(objects()["ConfigMap"]["data"])
    assert {"machine.pod.park_runtime.py", "machine.pod.workloads.py"} <= carried
    assert not {"machine.pod.model.py", "machine.gateway.app.py"} & carried
    (code,) = [one for one in pod()["spec"]["volumes"] if one["name"] == "code"]
    assert {item["key"] for item in code["configMap"]["items"]} == carried
