"""Which model servers a machine with GPUs runs."""

import pytest

from components.catalogue.gcp_gpu import find_gpu, find_gpu_machine_type
from components.container_images import ContainerImageError
from components.engines import known_flags, llama_cpp, vllm
from components.launch import Capability, Form, Slot
from components.rendering.machine.plan import BuiltImage, Container, ModelServer, PulledImage
from components.serving.gpu_servers import gpu_servers
from components.settings import GpuVmSettings
from stacks import PROGRAMS

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "us-central1-a",
    "allowed_cidrs": "203.0.113.7/32",
}
EMBED = "nomic-ai/nomic-embed-text-v1.5-GGUF:nomic-embed-text-v1.5.Q8_0.gguf"
VLLM = {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "150"}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


def settings(**raw: str) -> GpuVmSettings:
    read = PROGRAMS["gpu-vm"].settings({**GOOD, **raw})
    assert isinstance(read, GpuVmSettings)
    return read


def servers(**raw: str) -> tuple[ModelServer, ...]:
    given = settings(**raw)
    return gpu_servers(given, given.gpus(), given.machine())


def value_of(server: ModelServer, flag: str) -> str:
    arguments = server.launch.arguments
    return arguments[arguments.index(flag) + 1]


def image(server: ModelServer) -> Container:
    assert isinstance(server.installation, Container)
    return server.installation


def test_one_server_chats_on_the_gpu_in_the_pinned_cuda_image():
    (chat,) = servers()
    assert chat.name == "chat"
    assert Form.CONTAINER in chat.launch.forms
    assert Slot.KEY_FILE not in chat.launch.arguments
    assert value_of(chat, "--gpu-layers") == "auto"
    assert isinstance(image(chat).image, PulledImage)
    assert "server-cuda" in image(chat).image.reference
    assert image(chat).cuda is not None


def test_the_memory_that_is_checked_is_that_of_the_flags():
    (chat,) = servers(slots="3", context_tokens="5000", kv_type="q8_0")
    assert chat.memory is not None
    assert str(chat.memory.context_tokens_total) == value_of(chat, "--ctx-size") == "15000"
    assert (chat.memory.slots, chat.memory.kv_type) == (3, "q8_0")
    assert value_of(chat, "--cache-type-v") == "q8_0"


@pytest.mark.parametrize(("asked", "layers"), [("auto", None), ("all", None), ("20", 20), ("1", 1)])
def test_the_layers_that_are_checked_are_those_of_the_flags(asked: str, layers: int | None):
    (chat,) = servers(gpu_layers=asked)
    assert value_of(chat, "--gpu-layers") == asked
    assert chat.memory is not None
    assert chat.memory.gpu_layers == layers


def test_what_that_old_command_said_is_said_by_keys():
    (chat,) = servers(
        model="TheBloke/vicuna-13B-v1.5-GGUF:vicuna-13b-v1.5.Q8_0.gguf",
        chat_template="vicuna",
        context_tokens="512",
        slots="8",
        gpu_layers="all",
        flash_attention="on",
        kv_type="q8_0",
        engine_flags="--threads-batch 8 --threads-http 8 --cont-batching",
    )
    assert value_of(chat, "--ctx-size") == "4096"
    assert value_of(chat, "--chat-template") == "vicuna"
    assert value_of(chat, "--flash-attn") == "on"
    assert "--no-jinja" in chat.launch.arguments
    assert chat.launch.arguments[-5:] == (
        *("--threads-batch", "8", "--threads-http", "8"),
        "--cont-batching",
    )
    assert (
        known_flags.unknown(
            "llama_cpp", [word for word in chat.launch.arguments[2:] if word.startswith("-")]
        )
        == ()
    )


def test_several_gpus_share_the_model_as_the_settings_say():
    (chat,) = servers(machine_type="g2-standard-24", split_mode="row")
    assert value_of(chat, "--split-mode") == "row"
    (left_to_it,) = servers(machine_type="g2-standard-24")
    assert "--split-mode" not in left_to_it.launch.arguments


@pytest.mark.parametrize(("split", "gpus"), [("none", 1), ("layer", None), ("row", None)])
def test_what_is_not_split_is_reckoned_on_one_gpu(split: str, gpus: int | None):
    chat, embeddings = servers(
        machine_type="g2-standard-24", split_mode=split, embeddings_model=EMBED
    )
    assert chat.memory is not None
    assert chat.memory.gpus == gpus
    assert value_of(embeddings, "--split-mode") == "none"
    assert embeddings.memory is not None
    assert embeddings.memory.gpus == 1


def test_a_model_that_also_makes_embeddings_is_served_once():
    (chat,) = servers(embeddings_model=settings().model)
    assert Capability.EMBEDDINGS in chat.launch.capabilities


