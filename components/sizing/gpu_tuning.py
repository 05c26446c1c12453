"""How an engine is set up for a machine with GPUs, from their memory and the model's name alone.

- slots: 8 for llama.cpp, fewer where their contexts would be under 4096 tokens; more requests at
  once read the weights once for all of them. vLLM shares one cache among them: 32.
- KV cache: 16 bits, and 8 where only that leaves each slot 4096 tokens.
- context: as many tokens for each slot as the memory is likely to bear, up to 32,768. Where layers
  are left to the processor, the machine's own memory has to bear their part too.
- flash attention: `auto`, and `on` with a quantised cache, which needs it.
- threads: the machine's physical cores, for what the GPUs do not hold.
- batch: llama.cpp's own defaults, 2048 tokens of a prompt in one go, 512 in one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from components.catalogue.gcp_gpu import Gpu
from components.engines import vllm
from components.models.need import NOTHING, Bounds, ModelNeed
from components.sizing.gpu_fit import UNQUANTISED_KV, Asked, longest_context
from components.sizing.machine_tuning import UNKNOWN_CONTEXT_TOKENS, UNKNOWN_SLOTS, Tuning

_SLOTS = (8, 4, 2, 1)
_VLLM_SLOTS = 32
_CONTEXTS = (32_768, 24_576, 16_384, 12_288, 8192, 6144, 4096, 3072, 2048)
_ENOUGH_TOKENS = 4096


@dataclass(frozen=True)
class Wanted:
    """What a person has chosen, and None where they leave it open.

    `gpu_layers` None is all layers. `beside` is what another server takes of the GPUs.
    `memory_bytes` is what the machine's own memory has for layers that the GPUs do not hold, and
    None where that is not known.
    """

    engine: str
    context_tokens: int | None = None
    slots: int | None = None
    threads: int | None = None
    kv_type: str | None = None
    flash_attention: str | None = None
    gpu_layers: int | None = None
    beside: Bounds = NOTHING
    memory_bytes: int | None = None


def gpu_tuning(
    gpus: tuple[Gpu, int], need: ModelNeed | None, cores: int | None, wanted: Wanted
) -> Tuning:
    """Return the tuning for `gpus`; what is wanted stays, and the rest follows it.

    `need` is what the chat model's name tells; where it tells nothing, or where nothing is likely
    to fit, little is taken. `cores` are the processor's, None where they are not known.
    """
    asked = _unknown(wanted) if need is None else _fitting(gpus, need, wanted)
    quantised = asked.kv_type not in UNQUANTISED_KV
    return Tuning(
        context_tokens=asked.context_tokens,
        slots=asked.slots,
        kv_type=asked.kv_type,
        flash_attention=wanted.flash_attention or ("on" if quantised else "auto"),
        threads=wanted.threads or cores,
        batch_tokens=2048,
        micro_batch_tokens=512,
    )


def _unknown(wanted: Wanted) -> Asked:
    slots = wanted.slots or (_VLLM_SLOTS if wanted.engine == vllm.NAME else UNKNOWN_SLOTS)
    context = wanted.context_tokens or UNKNOWN_CONTEXT_TOKENS
    return _asked(wanted, context, slots, wanted.kv_type or "f16")


def _fitting(gpus: tuple[Gpu, int], need: ModelNeed, wanted: Wanted) -> Asked:
    """Return the first way, in the order of preference, that gives each slot enough tokens."""
    enough = wanted.context_tokens or _ENOUGH_TOKENS
    ways = [_asked(wanted, enough, slots, kv_type) for slots, kv_type in _ways(wanted)]

    def most_of(way: Asked) -> int:
        return longest_context(need, way, gpus, wanted.memory_bytes)

    asked = next((one for one in ways if most_of(one) >= enough), ways[-1])
    if wanted.context_tokens is not None:
        return asked
    most = most_of(asked)
    fitting = (tokens for tokens in _CONTEXTS if tokens <= most)
    return replace(asked, context_tokens=next(fitting, _CONTEXTS[-1]))


def _ways(wanted: Wanted) -> Iterator[tuple[int, str]]:
    """Yield slots and KV types, the preferred ones first."""
    several = (_VLLM_SLOTS,) if wanted.engine == vllm.NAME else _SLOTS
    quantises = wanted.engine != vllm.NAME and wanted.flash_attention != "off"
    types = ("f16", "q8_0") if quantises else ("f16",)
    for slots in (wanted.slots,) if wanted.slots else several:
        for kv_type in (wanted.kv_type,) if wanted.kv_type else types:
            yield slots, kv_type


def _asked(wanted: Wanted, context_tokens: int, slots: int, kv_type: str) -> Asked:
    return Asked(
        engine=wanted.engine,
        context_tokens=context_tokens,
        slots=slots,
        kv_type=kv_type,
        gpu_layers=wanted.gpu_layers,
        beside=wanted.beside,
    )
