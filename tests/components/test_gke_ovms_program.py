"""From the configuration of `gke-ovms` to its plan, and how its control plane is reached."""

import json
from unittest.mock import patch

import pytest
from gke_program import GATEWAY, LOAD_BALANCER, NAME, PARKED_AT, RAW, deployed, stdout

from components.compose import form_for
from components.launch import Form
from components.rendering.kubernetes.plan import Expose, PodPlan, Taint
from components.settings import ConfigurationError
from components.targets.gke.place import GKE_POOL
from components.targets.kubernetes.access import ClusterAccess, kubeconfig
from components.targets.kubernetes.objects import type_of
from emulator.mocks.recording import run
from stacks import PROGRAMS, choose
from stacks.gke_ovms import files, plan

PROGRAM = PROGRAMS["gke-ovms"]


def planned(**changed: str) -> PodPlan:
    return plan(PROGRAM.settings({**RAW, **changed}), "gke-ovms")


def test_the_programs_name_is_enough():
    assert choose({}, "gke-ovms") is PROGRAM


def test_the_defaults_serve_one_model_inside_the_cluster():
    found = planned()
    assert (found.base_name, found.namespace) == (NAME, NAME)
    assert [server.name for server in found.servers] == ["chat"]
    assert found.expose is Expose.INTERNAL
    assert found.host == f"gateway.{NAME}.svc.cluster.local"
    assert found.taint == Taint("cloud.google.com/gke-spot", "true")
    assert (found.idle_minutes, found.storage_class) == (60, "standard-rwo")
    assert not found.allowed_cidrs


def test_what_is_chosen_arrives():
    found = planned(
        **LOAD_BALANCER, namespace="mine", spot="false", idle_minutes="0", keep_data="true"
    )
    assert (found.namespace, found.idle_minutes, found.keep_data) == ("mine", None, True)
    assert found.taint == Taint("llm-endpoint/pool", NAME)
    assert found.allowed_cidrs
    assert planned(**GATEWAY).host == "llm.example.com"


def test_the_gateway_lets_in_as_many_as_all_pods_answer():
    one = planned().servers[0].launch.slots
    more = planned(replicas="2", max_replicas="8", max_nodes="8")
    assert more.limits.active_requests == max(16, 4 * 8 * one)


@pytest.mark.parametrize("engine", ["ovms", "llama_cpp"])
def test_both_engines_fit_the_pool_as_pods(engine: str):
    model = {"llama_cpp": {"model": "owner/repo:qwen2.5-7b-instruct-q4_k_m.gguf"}}.get(engine, {})
    launch = planned(engine=engine, **model).servers[0].launch
    assert form_for(launch, GKE_POOL) is Form.POD


def test_the_files_are_the_objects_with_no_secret_among_them():
    found = files(PROGRAM.settings(RAW), "gke-ovms")
    assert all(path.startswith("kubernetes/") for path in found)
    (namespace,) = (text for path, text in found.items() if "namespace" in path)
    assert f"name: {NAME}" in namespace
    secrets = [text for path, text in found.items() if "secret-gateway" in path]
    assert len(secrets) == 2
    assert not any(
        line.lower().startswith(("data", "stringdata"))
        for text in secrets
        for line in text.splitlines()
    )


def test_the_cluster_is_asked_when_its_servers_were_parked():
    asked: list[tuple[object, ...]] = []

    def last_parked(*what: object) -> str:
        asked.append(what)
        return PARKED_AT

    with patch("scripts.gke.parked.last_parked", last_parked):
        run(lambda: PROGRAM.deploy(PROGRAM.settings(RAW)), stdout, "gke-ovms")
        parked = PROGRAM.settings({**RAW, "parked": "true"})
        run(lambda: PROGRAM.deploy(parked), stdout, "gke-ovms")
    assert [one[:5] for one in asked] == [("my-project", "europe-west4-a", NAME, NAME, ["chat"])]


def test_the_outputs_say_how_the_cluster_is_reached():
    access = ClusterAccess.from_json(deployed().outputs["cluster"].value)
    assert access == ClusterAccess("https://gke-1.europe-west4.gke.goog")
    by_address = deployed({"control_plane_cidrs": "203.0.113.0/24"}).outputs["cluster"].value
    assert ClusterAccess.from_json(by_address) == ClusterAccess("https://203.0.113.9", "pem")


def test_access_survives_its_json():
    access = ClusterAccess("https://203.0.113.9", "-----BEGIN CERTIFICATE-----\nQ\n")
    assert ClusterAccess.from_json(access.as_json()) == access


def test_a_kubeconfig_holds_a_command_and_no_credential():
    config = json.loads(kubeconfig(ClusterAccess("https://c.example"), ["python", "-I"]))
    assert config["users"][0]["user"] == {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "python",
            "args": ["-I", "-m", "scripts.gke.credential"],
            "interactiveMode": "Never",
            "provideClusterInfo": False,
        }
    }
    assert config["current-context"] == config["contexts"][0]["name"]


@pytest.mark.parametrize(
    ("api", "kind", "token"),
    [
        ("v1", "Namespace", "kubernetes:core/v1:Namespace"),
        ("apps/v1", "StatefulSet", "kubernetes:apps/v1:StatefulSet"),
        (
            "gateway.networking.k8s.io/v1",
            "Gateway",
            "kubernetes:gateway.networking.k8s.io/v1:Gateway",
        ),
    ],
)
def test_an_objects_type_is_the_one_that_pulumi_knows(api: str, kind: str, token: str):
    assert type_of({"apiVersion": api, "kind": kind}) == token


def test_a_machine_that_no_pod_fits_is_refused_before_anything_is_made():
    with pytest.raises(ConfigurationError, match="next:"):
        PROGRAM.settings({**RAW, "node_machine_type": "e2-standard-2"})
