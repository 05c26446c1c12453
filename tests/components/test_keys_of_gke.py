"""Every key of `gke-ovms` and `gke-colab` changes something that is seen; a new one needs a row."""

from functools import cache

import pytest
from key_rows import Row, check, keys_of, merged, run_of

from components.rendering.kubernetes.colab.render import render as render_runtime
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.render import render
from components.settings.secrets import ENCRYPTED
from scripts.made_up import made_up
from stacks import PROGRAMS, gke_colab, gke_ovms

LLAMA = {"engine": "llama_cpp", "model": "Qwen/Qwen2.5-7B-Instruct-GGUF:q4_k_m.gguf"}
FROM = {"allowed_cidrs": "203.0.113.0/24"}
BALANCED = {**FROM, "expose": "load_balancer"}
DOMAIN = {**BALANCED, "domain": "llm.example.com"}
NETWORK = {"network": "theirs"}
REGISTRY = {"registry": "gs://models"}
CLASSIC = {**REGISTRY, "classic_models": "resnet50@1"}
S3 = {
    "registry": "s3://models?endpoint=https://s3.example.org",
    "classic_models": "resnet50@1",
    "registry_key_id": "an-id",
    "registry_secret_key": ENCRYPTED,
}
BACKUPS = {
    "runtime_backup": "s3://backups?endpoint=https://s3.example.org",
    "runtime_backup_key_id": "an-id",
    "runtime_backup_secret_key": ENCRYPTED,
}
OPERATOR = {
    "deploy": "operator",
    "container_image": f"openvino/model_server:2026.2.1@sha256:{'0' * 64}",
}
EMBED = "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"

OVMS = {
    "allowed_cidrs": Row("198.51.100.0/24", "Service", BALANCED),
    "cache_gb": Row("200", "StatefulSet"),
    "classic_cpus": Row("3", "StatefulSet", CLASSIC),
    "classic_disk_gb": Row("40", "StatefulSet", CLASSIC),
    "classic_memory_gb": Row("5", "StatefulSet", CLASSIC),
    "classic_models": Row("resnet50@1", "StatefulSet", REGISTRY),
    "cluster": Row("projects/my-project/locations/europe-west4/clusters/theirs", "Cluster"),
    "container_image": Row(f"docker.io/theirs/server:2026@sha256:{'a' * 64}", "StatefulSet"),
    # With OVMS it decides whether the configuration is taken at all: below.
    "context_tokens": Row("2048", "StatefulSet", LLAMA),
    "control_plane_cidrs": Row("203.0.113.0/24", "Cluster"),
    "deploy": Row("kserve", "InferenceService"),
    "dns_zone": Row("llm", "RecordSet", DOMAIN),
    "domain": Row("llm.example.com", "Command", BALANCED),
    "embeddings_model": Row(EMBED, "StatefulSet"),
    "engine": Row("llama_cpp", "StatefulSet", together=LLAMA),
    "engine_flags": Row("--log_level DEBUG", "StatefulSet"),
    "expose": Row("load_balancer", "Service", together=FROM),
    "gcp:project": Row("other-project", "Cluster"),
    "gcp:region": Row("us-central1", refused="europe-west4"),
    "gcp:zone": Row("europe-west4-b", "Cluster"),
    "idle_minutes": Row("30", "CronJob"),
    "keep_data": Row("true", "Namespace"),
    "keys": Row("default alice", "Secret"),
    "kv_cache_gb": Row("9", "StatefulSet"),
    "kv_type": Row("f16", "StatefulSet"),
    "labels": Row("team=research", "Cluster"),
    "max_nodes": Row("5", "NodePool"),
    "max_replicas": Row("2", "HorizontalPodAutoscaler", {"max_nodes": "3"}),
    "max_run_hours": Row("8", "NodePool"),
    "min_tokens_per_second": Row("5", "Command"),
    "model": Row("OpenVINO/Qwen3-4B-int4-ov", "StatefulSet"),
    "namespace": Row("mine", "Namespace"),
    "nat": Row("true", "RouterNat", NETWORK),
    "network": Row("theirs", "Network"),
    "node_disk_gb": Row("150", "NodePool"),
    "node_disk_type": Row("pd-ssd", "NodePool"),
    "node_machine_type": Row("c3-standard-44", "NodePool"),
    "operator_subscription": Row("true", "Subscription", OPERATOR),
    "parked": Row("true", "NodePool"),
    "pod_cpus": Row("8", "StatefulSet"),
    "pod_memory_gb": Row("30", "StatefulSet"),
    "ready_minutes": Row("20", "Command"),
    "reasoning_parser": Row("none", "StatefulSet"),
    "registry": Row("gs://others", "BucketIAMMember", CLASSIC),
    "registry_access": Row("key", "Key", CLASSIC),
    "registry_key_id": Row("another-id", "Secret", S3),
    "registry_secret_key": Row(type(ENCRYPTED)("another-key"), "Secret", S3),
    "release_channel": Row("stable", "Cluster"),
    "replicas": Row("2", "Command", {"max_nodes": "3"}),
    "slots": Row("2", "StatefulSet"),
    "spot": Row("false", "NodePool"),
    "storage_class": Row("premium-rwo", "StatefulSet"),
    "subnetwork": Row("theirs", "Cluster", NETWORK),
    "system_machine_type": Row("e2-standard-4", "NodePool"),
    "tls": Row("acme", refused="own_ca"),
    "tool_call_parser": Row("none", "StatefulSet"),
    "verify_streams": Row("5", "Command"),
}
COLAB = {
    # The nodes stay for the runtime.
    "parked": Row("true", "Command"),
    "runtime_backup": Row("gs://theirs/notebooks", "Bucket"),
    "runtime_backup_key_id": Row("another-id", "Secret", BACKUPS),
    "runtime_backup_minutes": Row("30", "Deployment"),
    "runtime_backup_secret_key": Row(type(ENCRYPTED)("another-key"), "Secret", BACKUPS),
    "runtime_cpus": Row("4", "Deployment"),
    "runtime_data_gb": Row("200", "PersistentVolumeClaim"),
    "runtime_idle_minutes": Row("60", "CronJob"),
    "runtime_image": Row(f"docker.io/theirs/runtime:1@sha256:{'a' * 64}", "Deployment"),
    "runtime_libraries_gb": Row("60", "PersistentVolumeClaim"),
    "runtime_memory_gb": Row("16", "Deployment"),
    "runtime_namespace": Row("notebooks", "Namespace"),
    "runtime_replicas": Row("0", "Command"),
    "runtime_storage_class": Row("standard-rwo", "PersistentVolumeClaim"),
    "runtime_token_generation": Row("2", "Command"),
}
INHERITED = {key: row for key, row in OVMS.items() if key not in COLAB}
ROWS = {"gke-ovms": OVMS, "gke-colab": {**INHERITED, **COLAB}}


