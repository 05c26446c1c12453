"""How much memory llama.cpp takes for a model on a CPU, and what would fit where that is too much.

A rule of thumb, made to be a little high, from llama.cpp's own rules and from what it printed for
models of several shapes (xllamacpp 2026.10; tests/unit/test_memory_fit.py holds it to those):

- weights: the file's size. They are mapped; a copy repacked for the CPU takes the place of the
  pages that were mapped, which the kernel can drop.
- KV cache: for each layer, the context times the key and value heads times their length. Layers
  with a sliding window keep only the window and one batch.
- compute buffers: for a batch of 512 tokens, about three rows of the feed-forward width and five of
  the embedding width in 32 bits, and the attention mask in 16 (flash attention on, as by default).
- the rest: the process, its tables for the vocabulary, and a row of logits for each slot.

Not counted: the prompt cache of llama.cpp's server (`--cache-ram`), which grows with use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from components.models.gguf_header import GgufHeader

KV_TYPE_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes an element for each `--cache-type-k` of llama.cpp, whose quantised blocks hold 32."""

_BATCH_TOKENS = 512
_CELLS_PAD = 256
_PROCESS_BYTES = 150_000_000
_VOCABULARY_ENTRY_BYTES = 300
_LEAST_CONTEXT_A_SLOT = 1024
_LEAST_SHARE = 1 / 8
"""Of a file's size: a smaller quantisation of the same model is hardly less."""
_DEFAULT_VOCABULARY = 128_000

# Every n-th layer sees all, the others a window: what llama.cpp assumes for an architecture
# (src/models/*.cpp) where the file does not say it.
_WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "cohere2": 4}
_DEFAULT_WINDOWS = {"gemma2": 4096}


@dataclass(frozen=True)
class MemoryNeed:
    """What a model needs, in bytes, and the choices that it was reckoned for."""

    weights: int
    kv_cache: int
    compute: int
    overhead: int
    header: GgufHeader
    context_tokens: int
    slots: int
    kv_type: str

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.kv_cache + self.compute + self.overhead


