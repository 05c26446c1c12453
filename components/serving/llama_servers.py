"""What llama.cpp's servers have in common, whatever they compute on."""

from __future__ import annotations

from components.engines.llama_cpp import EMBEDDING_TOKENS, LlamaCppOptions
from components.models.identity import model_id
from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.rendering.machine.plan import ModelMemory
from components.settings.served import ServedSettings
from components.sizing.machine_tuning import Tuning

CHAT = "chat"
EMBEDDINGS = "embeddings"


def id_of(model: str) -> str:
    """Return the id under which a server lists the model of that reference."""
    reference = parse_pod_model(model)
    if isinstance(reference, RegistryModelReference):
        return reference.model.name
    return model_id(reference)


def embedding_model(settings: ServedSettings) -> str | None:
    """Return the id that answers `/v1/embeddings`; None where none does."""
    return None if settings.embeddings_model is None else id_of(settings.embeddings_model)


def chat_options(
    settings: ServedSettings, chosen: Tuning, extra_flags: tuple[str, ...]
) -> LlamaCppOptions:
    """Return what llama.cpp is told to serve the chat model, behind a gateway."""
    return LlamaCppOptions(
        model_id=id_of(settings.model),
        context_tokens=chosen.context_tokens,
        slots=chosen.slots,
        embeddings=settings.embeddings_model == settings.model,
        checks_keys=False,
        extra_flags=extra_flags,
        threads=chosen.threads,
        batch_tokens=chosen.batch_tokens,
        micro_batch_tokens=chosen.micro_batch_tokens,
        kv_type=chosen.kv_type,
        flash_attention=chosen.flash_attention,
    )


def embeddings_options(model: str, chosen: Tuning, slots: int) -> LlamaCppOptions:
    """Return what llama.cpp is told for a model of embeddings alone, which pools as its file says.

    It takes texts of `EMBEDDING_TOKENS`, for `slots` requests at once.
    """
    return LlamaCppOptions(
        model_id=id_of(model),
        context_tokens=EMBEDDING_TOKENS,
        slots=slots,
        embeddings=True,
        pooling=None,
        checks_keys=False,
        threads=chosen.threads,
    )


def chat_memory(chosen: Tuning) -> ModelMemory:
    """Return what the chat model's memory is reckoned from."""
    return ModelMemory(chosen.context_tokens * chosen.slots, chosen.slots, chosen.kv_type)
