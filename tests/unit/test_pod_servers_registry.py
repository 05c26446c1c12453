"""Which servers have models of a registry, in what pods, and how they read it."""

import json

import pytest
from gke_ovms_settings import EMBEDDINGS, LLAMA, settings

from components.container_images import pinned_reference
from components.engines import ovms
from components.launch import Accelerator, Slot
from components.models.registry import RegistryModel
from components.rendering.kubernetes.plan import ModelForm, PodServer, Registry, RegistryAccess
from components.serving.pod_servers import (
    embedding_model,
    pod_model_id,
    pod_registry,
    pod_servers,
)
from components.settings.secrets import MarkedSecret

REGISTRY = {"registry": "gs://my-models/prod"}
CLASSIC = {**REGISTRY, "classic_models": "resnet50@2 resnet50@1 bert@3"}
S3 = {
    "registry": "s3://my-models?endpoint=https://hb.example.org",
    "registry_key_id": "AKIA1",
    "registry_secret_key": MarkedSecret("the-secret-key"),
}


def servers(raw: dict[str, str]) -> tuple[PodServer, ...]:
    chosen = settings(raw)
    return pod_servers(chosen, chosen.machine())


def registry(raw: dict[str, str]) -> Registry | None:
    return pod_registry(settings(raw))


def value_of(server: PodServer, flag: str) -> str:
    return server.launch.arguments[server.launch.arguments.index(flag) + 1]


def test_classic_models_have_a_server_of_their_own_after_the_others():
    chat, embeddings, classic = servers({**CLASSIC, "embeddings_model": EMBEDDINGS})
    assert [chat.name, embeddings.name, classic.name] == ["chat", "embeddings", "models"]
    assert (classic.form, classic.replicas, classic.most_replicas) == (ModelForm.CLASSIC, 1, None)
    assert classic.models == (
        RegistryModel("bert", 3),
        RegistryModel("resnet50", 1),
        RegistryModel("resnet50", 2),
    )
    assert classic.model == "bert@3 resnet50@1 resnet50@2"
    assert (classic.resources.cpus, classic.resources.memory_bytes) == (2, 4 * 2**30)
    assert classic.disk_gb == 20


def test_its_configuration_lists_what_is_named():
    (_, classic) = servers({**CLASSIC, "classic_cpus": "3"})
    listed = json.loads(classic.launch.configuration or "")["model_config_list"]
    assert {
        one["config"]["name"]: one["config"]["model_version_policy"]["specific"]["versions"]
        for one in listed
    } == {"bert": [3], "resnet50": [1, 2]}
    threads = {one["config"]["plugin_config"]["INFERENCE_NUM_THREADS"] for one in listed}
    assert threads == {"3"}


def test_openvino_model_server_serves_them_beside_any_engine():
    own = f"docker.io/openvino/model_server:2026.3.1@sha256:{'a' * 64}"
    pinned = pinned_reference(ovms.NAME, Accelerator.CPU)
    assert servers({**CLASSIC, "container_image": own})[-1].image == own
    chat, classic = servers({**CLASSIC, **LLAMA})
    assert (classic.image, classic.program) == (pinned, ("/ovms/bin/ovms",))
    assert chat.image != classic.image
    flags = {"engine_flags": "--max_num_batched_tokens 512"}
    assert servers({**CLASSIC, **flags})[-1].launch == servers(CLASSIC)[-1].launch


def test_a_model_of_a_registry_is_served_under_its_name():
    (chat,) = servers({**REGISTRY, "model": "registry:qwen3-8b@2"})
    assert (chat.model, chat.form) == ("registry:qwen3-8b@2", ModelForm.OPENVINO)
    assert value_of(chat, "--model_name") == chat.launch.model_id == "qwen3-8b"
    assert value_of(chat, "--model_path") is Slot.MODEL
    assert not chat.models
    assert pod_model_id("llama_cpp", "registry:qwen3-8b@2") == "qwen3-8b"


def test_its_family_is_told_by_its_name_there_too():
    (chat,) = servers({**REGISTRY, "model": "registry:qwen3-8b@2"})
    assert (value_of(chat, "--tool_parser"), value_of(chat, "--reasoning_parser")) == (
        "hermes3",
        "qwen3",
    )


def test_llama_cpp_serves_a_file_of_a_registry_and_embeds_by_it():
    both = {"model": "registry:qwen3-8b@2", "embeddings_model": "registry:qwen3-8b@2"}
    (chat,) = servers({**REGISTRY, "engine": "llama_cpp", **both})
    assert (chat.form, chat.launch.model_id) == (ModelForm.GGUF, "qwen3-8b")


def test_an_embeddings_model_of_a_registry_has_a_disk_of_the_least_size():
    named = {**REGISTRY, "embeddings_model": "registry:bge-small@1"}
    _, embeddings = servers(named)
    assert (embeddings.model, embeddings.disk_gb) == ("registry:bge-small@1", 20)
    assert embedding_model(settings(named)) == "bge-small"
    assert value_of(embeddings, "--pooling") == "CLS"


@pytest.mark.parametrize(
    ("raw", "access"),
    [
        (CLASSIC, RegistryAccess.WORKLOAD_IDENTITY),
        ({**CLASSIC, "registry_access": "workload_identity"}, RegistryAccess.WORKLOAD_IDENTITY),
        ({**CLASSIC, "registry_access": "key"}, RegistryAccess.KEY),
        ({**S3, "model": "registry:qwen@1"}, RegistryAccess.SECRET),
        ({**S3, "embeddings_model": "registry:bge@1"}, RegistryAccess.SECRET),
    ],
)
def test_how_pods_read_their_registry_follows_from_where_it_is(
    raw: dict[str, str], access: RegistryAccess
):
    found = registry(raw)
    assert found is not None
    assert (str(found.url), found.access) == (raw["registry"], access)


def test_a_registry_of_which_nothing_is_served_is_none():
    assert registry({}) is None
    assert registry(REGISTRY) is None