def estimate(
    header: GgufHeader, size_bytes: int, context_tokens: int, slots: int, kv_type: str
) -> MemoryNeed:
    """Estimate what llama.cpp takes for a model of `size_bytes` over all its parts.

    `context_tokens` is the total over all slots: llama.cpp's `--ctx-size` is shared by them, so
    that each gets `context_tokens / slots`. 0 is the model's own context, as there. `kv_type` is
    one of `KV_TYPE_BYTES`. Raises `ValueError` for another, and for no slots.
    """
    if kv_type not in KV_TYPE_BYTES:
        raise ValueError(f"kv_type is {kv_type!r}; it takes {', '.join(KV_TYPE_BYTES)}")
    if slots < 1 or context_tokens < 0:
        raise ValueError(
            f"slots is {slots} and context_tokens {context_tokens}; "
            "it takes at least 1 slot, and no negative context"
        )
    context = context_tokens or header.context_length or 4096
    cells = slots * _padded(-(-context // slots))
    return MemoryNeed(
        weights=size_bytes,
        kv_cache=int(_kv_elements(header, cells, slots) * KV_TYPE_BYTES[kv_type]),
        compute=_compute_bytes(header, cells),
        overhead=_overhead_bytes(header, slots),
        header=header,
        context_tokens=context,
        slots=slots,
        kv_type=kv_type,
    )


def refusal(need: MemoryNeed, available_bytes: int) -> str | None:
    """Return why the model can't be loaded in `available_bytes`, and what fits; None if it can."""
    if need.total <= available_bytes:
        return None
    each = need.context_tokens // need.slots
    return (
        f"the model needs about {gigabytes(need.total)} of memory, and "
        f"{gigabytes(available_bytes)} is free: {gigabytes(need.weights)} weights, "
        f"{gigabytes(need.kv_cache)} KV cache ({need.kv_type}, {slots_of(need.slots)} of {each} "
        f"tokens), {gigabytes(need.compute)} compute buffers, "
        f"{gigabytes(need.overhead)} for the process\nnext: {_what_fits(need, available_bytes)}"
    )


def largest_context(
    need: MemoryNeed,
    available_bytes: int,
    kv_type: str,
    slots: int,
    takes: Callable[[MemoryNeed], int] = lambda need: need.total,
) -> int | None:
    """Return the most context tokens for each of `slots` that fit; None where too few would.

    Not more than each slot has in `need`, and else a multiple of what llama.cpp rounds to. `takes`
    says how much of `available_bytes` a need takes.
    """
    had = need.context_tokens // need.slots
    low, high = 0, -(-had // _CELLS_PAD)
    while low < high:
        middle = (low + high + 1) // 2
        tried = estimate(need.header, need.weights, middle * _CELLS_PAD * slots, slots, kv_type)
        if takes(tried) <= available_bytes:
            low = middle
        else:
            high = middle - 1
    fits = min(low * _CELLS_PAD, had)
    return fits if low and fits >= min(_LEAST_CONTEXT_A_SLOT, had) else None


def _what_fits(need: MemoryNeed, available_bytes: int) -> str:
    ways: list[str] = []
    context = largest_context(need, available_bytes, need.kv_type, need.slots)
    if context:
        ways.append(f"context_tokens {context}")
    elif alone := largest_context(need, available_bytes, need.kv_type, 1):
        ways.append(f"slots 1 with context_tokens {alone}")
    if need.kv_type in {"f32", "f16", "bf16"}:
        smaller = largest_context(need, available_bytes, "q8_0", need.slots)
        if smaller and smaller > (context or 0):
            ways.append(
                f"context_tokens {smaller} with --cache-type-k q8_0 and --cache-type-v q8_0"
            )
    room = available_bytes - (need.total - need.weights)
    if room >= need.weights * _LEAST_SHARE:
        ways.append(
            f"with these settings a smaller quantisation, a file of {gigabytes(room)} at most"
        )
    else:
        least = estimate(need.header, 0, _LEAST_CONTEXT_A_SLOT, 1, need.kv_type)
        room = available_bytes - least.total
        if room >= need.weights * _LEAST_SHARE:
            ways.append(
                f"a smaller quantisation, a file of {gigabytes(room)} at most, with slots 1 and "
                f"context_tokens {_LEAST_CONTEXT_A_SLOT}"
            )
    if not ways:
        return "take a smaller model, or a machine with more memory"
    return f"any of these would fit: {'; '.join(ways)}"


def _kv_elements(header: GgufHeader, cells: int, slots: int) -> int:
    """Count the elements of the KV cache for `cells` tokens over `slots` streams."""
    layers = header.block_count or 0
    held = layers - (header.shared_kv_layers or 0)
    window = header.sliding_window or _DEFAULT_WINDOWS.get(header.architecture)
    windowed = _windowed_layers(header, layers) if window else (False,) * layers
    window_cells = min(cells, slots * _padded((window or 0) + _BATCH_TOKENS))
    full, short = _head_lengths(header)
    total = 0
    for layer in range(held):
        heads = _per_layer(header.head_count_kv or header.head_count, layer)
        total += heads * (window_cells * short if windowed[layer] else cells * full)
    return total


def _head_lengths(header: GgufHeader) -> tuple[int, int]:
    """Return the elements of one head's key and value, in full layers and in windowed ones."""
    heads = max(1, _per_layer(header.head_count, 0))
    default = (header.embedding_length or 0) // heads
    key, value = header.key_length or default, header.value_length or default
    if header.kv_lora_rank:
        # Multi-head latent attention keeps one vector, of which the value is a part.
        return key, key
    return key + value, (header.key_length_swa or key) + (header.value_length_swa or value)


def _windowed_layers(header: GgufHeader, layers: int) -> tuple[bool, ...]:
    pattern = header.sliding_window_pattern
    if isinstance(pattern, tuple) and len(pattern) >= layers:
        return tuple(bool(each) for each in pattern[:layers])
    period = pattern if isinstance(pattern, int) else _WINDOW_PERIODS.get(header.architecture)
    if not period:
        return (False,) * layers
    return tuple(layer % period < period - 1 for layer in range(layers))


def _compute_bytes(header: GgufHeader, cells: int) -> int:
    width = header.embedding_length or 0
    inner = header.feed_forward_length or 4 * width
    used = header.expert_used_count or 0
    experts = used * max(header.expert_feed_forward_length or 0, width)
    rows = 3 * max(inner, experts) + 5 * width
    return _BATCH_TOKENS * (4 * rows + 2 * cells)


def _overhead_bytes(header: GgufHeader, slots: int) -> int:
    vocabulary = header.vocab_size or _DEFAULT_VOCABULARY
    return _PROCESS_BYTES + vocabulary * (_VOCABULARY_ENTRY_BYTES + 4 * slots)


def _per_layer(value: int | tuple[int, ...] | None, layer: int) -> int:
    if isinstance(value, tuple):
        return value[layer] if layer < len(value) else 0
    return value or 0


def _padded(cells: int) -> int:
    return -(-cells // _CELLS_PAD) * _CELLS_PAD


def slots_of(count: int) -> str:
    """Return a count of slots in words."""
    return "1 slot" if count == 1 else f"{count} slots"


def gigabytes(size_bytes: int) -> str:
    """Return a size as messages have it: 4.1 GB, 0.05 GB."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e9:.2f} GB"
