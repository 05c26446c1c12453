"""What a model takes of memory, told from its name alone, each part by two figures.

A name rounds the parameters and says nothing of the layers: the least that a model of that name
takes, and what it is likely to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from components.models.reference import ModelReference
from components.models.size import ModelSize, guess, guess_openvino, guess_repository

UNQUANTISED_REPOSITORY_BITS = 16
"""Bits a weight of a repository from which a quantisation can be made."""
_QUANTISED_REPOSITORY_BITS = 10

_LEAST_WEIGHTS, _LIKELY_WEIGHTS, _LIKELY_LARGE_WEIGHTS = 0.87, 1.1, 1.08
_LARGE_PARAMETERS = 10e9
"""Of the size that a name tells. Large models and such of experts are below it by up to an eighth
(Mixtral 8x7b Q4_K_M has 26.4 GB of 28.8, Llama 70B IQ1_S 15.3 of 17.5), others above it by as much
as their name rounds down (Qwen2.5 7B has 7.6 billion parameters)."""

_TOTAL_PARAMETERS = {"llama-4-scout": 109e9, "llama-4-maverick": 400e9}
"""Of models whose name tells those that work on one token: by their publisher's config.json."""

_FAMILY_BITS = {"gpt-oss-20b": (4.25, 5.15), "gpt-oss-120b": (4.25, 4.4)}
"""Bits a weight of models that are published in 4 bits, and that no file has in more, whatever it
is named: the least, and the most over a whole file (F16 has 13.8 and 65.4 GB)."""

_ONLINE_BITS = {
    **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8"), 8.2),
    "int8_per_channel_weight_only": 8.2,
    "mxfp4": 4.5,
}
"""Bits a weight of what vLLM makes of a 16-bit model while it loads it, by `quantization`
(docs.vllm.ai, features/quantization/online)."""

_EMBEDDINGS_A_WEIGHT, _MOST_EMBEDDINGS = 0.3, 3e9
"""Bytes that a quantised repository is likely to have beside its quantised weights: its embeddings
in 16 bits (Qwen2.5 7B AWQ has 5.6 GB, of which 2.2 are these)."""


@dataclass(frozen=True)
class Bounds:
    """The least that something takes, and what it is likely to take; in bytes or elements."""

    least: float
    likely: float

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(self.least + other.least, self.likely + other.likely)

    def times(self, factor: float) -> Bounds:
        """Return `factor` times both."""
        return Bounds(self.least * factor, self.likely * factor)


NOTHING = Bounds(0, 0)


@dataclass(frozen=True)
class ModelNeed:
    """What a model's name tells: bytes of weights, elements of KV cache for one token, and layers.

    `layers` is the fewest and the most that models of that size have. `size` is as the name says.
    """

    size: ModelSize
    weights: Bounds
    kv_elements: Bounds
    layers: tuple[int, int]


@dataclass(frozen=True)
class _SizeClass:
    """What models of up to so many parameters have, of those that are published (2026)."""

    parameters: float
    layers: tuple[int, int]
    kv_elements: tuple[int, int]


_SIZE_CLASSES = (
    _SizeClass(1e9, (12, 32), (1024, 57_344)),
    _SizeClass(5e9, (16, 64), (2048, 73_728)),
    _SizeClass(10e9, (24, 64), (4096, 73_728)),
    _SizeClass(20e9, (24, 64), (4096, 102_400)),
    _SizeClass(45e9, (24, 80), (8192, 131_072)),
    _SizeClass(float("inf"), (32, 128), (8192, 163_840)),
)
"""The KV cache is least where few layers attend to everything (Granite 4.0 H, 4 of 40 layers); the
likely one is an upper middle of those with grouped heads (Qwen3, Phi-4, Llama 3)."""

