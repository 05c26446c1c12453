"""The configuration of a model registry and of classic models, and what it refuses at once."""

import pytest
from gke_ovms_settings import EMBEDDINGS, GOOD, LLAMA, refusal, settings

from components.catalogue.gke import NodeRoom
from components.models.registry import RegistryModel, RegistryUrl
from components.settings import (
    ConfigurationError,
    CpuVmSettings,
    GpuVmSettings,
    LocalSettings,
    Settings,
    load,
)
from components.settings.secrets import MarkedSecret

GOOGLES = {"registry": "gs://my-models/prod"}
CLASSIC = {**GOOGLES, "classic_models": "resnet50@1"}
S3 = {"registry": "s3://my-models?endpoint=https://hb.example.org&region=ru-msk"}
KEYS = {"registry_key_id": "AKIA1", "registry_secret_key": MarkedSecret("the-secret-key")}
SET_REGISTRY = (
    'scripts/pulumi config set registry "$(scripts/pulumi stack output registry --stack '
    'model-registry)"'
)


def test_without_any_of_it_nothing_is_of_a_registry():
    read = settings({})
    assert (read.registry_url(), read.classic(), read.classic_room()) == (None, (), None)
    assert read.named_from_registry() == {}
    assert read.wanted_pods().classic is None


def test_classic_models_are_read_in_an_order_of_their_own():
    read = settings({**GOOGLES, "classic_models": "resnet50@10, resnet50@2 bert@1"})
    assert read.classic_models == ("bert@1", "resnet50@2", "resnet50@10")
    assert read.classic()[0] == RegistryModel("bert", 1)
    assert settings({**GOOGLES, "classic_models": '["registry:a@1"]'}).classic_models == ("a@1",)


def test_a_registry_is_read_in_its_canonical_form():
    read = settings({**S3, **KEYS, "classic_models": "a@1"})
    assert read.registry_url() == RegistryUrl(
        "s3", "my-models", "", "https://hb.example.org", "ru-msk"
    )
    assert settings({**CLASSIC, "registry": "gs://b-1-2/x/"}).registry == "gs://b-1-2/x"


def test_the_pod_of_classic_models_has_a_size_of_its_own():
    assert settings(CLASSIC).classic_room() == NodeRoom(2, 4)
    sizes = {"classic_cpus": "3", "classic_memory_gb": "6", "classic_disk_gb": "40"}
    read = settings({**CLASSIC, **sizes})
    assert (read.classic_room(), read.classic_disk_gb) == (NodeRoom(3, 6), 40)
    assert read.wanted_pods().classic == NodeRoom(3, 6)


