"""What `gke-ovms` registers where another controller makes the servers' pods."""

import json

import pytest
from gke_program import NAME, an_object, command, deployed, of_type, pool

from components.rendering.process import Variable
from emulator.mocks.recording import Run

OPERATOR = {
    "deploy": "operator",
    "container_image": f"openvino/model_server:2026.2.1@sha256:{'a' * 64}",
    "operator_subscription": "true",
}
KSERVE = {"deploy": "kserve"}
KINDS = {"operator": (OPERATOR, "ModelServer"), "kserve": (KSERVE, "InferenceService")}


def commands(seen: Run) -> set[str]:
    return {one.name for one in of_type(seen, "command:local:Command")}


@pytest.mark.parametrize("name", KINDS)
def test_the_servers_object_stands_below_it_and_comes_last(name: str):
    keys, kind = KINDS[name]
    seen = deployed(keys)
    server = an_object(seen, kind, "chat")
    assert server.parent == "gke-ovms-chat"
    beside = {one.name for one in of_type(seen, "kubernetes:") if one.parent == "gke-ovms-chat"}
    assert beside - {server.name} <= server.dependencies
    verified = seen.registrations["command:local:Command:gke-ovms-verification"]
    assert server.name in verified.dependencies


@pytest.mark.parametrize("name", KINDS)
def test_nobody_scales_what_says_itself_how_many_pods_it_has(name: str):
    keys, _ = KINDS[name]
    assert "gke-ovms-scale" in commands(deployed())
    assert "gke-ovms-scale" not in commands(deployed(keys))


def test_the_operators_pool_has_no_taint_and_kserves_has():
    assert "taints" not in pool(deployed(OPERATOR)).plain()["nodeConfig"]
    assert pool(deployed(KSERVE)).plain()["nodeConfig"]["taints"]


def test_the_disk_is_filled_once_its_server_rests_and_before_it_serves():
    seen = deployed(OPERATOR)
    rest, job = command(seen, "chat-rest"), an_object(seen, "Job", "chat-model")
    server = an_object(seen, "ModelServer", "chat")
    assert rest.name in job.dependencies
    assert job.name in server.dependencies
    assert {an_object(seen, "PersistentVolumeClaim", "models-chat").name} <= job.dependencies
    environment = rest.plain()["environment"]
    assert json.loads(environment[Variable.REST]) == ["chat"]
    assert environment[Variable.NAMESPACE] == NAME


def test_a_server_rests_again_exactly_when_its_disk_gets_something_else():
    def triggers(**keys: str) -> object:
        return command(deployed({**OPERATOR, **keys}), "chat-rest").plain()["triggers"]

    assert triggers() == triggers(slots="3")
    assert triggers() != triggers(model="OpenVINO/Qwen3-8B-int4-ov@0000000")


def test_a_parked_server_of_the_operator_has_neither_job_nor_rest_and_keeps_its_disk():
    seen = deployed({**OPERATOR, "parked": "true"})
    kinds = {one.inputs["kind"] for one in of_type(seen, "kubernetes:")}
    assert "Job" not in kinds
    assert {"ModelServer", "PersistentVolumeClaim"} <= kinds
    assert not {"gke-ovms-chat-rest", "gke-ovms-scale"} & commands(seen)


def test_keep_data_keeps_the_operators_disk():
    seen = deployed({**OPERATOR, "keep_data": "true"})
    kept = {one.inputs["kind"] for one in of_type(seen, "kubernetes:") if one.protect}
    assert kept == {"Namespace", "PersistentVolumeClaim"}


def test_the_operator_is_installed_before_and_goes_after_what_it_deploys():
    seen = deployed(OPERATOR)
    subscription = an_object(seen, "Subscription", "ovms-operator")
    assert subscription.name in an_object(seen, "ModelServer", "chat").dependencies


def test_the_runtime_is_there_before_what_names_it():
    seen = deployed(KSERVE)
    runtime = an_object(seen, "ServingRuntime", "kserve-openvino")
    assert runtime.parent == "gke-ovms"
    assert runtime.name in an_object(seen, "InferenceService", "chat").dependencies


def test_kserve_has_no_disk_that_bills():
    def disks(keys: dict[str, str]) -> list[str]:
        billed = deployed(keys).outputs["billing"].value
        return [one["resource"] for one in billed if "for chat" in one["resource"]]

    assert disks(KSERVE) == []
    assert len(disks(OPERATOR)) == 1