_SHAPES = {
    r"(?:qwen-?2(?:\.5)?|distill-qwen)": {
        "0.5": (24, 256), "1.5": (28, 512), "3": (36, 512), "7": (28, 1024),
        "14": (48, 2048), "32": (64, 2048), "72": (80, 2048),
    },
    r"qwen-?3(?!\.|-next)": {
        "0.6": (28, 2048), "1.7": (28, 2048), "4": (36, 2048), "8": (36, 2048),
        "14": (40, 2048), "30": (48, 1024), "32": (64, 2048), "235": (94, 1024),
    },
    r"(?:llama-?3|distill-llama)": {
        "1": (16, 1024), "3": (28, 2048), "8": (32, 2048), "70": (80, 2048), "405": (126, 2048),
    },
    r"(?:llama-?2|vicuna)": {"7": (32, 8192), "13": (40, 10_240), "70": (80, 2048)},
    r"mistral": {"7": (32, 2048)},
    r"mixtral": {"8x7": (32, 2048)},
}  # fmt: skip
"""Layers, and elements of the KV cache for one token in each (key and value heads times their
length), by family and billions of parameters: from each one's published config.json."""


def model_need(
    reference: ModelReference, *, repository: bool = False, quantization: str | None = None
) -> ModelNeed | None:
    """Return what a model's name tells; None where it does not tell its size.

    `repository` says that it is a hub repository of safetensors, which vLLM may be told to quantise
    as it loads it: `quantization`.
    """
    size = guess_repository(reference) if repository else guess(reference)
    if size is None:
        return None
    if size.bits_per_weight >= UNQUANTISED_REPOSITORY_BITS and quantization in _ONLINE_BITS:
        size = replace(size, bits_per_weight=_ONLINE_BITS[quantization])
    return _need(reference, size, repository)


def openvino_need(reference: ModelReference) -> ModelNeed | None:
    """Return what the name of a repository in OpenVINO's format tells; None for no size."""
    size = guess_openvino(reference)
    return None if size is None else _need(reference, size, repository=False)


def _need(reference: ModelReference, size: ModelSize, repository: bool) -> ModelNeed:
    name = str(reference).lower().replace("_", "-")
    total = (count for model, count in _TOTAL_PARAMETERS.items() if model in name)
    size = replace(size, parameters=int(next(total, size.parameters)))
    size, weights = _in_its_family(name, size, repository)
    kind = next(one for one in _SIZE_CLASSES if size.parameters < one.parameters)
    shape = _known_shape(str(reference))
    if shape is None:
        return ModelNeed(size, weights, Bounds(*kind.kv_elements), kind.layers)
    layers, elements = shape
    # The output counts as one more layer.
    return ModelNeed(
        size, weights, Bounds(layers * elements, layers * elements), (layers + 1, layers + 1)
    )


def _in_its_family(name: str, size: ModelSize, repository: bool) -> tuple[ModelSize, Bounds]:
    """Return the size and its weights, of no more bits than its family is published in."""
    bits = next((bits for family, bits in _FAMILY_BITS.items() if family in name), None)
    if bits is None:
        return size, weights_of(size, repository)
    least, most = (replace(size, bits_per_weight=min(size.bits_per_weight, one)) for one in bits)
    return most, Bounds(weights_of(least, repository).least, weights_of(most, repository).likely)


def weights_of(size: ModelSize, repository: bool) -> Bounds:
    """Return what weights of that size take; `repository` says of what kind."""
    quantised = repository and size.bits_per_weight < _QUANTISED_REPOSITORY_BITS
    kept = min(size.parameters * _EMBEDDINGS_A_WEIGHT, _MOST_EMBEDDINGS) if quantised else 0
    large = size.parameters >= _LARGE_PARAMETERS
    likely = size.size_bytes * (_LIKELY_LARGE_WEIGHTS if large else _LIKELY_WEIGHTS)
    return Bounds(size.size_bytes * _LEAST_WEIGHTS, likely + kept)


def _known_shape(name: str) -> tuple[int, int] | None:
    """Return the layers and their elements a token of a model of a known family."""
    plain = name.lower().replace("_", "-")
    for family, sizes in _SHAPES.items():
        for billions, shape in sizes.items():
            if re.search(rf"{family}[a-z0-9.-]*?-{re.escape(billions)}b(?![a-z0-9])", plain):
                return shape
    return None