def test_models_may_come_from_a_registry_and_from_elsewhere():
    named = {"model": "registry:qwen3-8b@2", "embeddings_model": EMBEDDINGS}
    read = settings({**GOOGLES, **named})
    assert read.model == "registry:qwen3-8b@2"
    assert [str(one) for one in read.references()] == [EMBEDDINGS]
    assert read.named_from_registry() == {"model": "registry:qwen3-8b@2"}
    only = settings({**GOOGLES, "model": "registry:qwen3-8b@2"})
    assert (only.references(), only.models_bytes(), only.disk_gb()) == ((), None, 50)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {"classic_models": "resnet50@1"},
            "registry is not set: classic_models is 'resnet50@1', which only a registry has\n"
            f"    next: {SET_REGISTRY}",
        ),
        ({"model": "registry:qwen@1"}, "registry is not set: model is 'registry:qwen@1'"),
        ({"embeddings_model": "registry:bge@1"}, "embeddings_model is 'registry:bge@1', which"),
        ({**GOOGLES, "classic_models": "a@1 b@1 a@1"}, "a@1 stands there twice"),
        ({**GOOGLES, "classic_models": "a@one"}, "'a@one' names no version"),
        ({**GOOGLES, "classic_models": "a"}, "it is written NAME@VERSION"),
        ({**GOOGLES, "classic_models": "A@1"}, "lower-case letters, digits and hyphens"),
        ({**GOOGLES, "classic_models": "v2@1"}, "and is none of v1, v2, v3"),
        ({**GOOGLES, "classic_models": "[1"}, "starts like a JSON list and is none"),
        ({**GOOGLES, "model": "registry:qwen"}, "'qwen' names no version"),
        ({**CLASSIC, "registry": "https://storage.googleapis.com/b"}, "names no registry"),
        ({**CLASSIC, "registry": "gs://b?endpoint=https://h"}, "names no registry"),
        ({**CLASSIC, "registry": "gs://[b"}, "names no registry"),
        ({**CLASSIC, "registry": "s3://models?endpoint=https://h:99999"}, "names no registry"),
        ({**CLASSIC, "registry": "s3://models?endpoint=https://[h"}, "names no registry"),
        (
            {**S3, **KEYS, "registry": "s3://models?endpoint=http://127.0.0.1:9000"},
            "http://127.0.0.1:9000 is this machine's own address, which is another one in a pod",
        ),
        (
            {"registry_access": "key"},
            "it says how a registry in Google Cloud Storage is read, and registry is not set",
        ),
        (
            {**S3, **KEYS, "classic_models": "a@1", "registry_access": "key"},
            "storage that speaks S3 is read with registry_key_id and registry_secret_key alone\n"
            "    next: scripts/pulumi config rm registry_access",
        ),
        ({**CLASSIC, "registry_access": "anyhow"}, "it takes `workload_identity`, `key`"),
        (
            {**S3, "classic_models": "a@1", "registry_key_id": "AKIA1"},
            "registry_secret_key is not set: the registry s3://my-models is asked with both of "
            "these\n    next: scripts/pulumi config set registry_secret_key --secret",
        ),
        (
            {**CLASSIC, "registry_key_id": "AKIA1"},
            "it is for a registry in storage that speaks S3 (registry s3://…)\n"
            "    next: scripts/pulumi config rm registry_key_id",
        ),
        (
            {"classic_cpus": "4"},
            "it is for the pod of classic models, and classic_models is not set\n"
            "    next: scripts/pulumi config rm classic_cpus",
        ),
        ({**CLASSIC, "classic_disk_gb": "5"}, "it takes a whole number, from 10"),
        ({**CLASSIC, "classic_cpus": "0"}, "it takes a whole number, from 1"),
        (
            {**GOOGLES, "model": "registry:qwen-gguf@1"},
            "OpenVINO Model Server is given no GGUF files here",
        ),
        (
            {**GOOGLES, **LLAMA, "model": "registry:qwen-int4-ov@1"},
            "its name tells of OpenVINO's format",
        ),
        (
            {**GOOGLES, "model": "registry:qwen@1", "embeddings_model": "registry:qwen@1"},
            "OpenVINO Model Server does one thing with a model, and this one chats",
        ),
        (
            {**GOOGLES, "model": "registry:qwen@1", "embeddings_model": "registry:qwen@2"},
            "clients ask for it as qwen, the model's name alone, and so they do for the one that "
            "chats, registry:qwen@1 (model)",
        ),
        (
            {**GOOGLES, "model": "someone/qwen", "embeddings_model": "registry:qwen@2"},
            "clients ask for it as qwen",
        ),
        (
            {
                **GOOGLES,
                **LLAMA,
                "model": "registry:qwen@1",
                "embeddings_model": "registry:qwen@2",
            },
            "it takes the same version, or one of another name\n"
            "    next: scripts/pulumi config set embeddings_model registry:qwen@1",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_with_what_would_do(raw: dict[str, str], said: str):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused


def test_storage_that_speaks_s3_needs_both_of_its_keys():
    refused = refusal({**S3, "classic_models": "a@1"})
    assert "2 problems" in refused
    assert "next: scripts/pulumi config set registry_key_id --secret" in refused
    assert settings({**S3, **KEYS, "classic_models": "a@1"}).warnings() == ()


def test_a_secret_in_the_clear_is_refused_and_never_shown():
    shown = {**KEYS, "registry_secret_key": "the-secret-key"}
    refused = refusal({**S3, **shown, "classic_models": "a@1"})
    assert "registry_secret_key is not as it should be: it stands in the configuration's" in refused
    also = refusal({**S3, **KEYS, "classic_models": "a@1", "registry_access": "the-secret-key"})
    for text in (refused, also, repr(settings({**S3, **KEYS, "classic_models": "a@1"}))):
        assert "the-secret-key" not in text


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {**CLASSIC, "classic_cpus": "21"},
            "classic_cpus is '21': the pod of classic models asks for 21 processors and 4 GB, and "
            "nothing is left for a pod that serves a model: a node of c3-standard-22",
        ),
        ({**CLASSIC, "classic_cpus": "21"}, "next: scripts/pulumi config set classic_cpus 2, or "),
        (
            {**CLASSIC, "classic_memory_gb": "90"},
            "next: scripts/pulumi config set classic_memory_gb 4, or ",
        ),
        (
            {**CLASSIC, "pod_cpus": "21", "pod_memory_gb": "77"},
            "1 pod of 21 processors and 77 GB and one of 2 processors and 4 GB for classic models "
            "take 2 nodes, and max_nodes is 1",
        ),
        (
            {**CLASSIC, "pod_cpus": "21", "pod_memory_gb": "77"},
            "next: scripts/pulumi config set max_nodes 2, or scripts/pulumi config set pod_cpus 19 "
            "&& scripts/pulumi config set pod_memory_gb 73",
        ),
        (
            {
                **CLASSIC,
                "embeddings_model": EMBEDDINGS,
                "node_machine_type": "c3-standard-4",
                "classic_cpus": "1",
            },
            "the pod that makes embeddings asks for 2 processors and",
        ),
        ({**CLASSIC, "classic_memory_gb": "73"}, "scripts/pulumi config set classic_memory_gb 4"),
    ],
)
def test_pods_that_do_not_fit_beside_each_other_are_refused_with_numbers(
    raw: dict[str, str], said: str
):
    refused = refusal(raw)
    assert said in refused
    assert "one problem" in refused


