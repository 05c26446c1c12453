"""The configuration of `gke-colab`: a runtime beside the endpoint, and what is refused at once."""

import re

import pytest
from gke_colab_settings import GOOD, IMAGE, KEY, S3, STORAGE, refusal, settings

from components.catalogue.gcp import find_machine_type
from components.catalogue.gke import NodeRoom
from components.models.registry import RegistryUrl
from components.rendering.kubernetes.plan import PodPlan
from components.serving.colab import colab_plan, makes_bucket, storage_class
from components.sizing.colab_fit import RuntimeWanted, runtime_room
from stacks import PROGRAMS
from stacks.gke_colab import plan

EMBEDDINGS = "OpenVINO/bge-base-en-v1.5-int8-ov"
UNKNOWN = {"node_machine_type": "z9-standard-64", "pod_cpus": "8", "pod_memory_gb": "32"}


def endpoint(raw: dict[str, str]) -> PodPlan:
    return plan(settings(raw), "gke-colab")


def test_the_defaults_run_both_on_two_nodes():
    read = settings({})
    assert (read.runs_runtime, read.parked, read.parks_nodes) == (True, False, False)
    assert (read.max_nodes, read.runtime_namespace) == (2, "colab-llm-cpu")
    assert read.runtime_idle_minutes == 240
    (beside,) = read.wanted_pods().neighbours
    assert beside.room == NodeRoom(20, 64)


def test_all_that_gke_ovms_says_by_default_is_said_here_too():
    own, shared = PROGRAMS["gke-colab"].defaults(), PROGRAMS["gke-ovms"].defaults()
    assert {key: own[key] for key in shared} == shared
    assert PROGRAMS["gke-ovms"].schema.model_fields.keys() < type(settings({})).model_fields.keys()


def test_a_runtime_and_an_endpoint_that_one_node_does_not_hold_are_refused_with_the_choices():
    said = refusal({"max_nodes": "1"})
    assert "one problem" in said
    assert (
        "max_nodes is '1': 1 pod of 21 processors and 77 GB and a runtime of 20 processors and "
        "64 GB take 2 nodes, and max_nodes is 1: a node of c3-standard-22 (22 processors, 88 GB) "
        "has 21 processors and 77 GB left" in said
    )
    assert (
        "next: scripts/pulumi config set max_nodes 2, or scripts/pulumi config set "
        "runtime_replicas 0, or scripts/pulumi config set parked true" in said
    )


@pytest.mark.parametrize(
    "raw",
    [
        {"max_nodes": "1"},
        {"max_nodes": "1", "embeddings_model": EMBEDDINGS},
        {"max_nodes": "1", "node_machine_type": "c3-standard-44"},
        {"max_nodes": "2", "replicas": "2"},
        {"max_nodes": "2", "replicas": "1", "max_replicas": "4"},
        {"max_nodes": "2", "replicas": "4", "pod_cpus": "10", "pod_memory_gb": "38"},
        {"runtime_cpus": "30"},
        {"runtime_cpus": "30", "runtime_memory_gb": "300"},
        {"node_machine_type": "e2-medium"},
    ],
)
def test_whatever_is_offered_is_taken_when_it_is_typed(raw: dict[str, str]):
    (steps,) = re.findall("next: (.+)", refusal(raw))
    ways = steps.split(", or ")
    assert len(ways) > 1
    for way in ways:
        typed = dict(re.findall(r"config set (\S+) (\S+)", way))
        assert typed
        settings({**raw, **typed})


def test_pods_that_leave_room_for_a_runtime_share_its_node():
    large = {"node_machine_type": "c3-standard-44", "max_nodes": "1"}
    assert "pod_cpus 23 and pod_memory_gb 96 for each pod" in refusal(large)
    assert settings({**large, "pod_cpus": "23", "pod_memory_gb": "96"})
    assert "take 2 nodes" in refusal({**large, "pod_cpus": "24", "pod_memory_gb": "96"})


@pytest.mark.parametrize("parked", [{"parked": "true"}, {"runtime_replicas": "0"}])
def test_one_of_the_two_alone_has_the_node_to_itself(parked: dict[str, str]):
    read = settings({"max_nodes": "1", **parked})
    assert read.wanted_pods().neighbours == ()
    assert not read.parks_nodes


def test_only_both_parked_park_the_nodes():
    assert settings({"parked": "true", "runtime_replicas": "0"}).parks_nodes


