"""Which model servers a machine with GPUs runs: settings and the machine's facts -> `ModelServer`s.

With no GPUs (`gpu` is `none`) the same containers serve on the machine's processor.
"""

from __future__ import annotations

from dataclasses import replace

from components.catalogue.gcp import MachineType
from components.catalogue.gcp_gpu import Gpu
from components.container_images import container
from components.engines import llama_cpp, vllm
from components.launch import Accelerator
from components.models.need import model_need
from components.models.reference import parse_model_reference
from components.rendering.machine.plan import Container, ModelMemory, ModelServer
from components.serving.llama_servers import (
    CHAT,
    EMBEDDINGS,
    chat_memory,
    chat_options,
    embeddings_options,
    id_of,
)
from components.settings.gpu_serving import GpuServing
from components.sizing.gpu_fit import beside
from components.sizing.machine_tuning import Tuning

_UNKNOWN_BYTES = 2 * 10**9
"""What an embeddings server may take whose model's name does not tell its size: few take more."""
_LEAST_SHARE = 0.1
_EMBEDDING_TOKENS_TOTAL = llama_cpp.EMBEDDING_TOKENS * llama_cpp.EMBEDDING_SLOTS


def gpu_servers(
    settings: GpuServing, gpus: tuple[Gpu, int] | None, machine: MachineType | None
) -> tuple[ModelServer, ...]:
    """Return the servers behind the gateway, the one that chats first.

    `gpus` are the machine's GPUs and how many there are; None is a machine that serves on its
    processor. An embeddings model of its own gets a second server, which is llama.cpp's whatever
    serves the chat model; where it is the chat model, one does both. Raises `ContainerImageError`
    for an engine that has no image for such a machine.
    """
    chosen = settings.tuned(gpus, machine)
    image = _image(settings.engine, settings.container_image, gpus)
    if settings.engine == vllm.NAME:
        chat = _vllm_server(settings, chosen, image, gpus)
    else:
        chat = _llama_cpp_server(settings, chosen, image, gpus)
    if settings.embeddings_model in {None, settings.model}:
        return (chat,)
    second = image if settings.engine == llama_cpp.NAME else _image(llama_cpp.NAME, None, gpus)
    model = settings.embeddings_model or settings.model
    return (chat, _embeddings_server(model, chosen, second, gpus))


def _image(engine: str, choice: str | None, gpus: tuple[Gpu, int] | None) -> Container:
    accelerator = Accelerator.CPU if gpus is None else Accelerator.CUDA
    return container(engine, accelerator, choice, gpus and gpus[0].compute_capability)


def _llama_cpp_server(
    settings: GpuServing, chosen: Tuning, image: Container, gpus: tuple[Gpu, int] | None
) -> ModelServer:
    options = replace(
        chat_options(settings, chosen, settings.engine_flags),
        gpu_layers=gpus and settings.gpu_layers,
        split_mode=gpus and settings.split_mode,
        chat_template=settings.chat_template,
    )
    memory = replace(
        chat_memory(chosen),
        gpu_layers=gpus and settings.offloaded_layers,
        gpus=1 if gpus is not None and settings.split_mode == "none" else None,
    )
    return ModelServer(
        name=CHAT,
        launch=llama_cpp.launch(options),
        model=settings.model,
        installation=image,
        memory=memory,
    )


def _vllm_server(
    settings: GpuServing, chosen: Tuning, image: Container, gpus: tuple[Gpu, int] | None
) -> ModelServer:
    """Return the server of a repository of safetensors; whether it fits is for vLLM to say."""
    options = vllm.VllmOptions(
        model_id=id_of(settings.model),
        context_tokens=settings.context_tokens,
        slots=chosen.slots,
        gpus=1 if gpus is None else gpus[1],
        memory_share=_memory_share(settings, gpus),
        kv_type=settings.kv_type,
        quantization=settings.quantization,
        tool_call_parser=settings.tool_call_parser,
        chat_template=settings.chat_template,
        extra_flags=settings.engine_flags,
    )
    return ModelServer(
        name=CHAT,
        launch=vllm.launch(options),
        model=settings.model,
        installation=image,
        snapshot=True,
    )


def _embeddings_server(
    model: str, chosen: Tuning, image: Container, gpus: tuple[Gpu, int] | None
) -> ModelServer:
    """Return the server of a model that makes embeddings alone.

    On a machine with GPUs it lies on the first of them, whole.
    """
    options = replace(
        embeddings_options(model, chosen, llama_cpp.EMBEDDING_SLOTS),
        gpu_layers=None if gpus is None else "all",
        split_mode=None if gpus is None else "none",
    )
    return ModelServer(
        name=EMBEDDINGS,
        launch=llama_cpp.launch(options),
        model=model,
        installation=image,
        memory=ModelMemory(
            context_tokens_total=_EMBEDDING_TOKENS_TOTAL,
            slots=llama_cpp.EMBEDDING_SLOTS,
            kv_type="f16",
            gpus=None if gpus is None else 1,
        ),
    )


def _memory_share(settings: GpuServing, gpus: tuple[Gpu, int] | None) -> float:
    """Return the share of each GPU that vLLM takes: what an embeddings server leaves on the first.

    It is the same share of all, since vLLM knows one number.
    """
    if gpus is None or settings.embeddings_model is None:
        return vllm.GPU_MEMORY_SHARE
    need = model_need(parse_model_reference(settings.embeddings_model))
    taken = _UNKNOWN_BYTES if need is None else beside(need, _EMBEDDING_TOKENS_TOTAL).likely
    return max(_LEAST_SHARE, vllm.GPU_MEMORY_SHARE - taken / gpus[0].memory_bytes)
