"""How big a model is, guessed from its name alone: nothing is opened and nothing is asked.

Names tell the parameters (`7b`, `0.5B`, `135M`, `8x7b`) and the quantisation (`Q4_K_M`). They
round down, by up to a tenth, so a guess serves to refuse what is plainly too big, and to choose a
size with room to spare.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from components.models.reference import Builtin, HubFile, ModelReference, PathFile, UrlFile

BITS_PER_WEIGHT = {
    "IQ1_S": 2.00,
    "IQ1_M": 2.15,
    "IQ2_XXS": 2.38,
    "IQ2_XS": 2.59,
    "IQ2_S": 2.74,
    "IQ2_M": 2.93,
    "IQ3_XXS": 3.25,
    "IQ3_XS": 3.50,
    "IQ3_S": 3.66,
    "IQ3_M": 3.76,
    "IQ4_XS": 4.46,
    "IQ4_NL": 4.68,
    "MXFP4": 4.25,
    "Q2_K_S": 2.97,
    "Q2_K": 3.16,
    "Q3_K_S": 3.64,
    "Q3_K_M": 4.00,
    "Q3_K_L": 4.30,
    "Q4_0": 4.67,
    "Q4_1": 5.10,
    "Q4_K_S": 4.67,
    "Q4_K_M": 4.89,
    "Q5_0": 5.57,
    "Q5_1": 6.00,
    "Q5_K_S": 5.57,
    "Q5_K_M": 5.70,
    "Q6_K": 6.56,
    "Q8_0": 8.50,
    "F16": 16.0,
    "BF16": 16.0,
    "F32": 32.0,
}
"""Bits a weight over a whole file, embeddings included, by llama.cpp's own measurement of Llama 3.1
8B (tools/quantize/README.md); those that it does not list are by their block's size."""

_ALIASES = {
    "Q3_K": "Q3_K_M",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K": "Q4_K_M",
    "Q4_K_L": "Q4_K_M",
    "Q4_K_XL": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q5_K_XL": "Q5_K_M",
    "Q2_K_XL": "Q2_K",
    "Q6_K_L": "Q6_K",
    "Q6_K_XL": "Q6_K",
    "Q8_K_XL": "Q8_0",
    "FP16": "F16",
}
"""Other names, and mixtures that keep some tensors at more bits than the one they come nearest."""

UNNAMED_QUANTISATION = "Q4_K_M"
"""What a repository without a quantisation in the reference is taken for: the first choice of the
pull."""

REPOSITORY_BITS = {
    "FP32": 32.0,
    "BF16": 16.0,
    **dict.fromkeys(("FP8", "INT8", "8BIT", "W8A8", "W8A16"), 8.2),
    **dict.fromkeys(("AWQ", "GPTQ", "INT4", "4BIT", "W4A16", "FP4", "NVFP4"), 4.5),
    "MXFP4": 4.25,
}
"""Bits a weight over a repository of safetensors, by words in its name, of which the first counts:
`GPTQ-Int8` has 8. Embeddings stay in 16 bits, which counts for more the smaller the model is: these
are the figures of large ones."""

OPENVINO_BITS = {
    "INT4": 4.6,
    "NF4": 4.6,
    "INT8": 8.2,
    "FP16": 16.0,
    "BF16": 16.0,
    "FP32": 32.0,
}
"""Bits a weight over a repository in OpenVINO's format, by words in its name, of which the first in
this order counts: embeddings have 8 bits in those of 4 (Qwen3-8B-int4-ov has 4.86 GB of weights,
Qwen3-4B-int4-ov 2.29, Qwen2.5-1.5B-Instruct-int4-ov 0.94)."""

_OPENVINO = re.compile(r"(?:^|[-_.])(?:ov|openvino)(?:$|[-_.])", re.IGNORECASE)

_QUANTISED_FAMILIES = {"gpt-oss": 4.25}
"""Models whose publishers' repository is quantised without saying so in its name."""

_UNQUANTISED_BITS = 16.0

