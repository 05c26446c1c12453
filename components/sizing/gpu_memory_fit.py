"""How much memory of GPUs llama.cpp takes for a model, and what would fit where that is too much.

From `memory_fit`, with llama.cpp's rules for GPUs: layers are spread over them with their weights
and KV cache, and each has compute buffers of its own. The output counts as one more layer. What
`gpu_layers` leaves is the processor's: weights, KV cache and compute buffers there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from components.sizing.memory_fit import MemoryNeed, gigabytes, largest_context, slots_of

GPU_RESERVED_BYTES = 600_000_000
"""Of each GPU's memory, for the driver and CUDA's own state."""

_LEAST_SHARE = 1 / 8
"""Of a file's size: a smaller quantisation of the same model is hardly less."""
_UNQUANTISED = {"f32", "f16", "bf16"}


@dataclass(frozen=True)
class GpuNeed:
    """What a model needs on a machine with `gpus` GPUs; `layers` None has all of it on them."""

    need: MemoryNeed
    gpus: int
    layers: int | None = None

    @property
    def all_layers(self) -> int | None:
        """The model's layers as `gpu_layers` counts them; None where its file does not say."""
        blocks = self.need.header.block_count
        return None if blocks is None else blocks + 1

    @property
    def share(self) -> float:
        """Which part of the layers lies on the GPUs, from 0 to 1."""
        if self.layers is None or self.all_layers is None:
            return 1.0
        return min(1.0, self.layers / self.all_layers)

    @property
    def on_gpus(self) -> int:
        """Bytes of the GPUs' memory."""
        spread = int((self.need.weights + self.need.kv_cache) * self.share)
        return spread + self.need.compute * self.gpus

    @property
    def on_processor(self) -> int:
        """Bytes of the machine's own memory for the layers that are left to the processor."""
        if self.share == 1.0:
            return 0
        rest = int((self.need.weights + self.need.kv_cache) * (1 - self.share))
        return rest + self.need.compute + self.need.overhead


def gpu_refusal(wanted: GpuNeed, available: int, memory_available: int) -> str | None:
    """Return why a model does not fit the GPUs, how much is missing, and what fits; None if it can.

    `available` is in bytes over all GPUs, `memory_available` of the machine's own memory.
    """
    if wanted.on_gpus <= available:
        return None
    need = wanted.need
    each = need.context_tokens // need.slots
    part = f" for {wanted.layers} of {wanted.all_layers} layers" if wanted.share < 1.0 else ""
    buffers = f" on each of {wanted.gpus} GPUs" if wanted.gpus > 1 else ""
    return (
        f"the model needs about {gigabytes(wanted.on_gpus)} of GPU memory{part}, and "
        f"{gigabytes(available)} is free, so that {gigabytes(wanted.on_gpus - available)} is "
        f"missing: in all {gigabytes(need.weights)} weights, {gigabytes(need.kv_cache)} KV cache "
        f"({need.kv_type}, {slots_of(need.slots)} of {each} tokens), {gigabytes(need.compute)} "
        f"compute buffers{buffers}\n"
        f"next: any of these would fit: {'; '.join(_ways(wanted, available, memory_available))}"
    )


def memory_refusal(wanted: GpuNeed, memory_available: int) -> str | None:
    """Return why what is left to the processor does not fit its memory; None if it does."""
    if wanted.on_processor <= memory_available:
        return None
    whole = replace(wanted, layers=None)
    return (
        f"gpu_layers {wanted.layers} leaves about {gigabytes(wanted.on_processor)} to the "
        f"processor, and {gigabytes(memory_available)} of its memory is free\n"
        "next: set gpu_layers higher (all layers together need "
        f"{gigabytes(whole.on_gpus)} of GPU memory, these {gigabytes(wanted.on_gpus)}), "
        "or take a smaller model, or a machine with more memory"
    )


def _ways(wanted: GpuNeed, available: int, memory_available: int) -> list[str]:
    need = wanted.need

    def takes(other: MemoryNeed) -> int:
        return replace(wanted, need=other).on_gpus

    ways: list[str] = []
    context = largest_context(need, available, need.kv_type, need.slots, takes)
    if context:
        ways.append(f"context_tokens {context}")
    elif alone := largest_context(need, available, need.kv_type, 1, takes):
        ways.append(f"slots 1 with context_tokens {alone}")
    if need.kv_type in _UNQUANTISED:
        smaller = largest_context(need, available, "q8_0", need.slots, takes)
        if smaller and smaller > (context or 0):
            ways.append(f"kv_type q8_0 with context_tokens {smaller}")
    room = int((available - (wanted.on_gpus - need.weights * wanted.share)) / (wanted.share or 1))
    if room >= need.weights * _LEAST_SHARE:
        ways.append(
            f"with these settings a smaller quantisation, a file of {gigabytes(room)} at most"
        )
    if layers := _layers_that_fit(wanted, available, memory_available):
        ways.append(
            f"gpu_layers {layers}, which leaves {(wanted.all_layers or layers) - layers} layers to "
            "the processor and is slower"
        )
    ways.append(f"a machine with {gigabytes(wanted.on_gpus)} of GPU memory to give")
    return ways


def _layers_that_fit(wanted: GpuNeed, available: int, memory_available: int) -> int | None:
    for layers in range((wanted.all_layers or 0) - 1, 0, -1):
        fewer = replace(wanted, layers=layers)
        if fewer.on_gpus <= available:
            return layers if fewer.on_processor <= memory_available else None
    return None
