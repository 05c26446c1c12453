"""How llama.cpp is set up for a CPU machine, from its machine type and the models' size alone.

- threads: the physical cores. Two hyper-threads of one core share its arithmetic units, and
  generating is bound by memory anyway.
- slots: one for every two cores, from 1 to 8. More requests at once read the weights once for all
  of them; too many share too few cores.
- context: as many tokens for each slot as the memory bears that the weights leave.
- KV cache: 16 bits, and 8 where the weights take over half of the memory.
- flash attention: `auto`, and `on` with a quantised cache, which needs it.
- batch: 2048 tokens of a prompt in one go, 512 in one step of arithmetic (llama.cpp's own
  defaults), smaller on few cores, so that a long prompt does not hold up the streams of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.catalogue.gcp import MachineType
from components.sizing.memory_fit import KV_TYPE_BYTES

KV_ELEMENTS_A_TOKEN = 65_536
"""Elements of the KV cache for one token, taken as an upper middle: Mistral 7B and Llama 3.1 8B
have 65,536 (32 layers, 8 heads of 128 each for key and value), Qwen2.5 7B has 28,672, Llama 2 7B,
without grouped heads, 262,144. The machine checks by the model's real header before it loads."""

UNKNOWN_CONTEXT_TOKENS = 4096
UNKNOWN_SLOTS = 4
"""What a machine type that the catalogue does not know gets, as on `local`."""

_CONTEXTS = (16_384, 8192, 4096, 2048)
_KV_SHARE = 0.5
"""Of the memory that the weights leave; the rest is for buffers, prompt cache and system."""
_MOST_SLOTS = 8
_FEW_CORES = 4


@dataclass(frozen=True)
class Tuning:
    """What llama.cpp is told. None leaves it to llama.cpp. `context_tokens` is for one slot."""

    context_tokens: int
    slots: int
    kv_type: str
    flash_attention: str
    threads: int | None
    batch_tokens: int
    micro_batch_tokens: int


def tuning(
    machine: MachineType | None,
    models_bytes: int | None,
    *,
    context_tokens: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
    kv_type: str | None = None,
    flash_attention: str | None = None,
) -> Tuning:
    """Return the tuning for a machine; what a person has chosen stays, and the rest follows it.

    `models_bytes` is what all models' weights take, None where that can't be told.
    """
    memory = machine.memory_bytes if machine else 0
    weights = models_bytes or 0
    cores = machine.cores if machine else 0
    # A quantised cache needs flash attention, so that one who wants none gets none.
    tight = bool(machine) and 2 * weights > memory and flash_attention != "off"
    kv = kv_type or ("q8_0" if tight else "f16")
    quantised = kv not in {"f32", "f16", "bf16"}
    at_once = slots or (max(1, min(_MOST_SLOTS, cores // 2)) if machine else UNKNOWN_SLOTS)
    few = 0 < cores < _FEW_CORES
    return Tuning(
        context_tokens=context_tokens or _context(memory - weights, at_once, kv),
        slots=at_once,
        kv_type=kv,
        flash_attention=flash_attention or ("on" if quantised else "auto"),
        threads=threads or cores or None,
        batch_tokens=512 if few else 2048,
        micro_batch_tokens=128 if few else 512,
    )


def _context(left_bytes: int, slots: int, kv_type: str) -> int:
    """Return the largest context for each slot whose caches take their share of what is left."""
    if left_bytes <= 0:
        return UNKNOWN_CONTEXT_TOKENS
    token = KV_ELEMENTS_A_TOKEN * KV_TYPE_BYTES[kv_type]
    fits = (tokens for tokens in _CONTEXTS if tokens * slots * token <= left_bytes * _KV_SHARE)
    return next(fits, _CONTEXTS[-1])
