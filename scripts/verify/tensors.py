"""Tensors in KServe's v2 REST API, with its extension by which they travel in binary form.

github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md and
specification/extension_binary_data.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.verify.client import Answer, Content
from scripts.verify.shape import Json, dig, dig_count, dig_text, parse_json

HEADER_BYTES = "Inference-Header-Content-Length"
"""The header with the length of a body's JSON, where binary tensors follow it."""
BYTES_EACH: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "UINT8", "INT8"), 1),
    **dict.fromkeys(("UINT16", "INT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("UINT32", "INT32", "FP32"), 4),
    **dict.fromkeys(("UINT64", "INT64", "FP64"), 8),
    # Before a string comes its length in four bytes: zeros are empty strings.
    "BYTES": 4,
}


class TensorError(ValueError):
    """An answer without the tensors that it should have; the message says what came instead."""


@dataclass(frozen=True)
class Tensor:
    """An input or an output; in a model's metadata -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype}{list(self.shape)}"

    @property
    def count(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes its zeros have."""
        return self.count * BYTES_EACH[self.datatype]

    def sized(self, size: int) -> Tensor:
        """Return it with `size` for open dimensions, and 1 for an open first one, the batch's."""
        shape = [
            each if each >= 0 else (size if index else 1) for index, each in enumerate(self.shape)
        ]
        return Tensor(self.name, self.datatype, tuple(shape))

    def takes(self, other: Tensor) -> bool:
        """Whether `other` is one of these, all of whose dimensions are known."""
        return (
            self.datatype == other.datatype
            and len(self.shape) == len(other.shape)
            and all(a in (-1, b) for a, b in zip(self.shape, other.shape, strict=True))
        )


def tensors(metadata: Json, key: str) -> tuple[Tensor, ...]:
    """Return the `inputs` or `outputs` in a model's metadata; none where one can't be read."""
    listed = dig(metadata, key)
    found: list[Tensor] = []
    for one in listed if isinstance(listed, list) else []:
        shape = _shape(one)
        if shape is None or not dig_text(one, "name") or not dig_text(one, "datatype"):
            return ()
        found.append(Tensor(dig_text(one, "name"), dig_text(one, "datatype"), shape))
    return tuple(found)


def _shape(value: Json) -> tuple[int, ...] | None:
    listed = dig(value, "shape")
    numbers = listed if isinstance(listed, list) else [None]
    shape = [each for each in numbers if isinstance(each, int) and not isinstance(each, bool)]
    return tuple(shape) if len(shape) == len(numbers) and min(shape, default=0) >= -1 else None


def zeros(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Content:
    """Return a request with zeros for `inputs`, which asks for `outputs` in binary form."""
    sizes = [each.size_bytes for each in inputs]
    header: Json = {
        "inputs": [
            {
                "name": each.name,
                "shape": [*each.shape],
                "datatype": each.datatype,
                "parameters": {"binary_data_size": size},
            }
            for each, size in zip(inputs, sizes, strict=True)
        ],
        "outputs": [{"name": each.name, "parameters": {"binary_data": True}} for each in outputs],
    }
    text = json.dumps(header).encode()
    return Content(
        text + bytes(sum(sizes)),
        {"Content-Type": "application/octet-stream", HEADER_BYTES: str(len(text))},
    )


def read_tensors(answer: Answer) -> tuple[tuple[str, str], tuple[Tensor, ...]]:
    """Return the name and version of the model that answered, and its outputs.

    Raises `TensorError` where an output has more or fewer elements than its shape says.
    """
    length = answer.headers.get(HEADER_BYTES)
    if length is not None and not length.isdecimal():
        raise TensorError(f"a header {HEADER_BYTES} that is no number")
    end = len(answer.body) if length is None else int(length)
    rest = memoryview(answer.body)[end:]
    try:
        value = parse_json(answer.body[:end])
    except ValueError:
        raise TensorError("no JSON") from None
    listed, outputs = dig(value, "outputs"), tensors(value, "outputs")
    entries = listed if isinstance(listed, list) else []
    if len(entries) != len(outputs) or not outputs:
        raise TensorError("no outputs with name, datatype and shape")
    for entry, output in zip(entries, outputs, strict=True):
        size = dig_count(entry, "parameters", "binary_data_size")
        if size is None:
            data = dig(entry, "data")
            count = len(data) if isinstance(data, list) else 0
        else:
            count, rest = _count(rest[:size], output.datatype), rest[size:]
        if count != output.count:
            raise TensorError(f"{count} elements in output {output.name} {output}")
    if rest:
        raise TensorError(f"{len(rest)} bytes after the last output")
    return (dig_text(value, "model_name"), dig_text(value, "model_version")), outputs


def _count(data: memoryview, datatype: str) -> int | float:
    """Return how many elements there are, not whole where the last one is cut off."""
    if datatype != "BYTES":
        return len(data) / BYTES_EACH.get(datatype, 1)
    count = 0
    while data:
        length = int.from_bytes(data[:4], "little")
        if len(data) < 4 + length:
            return count + 0.5
        count, data = count + 1, data[4 + length :]
    return count
