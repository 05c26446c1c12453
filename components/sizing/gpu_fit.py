"""Whether a model fits the memory of GPUs, told from its name, and what would fit instead.

Only what the least that it may take exceeds is refused; the machine reckons again, with the model's
own header, before it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.catalogue.gcp_gpu import Fit, Gpu
from components.engines import vllm
from components.models.need import (
    NOTHING,
    Bounds,
    ModelNeed,
    weights_of,
)
from components.models.size import BITS_PER_WEIGHT, REPOSITORY_BITS, ModelSize
from components.sizing.gpu_memory_fit import GPU_RESERVED_BYTES
from components.sizing.memory_fit import KV_TYPE_BYTES

UNQUANTISED_KV = ("f32", "f16", "bf16")
"""KV types that are not quantised."""

_LLAMA_BUFFERS = (100e6, 1.5e9)
_VLLM_BUFFERS = (500e6, 2e9)
"""Bytes for computing on each GPU, (least, likely). With `--gpu-layers auto` llama.cpp leaves 1 GiB
of each free, or keeps layers off it (`--fit-target`). vLLM's CUDA graphs are among its own."""

_SECOND_PROCESS_BYTES = 2**30
_UNKNOWN_BESIDE_BYTES = 3e9
_SHORTEST_CONTEXT = 1024
_CONTEXT_STEP = 256
_SHOWN_MACHINES = 3
_SMALLER_REPOSITORIES = {name: REPOSITORY_BITS[name] for name in ("FP8", "AWQ")}
_SMALLER_FILES = {
    name: BITS_PER_WEIGHT[name]
    for name in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "IQ2_XXS")
}
"""Quantisations that most repositories of models have, the largest first."""


@dataclass(frozen=True)
class Asked:
    """How a model is to be served: each of `slots` requests has `context_tokens`.

    `gpu_layers` None puts all layers on the GPUs. `beside` is what another server takes of them.
    """

    engine: str
    context_tokens: int
    slots: int
    kv_type: str
    gpu_layers: int | None = None
    beside: Bounds = NOTHING

    @property
    def cached_tokens(self) -> int:
        """Tokens whose KV cache has to be there: vLLM lets requests wait that find no room."""
        return self.context_tokens * (1 if self.engine == vllm.NAME else self.slots)


@dataclass(frozen=True)
class Change:
    """Something that would fit: in words, and as a key with its value where it is one."""

    words: str
    key: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class Shortfall:
    """A model that exceeds the GPUs: surely, or by what is likely. `changes` would fit."""

    surely: bool
    said: str
    changes: tuple[Change, ...]

    @property
    def offered(self) -> str:
        """Return what would fit, in words."""
        if not self.changes:
            return "take a smaller model"
        return f"any of these would fit: {'; '.join(change.words for change in self.changes)}"


def beside(need: ModelNeed | None, tokens: int) -> Bounds:
    """Return what llama.cpp takes for a model that makes embeddings beside another server.

    `tokens` are those of all its slots. Its KV cache counts only as far as it is known: encoders,
    which most of these models are, have none. `need` None is a name that does not tell.
    """
    if need is None:
        return Bounds(0, _UNKNOWN_BESIDE_BYTES)
    known = need.kv_elements.least == need.kv_elements.likely
    cache = need.kv_elements.likely * tokens * KV_TYPE_BYTES["f16"] if known else 0
    fixed = _SECOND_PROCESS_BYTES
    return Bounds(need.weights.least + fixed / 2, need.weights.likely + cache + fixed)


def room(gpus: tuple[Gpu, int], engine: str) -> int:
    """Return the bytes of all GPUs that the servers may take together."""
    gpu, count = gpus
    if engine == vllm.NAME:
        return int(gpu.memory_bytes * count * vllm.GPU_MEMORY_SHARE)
    return (gpu.memory_bytes - GPU_RESERVED_BYTES) * count


def taken(need: ModelNeed, asked: Asked, gpus: int) -> Bounds:
    """Return the bytes that are taken of `gpus` GPUs, what is beside it included."""
    least, likely = _shares(need, asked)
    cache = _kv_bytes(need, asked)
    own = Bounds(
        (need.weights.least + cache.least) * least, (need.weights.likely + cache.likely) * likely
    )
    # vLLM takes one share of all GPUs, so that what lies on the first is missing on each.
    others = gpus if asked.engine == vllm.NAME else 1
    return own + _buffers(asked.engine).times(gpus) + asked.beside.times(others)


def left_to_the_processor(need: ModelNeed, asked: Asked) -> Bounds:
    """Return the bytes that no GPU holds, which the machine's own memory has to.

    Those are the weights of the layers that are left to the processor, and their KV cache.
    """
    fewest, most = _shares(need, asked)
    cache = _kv_bytes(need, asked)
    return Bounds(
        (need.weights.least + cache.least) * (1 - most),
        (need.weights.likely + cache.likely) * (1 - fewest),
    )


def _shares(need: ModelNeed, asked: Asked) -> tuple[float, float]:
    """Return which share of the layers the GPUs hold: the least, and the most."""
    if asked.gpu_layers is None:
        return 1.0, 1.0
    fewest, most = need.layers
    return min(1.0, asked.gpu_layers / most), min(1.0, asked.gpu_layers / fewest)


def _kv_bytes(need: ModelNeed, asked: Asked) -> Bounds:
    # vLLM's fp8 has one byte; what it calls auto is the model's own 16 bits.
    each = 1.0 if asked.kv_type == "fp8" else KV_TYPE_BYTES[asked.kv_type]
    return need.kv_elements.times(asked.cached_tokens * each)


