"""The head of a GGUF file: what a model is and how large its parts are, without loading it.

Own code, because the `gguf` package imports numpy and walks the whole tokenizer: a second, where a
preview has milliseconds. Layout: the magic `GGUF`, version (u32), tensor count (u64), then as many
keys as the next u64 says, each a string, a type (u32) and a value; all little-endian. From the
GGUF specification in ggml's docs, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MOST_KEYS = 1_000_000
_LONGEST_KEY_BYTES = 65_535
_LONGEST_TEXT_BYTES = 64 * 1024 * 1024
_LONGEST_LIST_KEPT = 4096
"""Lists with a number a layer are kept; a tokenizer's are skipped."""

_OTHER_STARTS = (
    (
        (b"<!doctype", b"<html", b"<head"),
        "begins as an HTML page, such as a login or error page",
    ),
    (
        (b"version https://git-lfs",),
        "is a Git LFS pointer, not the file itself (git lfs pull fetches it)",
    ),
    ((b"{", b"["), "begins as JSON, such as an error message"),
    ((b"pk\x03\x04",), "is a zip archive, such as a PyTorch checkpoint"),
)

Value = str | int | float | bool | tuple[int, ...] | None


class GgufError(ValueError):
    """A file that can't be read as GGUF: the message has the file and what was seen in it."""


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of its model; None where it says nothing.

    Lengths are in elements. What differs from layer to layer is a tuple with one number a layer.
    `file_type` is llama.cpp's number of the quantisation; it is None too where it stands after the
    tokenizer, which is not read.
    """

    architecture: str
    name: str | None = None
    block_count: int | None = None
    context_length: int | None = None
    embedding_length: int | None = None
    feed_forward_length: int | None = None
    head_count: int | tuple[int, ...] | None = None
    head_count_kv: int | tuple[int, ...] | None = None
    key_length: int | None = None
    value_length: int | None = None
    kv_lora_rank: int | None = None
    shared_kv_layers: int | None = None
    sliding_window: int | None = None
    sliding_window_pattern: int | tuple[int, ...] | None = None
    key_length_swa: int | None = None
    value_length_swa: int | None = None
    expert_count: int | None = None
    expert_used_count: int | None = None
    expert_feed_forward_length: int | None = None
    vocab_size: int | None = None
    file_type: int | None = None


def read_header(path: Path) -> GgufHeader:
    """Read the head of the GGUF file at `path`, of its first part where it is split.

    Raises `GgufError` for another kind of file and for one that is cut off or damaged, and
    `OSError` where it can't be opened.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path)
        magic = reader.start()
        if magic != MAGIC:
            raise GgufError(f"{path} is not a GGUF file: it {describe_start(magic)}")
        version = reader.number("<I", "its version")
        if version not in {2, 3}:
            hint = " (big-endian)" if version in {2 << 24, 3 << 24} else ""
            raise GgufError(f"{path} is GGUF version {version}{hint}; versions 2 and 3 can be read")
        reader.number("<Q", "its tensor count")
        keys = reader.number("<Q", "its key count")
        if keys > _MOST_KEYS:
            raise GgufError(f"{path} is damaged: it says that it has {keys} keys")
        return _header(_read_keys(reader, keys), path)


def describe_start(start: bytes) -> str:
    """Say what a file that should be GGUF is instead, from its first bytes: "begins with …"."""
    if not start:
        return "is empty"
    text = start.lstrip().lower()
    for beginnings, what in _OTHER_STARTS:
        if text.startswith(beginnings):
            return what
    if start[8:9] == b"{":
        return "begins as a safetensors file"
    return f"begins with {start[:8]!r} instead of {MAGIC!r}"


def _read_keys(reader: _Reader, count: int) -> dict[str, Value]:
    """Read keys up to the tokenizer, or past it where the model's own come later."""
    found: dict[str, Value] = {}
    for _ in range(count):
        key = reader.text("a key", _LONGEST_KEY_BYTES)
        if key == "tokenizer.ggml.tokens":
            found[key] = reader.array_length(key)
            if _is_complete(found):
                break
            reader.skip_array(key)
        else:
            found[key] = reader.value(key)
    return found


def _is_complete(found: Mapping[str, Value]) -> bool:
    architecture = found.get("general.architecture")
    needed = ("block_count", "embedding_length", "attention.head_count")
    return all(f"{architecture}.{key}" in found for key in needed)