def test_another_embeddings_model_gets_a_small_server_in_the_same_image():
    chat, embeddings = servers(embeddings_model=EMBED)
    assert (chat.name, embeddings.name) == ("chat", "embeddings")
    assert embeddings.installation == chat.installation
    assert embeddings.launch.capabilities >= {Capability.EMBEDDINGS}
    assert Capability.EMBEDDINGS not in chat.launch.capabilities
    assert "--pooling" not in embeddings.launch.arguments
    assert value_of(embeddings, "--gpu-layers") == "all"
    assert embeddings.memory is not None
    assert str(embeddings.memory.context_tokens_total) == value_of(embeddings, "--ctx-size")
    assert value_of(embeddings, "--parallel") == str(llama_cpp.EMBEDDING_SLOTS)


def test_without_gpus_the_image_for_processors_serves_and_nothing_is_said_of_layers():
    chat, embeddings = servers(
        machine_type="n1-standard-16",
        gpu="none",
        model="bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf",
        embeddings_model=EMBED,
    )
    for server in (chat, embeddings):
        assert isinstance(image(server).image, PulledImage)
        assert ":server-b" in image(server).image.reference
        assert image(server).cuda is None
        assert not {"--gpu-layers", "--split-mode"} & set(server.launch.arguments)
        assert server.memory is not None
        assert server.memory.gpu_layers is None
        assert server.memory.gpus is None


def test_an_image_is_built_for_the_very_gpu():
    (chat,) = servers(container_image="build")
    assert isinstance(image(chat).image, BuiltImage)
    assert dict(image(chat).image.arguments)["CUDA_DOCKER_ARCH"] == "89"


def test_an_image_of_ones_own_serves_chat_and_embeddings():
    mine = "ghcr.io/me/llama:mine@sha256:" + "a" * 64
    chat, embeddings = servers(container_image=mine, embeddings_model=EMBED)
    assert image(chat).image == image(embeddings).image == PulledImage(mine)


def test_vllm_serves_a_whole_repository_on_all_gpus():
    (chat,) = servers(**VLLM, machine_type="g2-standard-24", tool_call_parser="hermes")
    assert chat.snapshot
    assert chat.memory is None
    assert chat.launch.model_id == VLLM["model"]
    assert value_of(chat, "--tensor-parallel-size") == "2"
    assert value_of(chat, "--max-model-len") == "auto"
    assert value_of(chat, "--gpu-memory-utilization") == f"{vllm.GPU_MEMORY_SHARE:.2f}"
    assert value_of(chat, "--tool-call-parser") == "hermes"
    assert image(chat).program == ("vllm",)


def test_what_is_said_of_vllm_becomes_its_flags():
    (chat,) = servers(
        **VLLM,
        context_tokens="4096",
        slots="16",
        kv_type="fp8",
        quantization="fp8",
        chat_template=TEMPLATE,
        engine_flags="--enforce-eager",
    )
    assert value_of(chat, "--max-model-len") == "4096"
    assert value_of(chat, "--max-num-seqs") == "16"
    assert value_of(chat, "--kv-cache-dtype") == "fp8"
    assert value_of(chat, "--quantization") == "fp8"
    assert value_of(chat, "--chat-template") == TEMPLATE
    assert chat.launch.arguments[-1] == "--enforce-eager"


def test_beside_vllm_llama_cpp_makes_the_embeddings_in_the_memory_that_is_left_to_it():
    chat, embeddings = servers(**VLLM, embeddings_model=EMBED)
    assert embeddings.launch.engine == "llama_cpp"
    assert not embeddings.snapshot
    assert image(embeddings).program == ("/app/llama-server",)
    assert image(embeddings).name != image(chat).name
    share = float(value_of(chat, "--gpu-memory-utilization"))
    assert 0.8 < share < vllm.GPU_MEMORY_SHARE


def test_an_image_of_ones_own_for_vllm_is_not_llama_cpps():
    mine = "docker.io/vllm/vllm-openai:mine@sha256:" + "a" * 64
    chat, embeddings = servers(**VLLM, container_image=mine, embeddings_model=EMBED)
    assert image(chat).image == PulledImage(mine)
    assert image(embeddings).image != PulledImage(mine)


def test_vllm_has_no_image_to_build_and_none_without_gpus():
    given = settings(**VLLM)
    with pytest.raises(ContainerImageError, match="'vllm' has no such image for cpu"):
        gpu_servers(given, None, given.machine())
    built = given.model_copy(update={"container_image": "build"})
    with pytest.raises(ContainerImageError, match="'vllm' has no such image for cuda"):
        gpu_servers(built, (find_gpu("l4"), 1), find_gpu_machine_type("g2-standard-8"))