_PARAMETERS = re.compile(
    r"(?<![a-z0-9.])(?:(?P<experts>[0-9]{1,2})x)?(?P<count>[0-9]+(?:\.[0-9]+)?)(?P<unit>[bm])"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_EXPERTS_SHARE = 0.84
"""Of experts times their size: experts share all but their feed-forward layers (Mixtral 8x7b has
46.7 billion parameters, 8x22b has 141 billion)."""


@dataclass(frozen=True)
class ModelSize:
    """A guess: parameters, and the bits a weight of the quantisation that the name tells."""

    parameters: int
    bits_per_weight: float

    @property
    def size_bytes(self) -> int:
        """The size of the file, which is about what its weights take in memory."""
        return int(self.parameters * self.bits_per_weight / 8)


def guess(reference: ModelReference) -> ModelSize | None:
    """Return the size that a model's name tells; None where it doesn't."""
    names = _names(reference)
    parameters = next((count for name in names if (count := _parameters(name))), None)
    bits = next((found for name in names if (found := _bits(name))), None)
    if bits is None and isinstance(reference, HubFile) and reference.selector is None:
        bits = BITS_PER_WEIGHT[UNNAMED_QUANTISATION]
    if parameters is None or bits is None:
        return None
    return ModelSize(parameters, bits)


def guess_repository(reference: ModelReference) -> ModelSize | None:
    """Return the size of a hub repository of safetensors by its name; None where it doesn't tell.

    Without a quantisation in the name the weights have 16 bits.
    """
    if not isinstance(reference, HubFile):
        return None
    parameters = _parameters(reference.repo)
    return None if parameters is None else ModelSize(parameters, _repository_bits(reference.repo))


def is_openvino(reference: ModelReference) -> bool:
    """Whether a reference is a hub repository whose name says that it is in OpenVINO's format.

    Such names end in `-ov`, or have `openvino` in them.
    """
    if not isinstance(reference, HubFile) or reference.selector is not None:
        return False
    return _OPENVINO.search(reference.repo) is not None


def guess_openvino(reference: ModelReference) -> ModelSize | None:
    """Return the size of a repository in OpenVINO's format by its name; None where it doesn't tell.

    Without a precision in the name the weights have 16 bits.
    """
    if not isinstance(reference, HubFile):
        return None
    parameters = _parameters(reference.repo)
    if parameters is None:
        return None
    words = re.split(r"[-_.]", reference.repo.upper())
    said = (bits for word, bits in OPENVINO_BITS.items() if word in words)
    return ModelSize(parameters, next(said, _UNQUANTISED_BITS))


def _repository_bits(name: str) -> float:
    words = re.split(r"[-_.]", name.upper().replace("-BIT", "BIT"))
    said = (bits for word, bits in REPOSITORY_BITS.items() if word in words)
    families = (bits for family, bits in _QUANTISED_FAMILIES.items() if family in name.lower())
    return next(itertools.chain(said, families), _UNQUANTISED_BITS)


def _names(reference: ModelReference) -> tuple[str, ...]:
    """Return the names to read, the most telling first."""
    match reference:
        case HubFile(_, repo, _, selector):
            return (repo,) if selector is None else (PurePosixPath(selector).name, repo)
        case UrlFile(url):
            path = PurePosixPath(unquote(urlsplit(url).path))
            return (path.name, path.parent.name)
        case PathFile(path):
            return (PurePosixPath(path).name,)
        case Builtin():
            return ()


def _parameters(name: str) -> int | None:
    found = [_count(match) for match in _PARAMETERS.finditer(name.replace("_", "-"))]
    return max(found, default=None)


def _count(match: re.Match[str]) -> int:
    each = float(match["count"]) * (1e9 if match["unit"].lower() == "b" else 1e6)
    experts = int(match["experts"] or 1)
    return int(each * experts * _EXPERTS_SHARE) if experts > 1 else int(each)


def _bits(name: str) -> float | None:
    """Return the bits a weight of the longest quantisation whose name stands in `name`."""
    words = f"-{name.upper().replace('.', '-')}-"
    for quantisation in sorted((*BITS_PER_WEIGHT, *_ALIASES), key=len, reverse=True):
        if re.search(rf"[-_]{quantisation}[-_]", words):
            return BITS_PER_WEIGHT[_ALIASES.get(quantisation, quantisation)]
    return None