def _header(found: Mapping[str, Value], path: Path) -> GgufHeader:
    architecture = found.get("general.architecture")
    if not isinstance(architecture, str):
        raise GgufError(f"{path} is damaged: it names no general.architecture")
    name = found.get("general.name")

    def numbers(key: str) -> int | tuple[int, ...] | None:
        value = found.get(f"{architecture}.{key}")
        return value if isinstance(value, int | tuple) else None

    def number(key: str) -> int | None:
        """Return the number; the largest of a list with one a layer."""
        value = numbers(key)
        return max(value, default=None) if isinstance(value, tuple) else value

    tokens, file_type = found.get("tokenizer.ggml.tokens"), found.get("general.file_type")
    return GgufHeader(
        architecture=architecture,
        name=name if isinstance(name, str) else None,
        block_count=number("block_count"),
        context_length=number("context_length"),
        embedding_length=number("embedding_length"),
        feed_forward_length=number("feed_forward_length"),
        head_count=numbers("attention.head_count"),
        head_count_kv=numbers("attention.head_count_kv"),
        key_length=number("attention.key_length"),
        value_length=number("attention.value_length"),
        kv_lora_rank=number("attention.kv_lora_rank"),
        shared_kv_layers=number("attention.shared_kv_layers"),
        sliding_window=number("attention.sliding_window"),
        sliding_window_pattern=numbers("attention.sliding_window_pattern"),
        key_length_swa=number("attention.key_length_swa"),
        value_length_swa=number("attention.value_length_swa"),
        expert_count=number("expert_count"),
        expert_used_count=number("expert_used_count"),
        expert_feed_forward_length=number("expert_feed_forward_length"),
        vocab_size=tokens if isinstance(tokens, int) else number("vocab_size"),
        file_type=file_type if isinstance(file_type, int) else None,
    )


class _Reader:
    """Reads values one after another; raises `GgufError` that says where a file ends too early."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = path.stat().st_size
        self._array = (0, 0)

    def start(self) -> bytes:
        """Return the first bytes, enough to name another format, and stand after the magic."""
        start = self._file.read(64)
        if start.startswith(MAGIC):
            self._file.seek(len(MAGIC))
            return MAGIC
        return start

    def number(self, layout: str, what: str) -> int:
        """Return one integer of `struct` layout `layout`."""
        return int(self._unpack(layout, what))

    def text(self, what: str, most_bytes: int = _LONGEST_TEXT_BYTES) -> str:
        """Return a string: its length in bytes (u64), then UTF-8."""
        length = self.number("<Q", what)
        if length > most_bytes:
            raise GgufError(f"{self._path} is damaged: {what} says that it has {length} bytes")
        return self._take(length, what).decode("utf-8", errors="replace")

    def value(self, key: str) -> Value:
        """Return the value of `key`; None for a list that is not numbers, one a layer."""
        kind = self.number("<I", key)
        if kind == _STRING:
            return self.text(key)
        if kind == _ARRAY:
            return self._list(key)
        return self._unpack(self._layout(kind, key), key)

    def array_length(self, key: str) -> int:
        """Return how many elements the array `key` has, and stand before the first."""
        kind = self.number("<I", key)
        if kind != _ARRAY:
            raise GgufError(f"{self._path} is damaged: {key} is no array but of type {kind}")
        self._array = (self.number("<I", key), self.number("<Q", key))
        return self._array[1]

    def skip_array(self, key: str) -> None:
        """Go past the array whose length was read last."""
        kind, length = self._array
        self._skip(kind, length, key)

    def _list(self, key: str) -> tuple[int, ...] | None:
        kind, length = self.number("<I", key), self.number("<Q", key)
        if kind not in _SCALARS or length > _LONGEST_LIST_KEPT:
            self._skip(kind, length, key)
            return None
        layout = self._layout(kind, key)
        values = [self._unpack(layout, key) for _ in range(length)]
        return tuple(int(value) for value in values) if layout not in {"<f", "<d"} else None

    def _skip(self, kind: int, length: int, key: str) -> None:
        if kind in _SCALARS:
            self._move(length * struct.calcsize(_SCALARS[kind]), key)
        elif kind == _STRING:
            # Each string takes bytes of the file, so a length that lies ends in a GgufError.
            for _ in range(length):
                self._move(self.number("<Q", key), key)
        else:
            raise self._unknown(kind, key)

    def _layout(self, kind: int, key: str) -> str:
        if kind not in _SCALARS:
            raise self._unknown(kind, key)
        return _SCALARS[kind]

    def _unpack(self, layout: str, what: str) -> int | float | bool:
        value: int | float | bool = struct.unpack(
            layout, self._take(struct.calcsize(layout), what)
        )[0]
        return value

    def _move(self, count: int, what: str) -> None:
        if self._file.tell() + count > self._size:
            raise self._cut_off(what)
        self._file.seek(count, 1)

    def _take(self, count: int, what: str) -> bytes:
        taken = self._file.read(count)
        if len(taken) != count:
            raise self._cut_off(what)
        return taken

    def _unknown(self, kind: int, key: str) -> GgufError:
        return GgufError(f"{self._path} is damaged: {key} is of a type {kind} that can't be read")

    def _cut_off(self, what: str) -> GgufError:
        return GgufError(
            f"{self._path} is cut off: its {self._size} bytes end in the middle of {what}"
        )