def test_an_embeddings_pod_stands_beside_the_chat_pod_and_not_the_runtime():
    assert settings({"embeddings_model": EMBEDDINGS})


@pytest.mark.parametrize(
    ("machine", "wanted", "room"),
    [
        ("c3-standard-22", RuntimeWanted(), NodeRoom(20, 64)),
        ("c3-standard-22", RuntimeWanted(4, 8), NodeRoom(4, 8)),
        ("e2-standard-4", RuntimeWanted(), NodeRoom(3, 11)),
        ("c3-highcpu-22", RuntimeWanted(), NodeRoom(20, 36)),
    ],
)
def test_a_runtime_takes_the_usual_or_what_a_node_has_left(
    machine: str, wanted: RuntimeWanted, room: NodeRoom
):
    assert runtime_room(find_machine_type(machine), wanted) == room


def test_a_runtime_on_nodes_that_nobody_knows_needs_its_size():
    said = refusal(UNKNOWN)
    assert "set both runtime_cpus and runtime_memory_gb" in said
    assert "config set runtime_cpus VALUE && scripts/pulumi config set runtime_memory_gb" in said
    half = refusal({**UNKNOWN, "runtime_cpus": "4"})
    assert "runtime_memory_gb is not set" in half
    assert settings({**UNKNOWN, "runtime_cpus": "4", "runtime_memory_gb": "8"})
    assert settings({**UNKNOWN, "runtime_replicas": "0"})


@pytest.mark.parametrize("url", ["s3://me:hunter2@b-b", "s3://b-b?endpoint=https://me:hunter2@h"])
def test_a_password_in_the_url_of_backups_is_refused_and_not_repeated(url: str):
    said = refusal({"runtime_backup": url})
    assert "'s3://b-b' names no bucket" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"runtime_cpus": "22"},
            "runtime_cpus is '22': a runtime that asks for 22 processors and 64 GB finds no node: "
            "a node of c3-standard-22 (22 processors, 88 GB) has 21 processors and 77 GB left",
        ),
        ({"runtime_memory_gb": "80"}, "next: scripts/pulumi config set runtime_memory_gb 77, or "),
        ({"runtime_replicas": "2"}, "it takes a whole number, from 0, to 1"),
        ({"runtime_namespace": "kube-system"}, "that one is there already and not for this"),
        (
            {"runtime_namespace": "llm", "namespace": "llm"},
            "that is the endpoint's, and what runs in a notebook must not reach its keys",
        ),
        ({"runtime_data_gb": "5"}, "it takes a whole number, from 10"),
        ({"runtime_image": "cpu-runtime"}, "it takes an image with its tag"),
        ({"runtime_idle_minutes": "3"}, "it is 0 for never, or at least 5"),
        ({"runtime_backup": "backups"}, "names no bucket, since it begins with neither gs://"),
        ({"runtime_backup": "backups"}, "&region=REGION, or none"),
        ({"runtime_backup": "gs://b?x=y"}, "names no bucket"),
        (
            {"runtime_backup_key_id": "an-id"},
            "it is for a bucket in storage that speaks S3 (runtime_backup s3://…)\n    next: "
            "scripts/pulumi config rm runtime_backup_key_id",
        ),
        (
            {**STORAGE, "runtime_backup_secret_key": KEY},
            "it stands in the configuration's file in the clear",
        ),
        (
            {"runtime_storage_class": "premium-rwo", "node_machine_type": "n4-standard-32"},
            "its volumes are pd-ssd, which n4-standard-32 can't attach",
        ),
        (
            {"runtime_backup": "gs://ours/notebooks", "registry": "gs://ours"},
            "that is the registry's bucket, and what runs in a notebook may write to all of",
        ),
        ({"runtime_repilcas": "0"}, "did you mean runtime_replicas?"),
    ],
)
def test_wrong_values_are_refused_with_a_next_step(raw: dict[str, str], said: str):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused
    assert refused.count("next: scripts/pulumi config") == 1
    assert KEY not in refused


