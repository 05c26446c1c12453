"""The job that parks idle servers."""

import pytest
from rendering_kubernetes import Object, container, environment, kinds, objects

from machine.pod.park import VARIABLE, Parking, parse


def job(plan: str = "full") -> Object:
    return kinds(objects(plan), "CronJob")["park"]


def pod(plan: str = "full") -> Object:
    return job(plan)["spec"]["jobTemplate"]["spec"]["template"]


@pytest.mark.parametrize("kind", ["CronJob", "Role", "RoleBinding", "ServiceAccount"])
def test_a_plan_that_never_parks_by_itself_has_nothing_of_the_job(kind: str):
    assert "park" not in kinds(objects("plain"), kind)
    assert "park" in kinds(objects("full"), kind)
    assert "machine.pod.park.py" not in kinds(objects("plain"), "ConfigMap")["code"]["data"]


def test_the_job_may_scale_the_plans_servers_and_nothing_else():
    (rule,) = kinds(objects("full"), "Role")["park"]["rules"]
    assert rule == {
        "apiGroups": ["apps"],
        "resources": ["statefulsets", "statefulsets/scale"],
        "resourceNames": ["chat", "embeddings"],
        "verbs": ["get", "patch"],
    }
    binding = kinds(objects("full"), "RoleBinding")["park"]
    assert binding["roleRef"]["name"] == "park"
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == ("park", "llm-endpoint-tests")
    assert pod()["spec"]["serviceAccountName"] == "park"


def test_the_job_is_told_what_to_ask_and_what_to_scale():
    park = container(pod(), "park")
    assert park["command"] == ["python3", "-m", "machine.pod.park"]
    assert parse(environment(park)[VARIABLE]) == Parking(
        namespace="llm-endpoint-tests",
        servers=("chat", "embeddings"),
        idle_minutes=30,
        activity="http://gateway-activity:8080/activity",
    )
    service = kinds(objects("full"), "Service")["gateway-activity"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8080]


def test_one_run_at_a_time_and_each_is_bounded():
    spec = job()["spec"]
    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("*/5 * * * *", "Forbid")
    run = spec["jobTemplate"]["spec"]
    assert (run["backoffLimit"], run["activeDeadlineSeconds"]) == (0, 120)
    assert pod()["spec"]["restartPolicy"] == "Never"


def test_the_job_runs_where_no_model_does_and_not_while_all_is_parked():
    required = pod()["spec"]["affinity"]["nodeAffinity"]
    (term,) = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "llm-endpoint/pool", "operator": "DoesNotExist"}]
    assert job("full")["spec"]["suspend"] is False
    assert job("parked")["spec"]["suspend"] is True
