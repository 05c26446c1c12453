"""Which model servers a machine without GPUs runs: settings and its facts -> `ModelServer`s."""

from __future__ import annotations

from components.catalogue.gcp import MachineType
from components.engines import llama_cpp, localllm
from components.models.reference import HubFile, parse_model_reference
from components.rendering.machine.plan import ModelMemory, ModelServer
from components.serving.installations import INSTALLATIONS, LOCALLLM
from components.serving.llama_servers import (
    CHAT,
    EMBEDDINGS,
    chat_memory,
    chat_options,
    embeddings_options,
)
from components.settings.cpu_serving import CpuServing
from components.sizing.machine_tuning import Tuning, tuning


def tuned(settings: CpuServing, machine: MachineType | None) -> Tuning:
    """Return how llama.cpp is set up: what the settings say, and the rest from the machine."""
    return tuning(
        machine,
        settings.models_bytes(),
        context_tokens=settings.context_tokens,
        slots=1 if settings.engine == localllm.NAME else settings.slots,
        threads=settings.threads,
        kv_type=settings.kv_type,
        flash_attention=settings.flash_attention,
    )


def cpu_servers(settings: CpuServing, machine: MachineType | None) -> tuple[ModelServer, ...]:
    """Return the servers behind the gateway, the one that chats first.

    An embeddings model of its own gets a second server; where it is the chat model, one does both.
    """
    chosen = tuned(settings, machine)
    if settings.engine == localllm.NAME:
        return (_localllm_server(settings, chosen),)
    installation = INSTALLATIONS[settings.engine, settings.llama_server]
    chat = ModelServer(
        name=CHAT,
        launch=llama_cpp.launch(chat_options(settings, chosen, settings.engine_flags)),
        model=settings.model,
        installation=installation,
        memory=chat_memory(chosen),
    )
    if settings.embeddings_model in {None, settings.model}:
        return (chat,)
    model = settings.embeddings_model or settings.model
    embeddings = ModelServer(
        name=EMBEDDINGS,
        launch=llama_cpp.launch(embeddings_options(model, chosen, chosen.slots)),
        model=model,
        installation=installation,
        memory=ModelMemory(llama_cpp.EMBEDDING_TOKENS * chosen.slots, chosen.slots, "f16"),
    )
    return (chat, embeddings)


def _localllm_server(settings: CpuServing, chosen: Tuning) -> ModelServer:
    reference = parse_model_reference(settings.model)
    if not isinstance(reference, HubFile):
        raise localllm.LocalllmError(localllm.ONLY_HUB)
    options = localllm.LocalllmOptions(
        owner=reference.owner,
        repo=reference.repo,
        revision=reference.revision,
        selector=reference.selector,
        context_tokens=chosen.context_tokens,
        slots=chosen.slots,
        threads=chosen.threads,
        batch_tokens=chosen.micro_batch_tokens,
        flash_attention=chosen.flash_attention == "on",
        kv_type=chosen.kv_type,
        extra_flags=settings.engine_flags,
    )
    return ModelServer(
        name=CHAT,
        launch=localllm.launch(options),
        model=settings.model,
        installation=LOCALLLM,
        pull=(*LOCALLLM.program, *localllm.pull(options)),
        memory=chat_memory(chosen),
    )
