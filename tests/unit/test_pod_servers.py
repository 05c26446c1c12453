"""Which model servers run in a cluster: what the settings say, as launches, images and pods."""

import pytest
from gke_ovms_settings import settings

from components.container_images import pinned_reference
from components.launch import Accelerator, Capability, Slot
from components.rendering.kubernetes.plan import ModelForm, PodServer
from components.serving.pod_servers import embedding_model, pod_model_id, pod_servers

QWEN = "OpenVINO/Qwen3-8B-int4-ov"
BGE = "OpenVINO/bge-base-en-v1.5-int8-ov"
GGUF = "Qwen/Qwen3-8B-GGUF:Q4_K_M"
DIGEST = f"@sha256:{'a' * 64}"


def servers(**keys: object) -> tuple[PodServer, ...]:
    chosen = settings({key: str(value) for key, value in keys.items()})
    return pod_servers(chosen, chosen.machine())


def value_of(server: PodServer, flag: str) -> str:
    return server.launch.arguments[server.launch.arguments.index(flag) + 1]


def test_ovms_serves_a_folder_in_a_pod_that_takes_the_node():
    (chat,) = servers(model=QWEN)
    assert (chat.name, chat.form, chat.model) == ("chat", ModelForm.OPENVINO, QWEN)
    assert chat.image == pinned_reference("ovms", Accelerator.CPU)
    assert chat.program == ("/ovms/bin/ovms",)
    assert (chat.resources.cpus, chat.resources.memory_bytes) == (21, 77 * 2**30)
    assert value_of(chat, "--model_path") is Slot.MODEL
    assert value_of(chat, "--cache_size") == "38"
    assert chat.launch.slots == int(value_of(chat, "--max_num_seqs"))


def test_its_id_is_the_repository_s_name():
    (chat,) = servers(model=f"{QWEN}@5c47abf4b8e12ebe8e99745bb0c1ec17e0c0abcc")
    assert chat.launch.model_id == "Qwen3-8B-int4-ov"
    assert pod_model_id("llama_cpp", GGUF) == "Qwen/Qwen3-8B-GGUF:Q4_K_M"


def test_a_family_s_parsers_are_taken_where_none_is_named():
    (chat,) = servers(model=QWEN)
    assert value_of(chat, "--tool_parser") == "hermes3"
    assert value_of(chat, "--reasoning_parser") == "qwen3"
    assert Capability.TOOL_CALLS in chat.launch.capabilities


def test_a_named_parser_is_taken_and_none_turns_it_off():
    (chat,) = servers(model=QWEN, tool_call_parser="llama3", reasoning_parser="none")
    assert value_of(chat, "--tool_parser") == "llama3"
    assert value_of(chat, "--reasoning_parser") == "none"


def test_an_image_that_can_t_turn_a_parser_off_is_given_none():
    own = f"docker.io/openvino/model_server:2026.2{DIGEST}"
    (chat,) = servers(model=QWEN, reasoning_parser="none", container_image=own)
    assert chat.image == own
    assert "--reasoning_parser" not in chat.launch.arguments
    assert value_of(chat, "--tool_parser") == "hermes3"


def test_an_embeddings_model_has_pods_and_a_disk_of_its_own():
    chat, embeddings = servers(model=QWEN, embeddings_model=BGE, replicas=2, max_nodes=2)
    assert (chat.replicas, embeddings.replicas) == (2, 1)
    assert (embeddings.name, embeddings.form) == ("embeddings", ModelForm.OPENVINO)
    assert value_of(embeddings, "--task") == "embeddings"
    assert embeddings.launch.capabilities == {Capability.EMBEDDINGS}
    assert embeddings.resources.cpus + chat.resources.cpus == 21
    assert embeddings.disk_gb < chat.disk_gb
    assert embedding_model(settings({"embeddings_model": BGE})) == "bge-base-en-v1.5-int8-ov"
    assert embedding_model(settings({})) is None


@pytest.mark.parametrize("tag", ["2026.2", "latest", "2026.3.1"])
def test_how_a_known_model_is_pooled_is_said_to_every_image(tag: str):
    own = f"docker.io/openvino/model_server:{tag}{DIGEST}"
    other = "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"
    _, embeddings = servers(model=QWEN, embeddings_model=other, container_image=own)
    assert value_of(embeddings, "--pooling") == "LAST"


def test_llama_cpp_serves_a_file_in_the_same_place():
    (chat,) = servers(engine="llama_cpp", model=GGUF, embeddings_model=GGUF)
    assert (chat.form, chat.program) == (ModelForm.GGUF, ("/app/llama-server",))
    assert chat.image == pinned_reference("llama_cpp", Accelerator.CPU)
    assert not chat.launch.checks_keys
    assert value_of(chat, "--threads") == "10"
    assert Capability.EMBEDDINGS in chat.launch.capabilities
    assert "--gpu-layers" not in chat.launch.arguments


def test_llama_cpp_s_embeddings_model_gets_a_second_server():
    _, embeddings = servers(
        engine="llama_cpp", model=GGUF, embeddings_model="Qwen/Qwen3-Embedding-0.6B-GGUF:Q8_0"
    )
    assert embeddings.form is ModelForm.GGUF
    assert value_of(embeddings, "--parallel") == str(embeddings.launch.slots)
    assert value_of(embeddings, "--threads") == "1"


def test_the_cluster_chooses_between_the_two_numbers_of_pods():
    (chat,) = servers(replicas=1, max_replicas=3, max_nodes=3)
    assert (chat.replicas, chat.most_replicas) == (1, 3)


@pytest.mark.parametrize(
    ("key", "flag"), [("slots", "--max_num_seqs"), ("kv_cache_gb", "--cache_size")]
)
def test_what_is_chosen_reaches_the_server(key: str, flag: str):
    (chat,) = servers(**{key: 5})
    assert value_of(chat, flag) == "5"
    (chat,) = servers(engine_flags="--max_num_batched_tokens 512")
    assert chat.launch.arguments[-2:] == ("--max_num_batched_tokens", "512")