def _buffers(engine: str) -> Bounds:
    return Bounds(*(_VLLM_BUFFERS if engine == vllm.NAME else _LLAMA_BUFFERS))


def fits(need: ModelNeed, asked: Asked, gpus: tuple[Gpu, int]) -> bool:
    """Return whether it is likely to fit."""
    return taken(need, asked, gpus[1]).likely <= room(gpus, asked.engine)


def longest_context(
    need: ModelNeed, asked: Asked, gpus: tuple[Gpu, int], memory_bytes: int | None = None
) -> int:
    """Return the most context tokens with which it is likely to fit, in steps of 256; 0 for none.

    That is of each slot, with what else is asked. `memory_bytes` is what the machine's own memory
    has for the layers that no GPU holds; None is as much as they take.
    """
    none, one = (replace(asked, context_tokens=tokens) for tokens in (0, 1))
    empty = taken(need, none, gpus[1]).likely
    tokens = (room(gpus, asked.engine) - empty) / (taken(need, one, gpus[1]).likely - empty)
    rest = left_to_the_processor(need, none).likely
    if memory_bytes is not None and rest > 0:
        each = left_to_the_processor(need, one).likely - rest
        tokens = min(tokens, (memory_bytes - rest) / each)
    return int(max(0.0, tokens)) // _CONTEXT_STEP * _CONTEXT_STEP


def shortfall(
    need: ModelNeed, asked: Asked, gpus: tuple[Gpu, int], offers: Sequence[Fit]
) -> Shortfall | None:
    """Return what is missing on `gpus`, and what would fit; None where it is likely to fit.

    `offers` are the machines to take instead, the smallest first.
    """
    wanted, has = taken(need, asked, gpus[1]), room(gpus, asked.engine)
    if wanted.likely <= has:
        return None
    surely = wanted.least > has
    gpu, count = gpus
    cache, (least, likely) = _kv_bytes(need, asked), _shares(need, asked)
    total, weights, kv = (
        (wanted.least, need.weights.least * least, cache.least * least)
        if surely
        else (wanted.likely, need.weights.likely * likely, cache.likely * likely)
    )
    said = (
        f"by its name it takes {'at least' if surely else 'about'} {gb(total)} of GPU memory "
        f"({gb(weights)} weights, {gb(kv)} KV cache in {asked.kv_type} for {_requests(asked)}, "
        f"{gb(total - weights - kv)} for the rest), and {count} {gpu.name} "
        f"{'has' if count == 1 else 'have'} {gb(has)} for it: {gb(total - has)} "
        f"{'are' if surely else 'may be'} missing"
    )
    return Shortfall(surely, said, tuple(_changes(need, asked, gpus, offers)))


def _changes(
    need: ModelNeed, asked: Asked, gpus: tuple[Gpu, int], offers: Sequence[Fit]
) -> list[Change]:
    found: list[Change] = []
    context = longest_context(need, asked, gpus)
    if _SHORTEST_CONTEXT <= context < asked.context_tokens:
        found.append(_set("context_tokens", context))
    if asked.engine != vllm.NAME:
        fewer = (replace(asked, slots=slots) for slots in range(asked.slots - 1, 0, -1))
        found += [_set("slots", one.slots) for one in fewer if fits(need, one, gpus)][:1]
    smaller = "fp8" if asked.engine == vllm.NAME else "q8_0"
    if asked.kv_type in UNQUANTISED_KV and fits(need, replace(asked, kv_type=smaller), gpus):
        found.append(_set("kv_type", smaller))
    found += _smaller_weights(need, asked, gpus)
    larger = [
        fit
        for fit in offers
        if fit.gpu.memory_bytes * fit.gpus > gpus[0].memory_bytes * gpus[1]
        and fits(need, asked, (fit.gpu, fit.gpus))
    ]
    larger.sort(key=_is_attached)
    return [*found, *map(_machine, larger[:_SHOWN_MACHINES])]


def _is_attached(fit: Fit) -> bool:
    return " + " in fit.machine


def _machine(fit: Fit) -> Change:
    words = f"machine_type {fit.machine} ({fit.gpus} {fit.gpu.name})"
    # What is attached takes three keys, which no one command sets.
    return Change(words) if _is_attached(fit) else Change(words, "machine_type", fit.machine)


def _set(key: str, value: object) -> Change:
    return Change(f"{key} {value}", key, str(value))


def _smaller_weights(need: ModelNeed, asked: Asked, gpus: tuple[Gpu, int]) -> list[Change]:
    """Return the largest quantisation of the same model that is likely to fit, if one is."""
    repository = asked.engine == vllm.NAME
    smaller = _SMALLER_REPOSITORIES if repository else _SMALLER_FILES
    for name, bits in smaller.items():
        size = ModelSize(need.size.parameters, bits)
        tried = replace(need, size=size, weights=weights_of(size, repository))
        if bits < need.size.bits_per_weight and fits(tried, asked, gpus):
            return [Change(f"an {name} repository of the model" if repository else f"its {name}")]
    return []


def _requests(asked: Asked) -> str:
    slots = 1 if asked.engine == vllm.NAME else asked.slots
    what = "request" if asked.engine == vllm.NAME else "slot"
    return f"{slots} {what}{'s' if slots > 1 else ''} of {asked.context_tokens} tokens"


def gb(size_bytes: float) -> str:
    """Return a size in words, in GB (10^9 bytes)."""
    return f"{size_bytes / 1e9:.1f} GB"