def test_its_room_is_taken_off_the_pods_that_chat():
    assert settings({**CLASSIC, "pod_cpus": "19", "pod_memory_gb": "73"}).warnings() == ()
    both = {**CLASSIC, "replicas": "2", "max_nodes": "2"}
    assert settings(both).warnings() == ()


@pytest.mark.parametrize("engine", ["ovms", "llama_cpp"])
def test_what_only_the_pods_find_out_is_a_warning(engine: str):
    named = {"model": "registry:mine@1", "embeddings_model": "registry:other@1"}
    warnings = settings({**GOOGLES, **named, "engine": engine}).warnings()
    assert len(warnings) == 2
    for warning, key in zip(warnings, named, strict=True):
        assert warning.startswith(f"{key} {named[key]}: a registry's names tell neither format")
    assert "50 GB (cache_gb)" in warnings[0]


def test_with_kserve_it_is_the_nodes_disk_that_has_to_hold_the_model():
    named = {"model": "registry:mine@1", "deploy": "kserve", "node_disk_gb": "120"}
    (warning,) = [one for one in settings({**GOOGLES, **named}).warnings() if "format" in one]
    assert "its node's boot disk of 120 GB (node_disk_gb)" in warning
    assert "cache_gb" not in warning


@pytest.mark.parametrize(
    ("registry", "why"),
    [
        ("https://models", "begins with neither gs:// nor s3://"),
        ("s3://b1", "at least 3 lower-case letters"),
        ("gs://models/../other", "neither . nor .."),
        ("gs://models?region=r", "gs:// takes nothing after a ?"),
        ("s3://models?secret=hunter2", "something besides endpoint and region"),
        ("s3://me:hunter2@models", "has credentials in it"),
        ("s3://models?endpoint=https://me:hunter2@host", "endpoint is not just https://HOST"),
        ("s3://models#hunter2", "it has a #"),
    ],
)
def test_a_registry_that_is_refused_is_told_why_and_no_password(registry: str, why: str):
    said = refusal({**CLASSIC, "registry": registry})
    assert why in said
    assert "hunter2" not in said


def test_a_registry_of_which_nothing_is_served_is_a_warning():
    (warning,) = settings(GOOGLES).warnings()
    assert warning.startswith("registry gs://my-models/prod: nothing of it is served")
    assert settings(S3).warnings()
    assert settings(CLASSIC).warnings() == ()


def test_storage_in_the_clear_is_a_warning():
    url = {"registry": "s3://my-models?endpoint=http://10.0.0.5:9000"}
    (warning,) = settings({**url, **KEYS, "classic_models": "a@1"}).warnings()
    assert "come from http://10.0.0.5:9000 in the clear" in warning


@pytest.mark.parametrize("schema", [CpuVmSettings, GpuVmSettings, LocalSettings])
def test_a_machine_of_ones_own_serves_nothing_of_a_registry(schema: type[Settings]):
    with pytest.raises(ConfigurationError) as caught:
        load(schema, {**GOOD, "allowed_cidrs": "world", "model": "registry:qwen@1"}, {})
    said = str(caught.value)
    assert "model is 'registry:qwen@1': a model of a registry is served by the pods of" in said
    assert "it takes a file or a quantisation in a Hugging Face repository" in said