@cache
def objects(program: str, given: tuple[tuple[str, str], ...]) -> dict[tuple[str, str], Manifest]:
    """Every object that `program` would send to its cluster, by kind and name."""
    chosen = PROGRAMS[program]
    settings = chosen.settings({**dict(given), **made_up(chosen, dict(given))})
    found = [*render(gke_ovms.plan(settings, program)).objects]
    if program == "gke-colab":
        found += render_runtime(gke_colab.runtime_plan(settings, program)).objects
    return {(str(one["kind"]), str(one["metadata"]["name"])): one for one in found}


def is_seen_in_an_object(program: str, row: Row, key: str) -> bool:
    """Whether an object of the kind that `row` names is another one: without a run."""
    if row.refused:
        return False
    before = objects(program, tuple(row.beside.items()))
    after = objects(program, tuple({**row.beside, **row.together, key: row.value}.items()))
    names = {*before, *after}
    return row.seen in {
        kind for kind, name in names if before.get((kind, name)) != after.get((kind, name))
    }


@pytest.mark.parametrize("program", ROWS)
def test_every_key_has_a_row(program: str):
    assert ROWS[program].keys() == keys_of(program) - {"program"}


@pytest.mark.parametrize("key", OVMS)
def test_a_key_of_gke_ovms_changes_what_is_registered(key: str):
    if not is_seen_in_an_object("gke-ovms", OVMS[key], key):
        check("gke-ovms", key, OVMS[key])


@pytest.mark.parametrize("key", COLAB)
def test_a_key_of_gke_colab_alone_changes_what_is_registered(key: str):
    if not is_seen_in_an_object("gke-colab", COLAB[key], key):
        check("gke-colab", key, COLAB[key])


def test_what_gke_colab_takes_from_gke_ovms_means_the_same_there():
    for given in merged("gke-colab", INHERITED):
        # Of which `gke-colab` has two unless it is said.
        both = {"max_nodes": "3", **given}
        alone = run_of("gke-ovms", both).run
        beside = run_of("gke-ovms", {**both, "program": "gke-colab"}).run
        assert alone.registrations.keys() < beside.registrations.keys()
        for name, registered in alone.registrations.items():
            assert beside.registrations[name] == registered, name
        values = {name: seen for name, seen in beside.outputs.items() if name in alone.outputs}
        # The runtime bills too.
        assert values | {"billing": None} == {**alone.outputs, "billing": None}


def test_a_context_that_ovmss_cache_can_not_hold_is_refused():
    row = Row("1048576", beside={"kv_cache_gb": "1"}, refused="a request of 1048576 tokens takes")
    check("gke-ovms", "context_tokens", row)