def test_storage_that_speaks_s3_needs_both_halves_of_its_key():
    said = refusal({"runtime_backup": S3})
    assert "2 problems" in said
    for key in ("runtime_backup_key_id", "runtime_backup_secret_key"):
        assert f"next: scripts/pulumi config set {key} --secret" in said
    assert KEY not in repr(settings(STORAGE))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"runtime_backup": "none"}, "runtime_backup is none: what is on the runtime's disks"),
        ({"node_disk_gb": "60"}, "node_disk_gb is 60, and Colab's image is large"),
        ({"runtime_image": IMAGE.partition("@")[0]}, "has no digest"),
        (
            {**STORAGE, "runtime_backup": "s3://backups?endpoint=http://storage.example"},
            "backups go to http://storage.example in the clear",
        ),
    ],
)
def test_what_is_a_risk_is_a_warning_while_there_is_a_runtime(raw: dict[str, str], said: str):
    image = {"runtime_image": IMAGE}
    (warned,) = settings({**image, **raw}).warnings()
    assert said in warned
    assert settings({**image, **raw, "runtime_replicas": "0"}).warnings() == ()


def test_the_disks_are_ssds_that_the_machine_can_attach():
    assert storage_class(settings({})) == "premium-rwo"
    assert storage_class(settings({"node_machine_type": "n4-standard-32"})) == "hyperdisk-balanced"
    own = {"node_machine_type": "n4-standard-32", "storage_class": "ours"}
    assert storage_class(settings(own)) == "ours"
    assert storage_class(settings({"runtime_storage_class": "standard-rwo"})) == "standard-rwo"


def test_backups_go_to_a_bucket_of_their_own_unless_one_is_named():
    made = settings({"runtime_image": IMAGE})
    planned = colab_plan(made, endpoint({}), "ours")
    assert makes_bucket(made)
    assert planned.backup is not None
    assert planned.backup.url == RegistryUrl("gs", "ours")
    assert (planned.backup.every_minutes, planned.backup.has_secret) == (15, False)
    theirs = {"runtime_image": IMAGE, "runtime_backup": "gs://theirs/notebooks"}
    named = colab_plan(settings(theirs), endpoint(theirs), "ours")
    assert not makes_bucket(settings(theirs))
    assert named.backup is not None
    assert named.backup.url == RegistryUrl("gs", "theirs", "notebooks")
    storage = colab_plan(settings({**STORAGE, "runtime_image": IMAGE}), endpoint({}), "ours")
    assert storage.backup is not None
    assert storage.backup.has_secret
    none = {"runtime_image": IMAGE, "runtime_backup": "none"}
    assert colab_plan(settings(none), endpoint({}), "ours").backup is None


def test_what_is_chosen_arrives_in_the_plan():
    chosen = {
        "runtime_image": IMAGE,
        "runtime_cpus": "4",
        "runtime_memory_gb": "8",
        "runtime_namespace": "notebooks",
        "runtime_data_gb": "200",
        "runtime_libraries_gb": "50",
        "runtime_idle_minutes": "0",
        "spot": "false",
        "keep_data": "true",
    }
    found = colab_plan(settings(chosen), endpoint(chosen), "ours")
    assert (found.resources.cpus, found.resources.memory_bytes) == (4, 8 * 2**30)
    assert (found.namespace, found.data_gb, found.libraries_gb) == ("notebooks", 200, 50)
    assert (found.images.runtime, found.idle_minutes) == (IMAGE, None)
    assert (found.spot, found.keep_data, found.replicas) == (False, True, 1)
    assert found.taint == endpoint(chosen).taint
    assert found.base_name == "llm-endpoint-gke-colab"


def test_notebooks_are_told_of_an_endpoint_inside_the_cluster_alone():
    inside = colab_plan(settings({}), endpoint({}), "ours")
    assert inside.endpoint == "https://gateway.llm-endpoint-gke-colab.svc.cluster.local"
    assert inside.endpoint_namespace == "llm-endpoint-gke-colab"
    outside = {"expose": "load_balancer", "allowed_cidrs": "203.0.113.7/32"}
    found = colab_plan(settings(outside), endpoint(outside), "ours")
    assert (found.endpoint, found.endpoint_namespace) == (None, None)


def test_backups_may_lie_in_any_bucket_but_the_models_own():
    assert settings({"runtime_backup": "gs://ours", "registry": "gs://models"})
    assert settings({"registry": "gs://models"})


def test_a_gke_ovms_configuration_is_one_of_gke_colab():
    assert PROGRAMS["gke-colab"].settings({**GOOD, "program": "gke-colab", "max_nodes": "3"})
