"""GGUF heads, and what llama.cpp takes for a model: held to what it printed itself."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from components.models.gguf_header import GgufError, GgufHeader, read_header
from components.sizing.memory_fit import (
    KV_TYPE_BYTES,
    MemoryNeed,
    estimate,
    largest_context,
    refusal,
)
from scripts.models.stand_in import write_stand_in

MIB = 1024 * 1024
EIGHT_B = GgufHeader(
    "llama",
    block_count=32,
    context_length=131_072,
    embedding_length=4096,
    feed_forward_length=14_336,
    head_count=32,
    head_count_kv=8,
    vocab_size=128_256,
)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def number(name: str, value: int) -> bytes:
    return key(name, 4, struct.pack("<I", value))


def strings(name: str, values: list[str]) -> bytes:
    return key(name, 9, struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values)))


def numbers(name: str, values: list[int]) -> bytes:
    return key(name, 9, struct.pack(f"<IQ{len(values)}i", 5, len(values), *values))


def write(path: Path, *keys: bytes, version: int = 3, count: int | None = None) -> Path:
    head = struct.pack("<4sIQQ", b"GGUF", version, 0, len(keys) if count is None else count)
    path.write_bytes(head + b"".join(keys))
    return path


ARCHITECTURE = key("general.architecture", 8, text("llama"))
ESSENTIALS = (
    ARCHITECTURE,
    number("llama.block_count", 2),
    number("llama.embedding_length", 64),
    number("llama.attention.head_count", 4),
)


def test_the_stand_in_is_read_as_it_was_written(tmp_path: Path):
    write_stand_in(tmp_path / "m.gguf")
    header = read_header(tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")

    def said(name: str) -> Any:
        field = reader.get_field(name)
        assert field is not None
        return field.contents()

    assert header.architecture == said("general.architecture")
    assert header.name == said("general.name")
    assert header.block_count == said("llama.block_count")
    assert header.context_length == said("llama.context_length")
    assert header.embedding_length == said("llama.embedding_length")
    assert header.head_count_kv == said("llama.attention.head_count_kv")
    assert header.key_length == said("llama.attention.key_length")
    assert header.vocab_size == len(said("tokenizer.ggml.tokens"))
    assert header.file_type == said("general.file_type")


def test_another_writers_file_is_read(tmp_path: Path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma3")
    writer.add_name("Größe")
    writer.add_block_count(3)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv([1, 2, 0])
    writer.add_sliding_window(512)
    writer.add_sliding_window_pattern([True, False, True])
    writer.add_rope_freq_base(1e6)
    writer.add_expert_count(8)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("t", np.zeros(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(tmp_path / "m.gguf")
    assert (header.name, header.head_count_kv) == ("Größe", (1, 2, 0))
    assert header.sliding_window_pattern == (1, 0, 1)
    assert (header.sliding_window, header.expert_count, header.vocab_size) == (512, 8, 3)
    assert header.context_length is None


def test_what_follows_the_tokenizer_is_not_read(tmp_path: Path):
    cut = strings("tokenizer.ggml.tokens", ["a"] * 10)[:-20]
    header = read_header(write(tmp_path / "m.gguf", *ESSENTIALS, cut))
    assert header.vocab_size == 10


def test_keys_of_the_model_after_the_tokenizer_are_found(tmp_path: Path):
    tokens = strings("tokenizer.ggml.tokens", ["a", "bc"])
    scores = numbers("tokenizer.ggml.token_type", [1] * 5000)
    path = write(tmp_path / "m.gguf", ARCHITECTURE, tokens, scores, *ESSENTIALS[1:])
    header = read_header(path)
    assert (header.block_count, header.embedding_length, header.vocab_size) == (2, 64, 2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"<html>", "begins as an HTML page"),
        (b"GGUF", "cut off: its 4 bytes end in the middle of its version"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "version 1"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 60), "it says that it has"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 0), "names no general.architecture"),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1 << 40), "a key says that it has"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("k", 77, b""), "k is of a type 77"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("k", 8, b"\1"), "in the middle of k"),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("k", 9, struct.pack("<IQ", 8, 1 << 60)),
            "in the middle of k",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("k", 9, struct.pack("<IQ", 9, 1)),
            "k is of a type 9",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + key("tokenizer.ggml.tokens", 8, text("a")),
            "no array but of type 8",
        ),
    ],
)
def test_a_file_that_is_not_whole_gguf_says_what_was_seen(
    tmp_path: Path, content: bytes, told: str
):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError) as caught:
        read_header(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_head_cut_at_any_byte_is_an_error_and_nothing_else(tmp_path: Path):
    path = write(tmp_path / "m.gguf", *ESSENTIALS, numbers("llama.x", [1, 2]))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(GgufError):
            read_header(path)


def shape(vocabulary: int, layers: int, width: int, heads: int, kv: int, inner: int) -> GgufHeader:
    return GgufHeader(
        "llama",
        block_count=layers,
        embedding_length=width,
        feed_forward_length=inner,
        head_count=heads,
        head_count_kv=kv,
        vocab_size=vocabulary,
        context_length=131_072,
    )


SMALL = shape(151_936, 24, 896, 14, 2, 4864)


@pytest.mark.parametrize(
    ("header", "context", "slots", "kv_type", "kv_mib", "compute_mib"),
    [
        (SMALL, 2048, 1, "f16", 24.0, 39.27),
        (SMALL, 8192, 1, "f16", 96.0, 45.27),
        (SMALL, 32_768, 1, "f16", 384.0, 69.27),
        (SMALL, 8192, 4, "f16", 96.0, 39.27),
        (SMALL, 8192, 4, "q8_0", 51.0, 39.30),
        (shape(128_256, 2, 4096, 32, 8, 14_336), 65_536, 1, "f16", 512.0, 188.02),
        (shape(32_000, 2, 4096, 32, 32, 4096), 65_536, 1, "f16", 2048.0, 120.02),
        (shape(32_000, 2, 512, 8, 8, 16_384), 4096, 1, "f16", 16.0, 105.02),
        (shape(262_144, 2, 1152, 4, 1, 6912), 65_536, 1, "f16", 144.0, 115.77),
        (shape(300, 2, 64, 2, 2, 128), 4096, 1, "f16", 2.0, 5.14),
    ],
)
def test_the_estimate_is_what_llama_cpp_printed(
    header: GgufHeader, context: int, slots: int, kv_type: str, kv_mib: float, compute_mib: float
):
    """ "KV buffer size" and "compute buffer size" in the log of xllamacpp 2026.10.11549."""
    need = estimate(header, 10**9, context, slots, kv_type)
    assert need.kv_cache == kv_mib * MIB
    assert 0.99 * compute_mib <= need.compute / MIB <= 1.2 * compute_mib + 1


def test_the_context_is_shared_by_the_slots():
    one, four = (estimate(EIGHT_B, 0, 32_768, slots, "f16") for slots in (1, 4))
    assert one.kv_cache == four.kv_cache == 4 * 1024**3


def test_no_context_is_the_models_own():
    assert estimate(EIGHT_B, 0, 0, 1, "f16").context_tokens == 131_072


def test_each_layer_counts_its_own_heads():
    by_layer = replace(EIGHT_B, head_count_kv=(8, 0) * 16)
    half = estimate(EIGHT_B, 0, 4096, 1, "f16").kv_cache / 2
    assert estimate(by_layer, 0, 4096, 1, "f16").kv_cache == half


@pytest.mark.parametrize(
    ("changes", "full_layers"),
    [
        ({"architecture": "gemma3"}, 5),
        ({"architecture": "gemma2"}, 16),
        ({"architecture": "gpt-oss"}, 16),
        ({"sliding_window_pattern": (1,) * 24 + (0,) * 8}, 8),
        ({"sliding_window_pattern": 4}, 8),
        ({}, 32),
    ],
)
def test_layers_with_a_window_keep_only_that(changes: dict[str, Any], full_layers: int):
    header = replace(EIGHT_B, sliding_window=1024, **changes)
    a_cell = 2 * 8 * 128 * 2
    cells = full_layers * 65_536 + (32 - full_layers) * (1024 + 512)
    assert estimate(header, 0, 65_536, 1, "f16").kv_cache == a_cell * cells


def test_latent_attention_keeps_no_values():
    header = replace(EIGHT_B, head_count_kv=1, key_length=576, value_length=512, kv_lora_rank=512)
    assert estimate(header, 0, 1024, 1, "f16").kv_cache == 32 * 1024 * 576 * 2


@pytest.mark.parametrize("kv_type", KV_TYPE_BYTES)
def test_each_cache_type_has_its_size(kv_type: str):
    kinds = gguf.GGML_QUANT_SIZES
    block, size = kinds[gguf.GGMLQuantizationType[kv_type.upper()]]
    assert KV_TYPE_BYTES[kv_type] == size / block


@pytest.mark.parametrize(
    ("context", "slots", "kv_type"), [(1024, 1, "q9"), (1024, 0, "f16"), (-1, 1, "f16")]
)
def test_what_can_not_be_reckoned_is_refused(context: int, slots: int, kv_type: str):
    with pytest.raises(ValueError, match="it takes"):
        estimate(EIGHT_B, 0, context, slots, kv_type)


def need(context: int = 32_768, slots: int = 4, kv_type: str = "f16") -> MemoryNeed:
    return estimate(EIGHT_B, 4_900_000_000, context, slots, kv_type)


def test_a_model_that_fits_is_not_refused():
    assert refusal(need(), need().total) is None


def test_a_refusal_has_all_the_numbers():
    message = refusal(need(), 8_000_000_000)
    assert message is not None
    for part in (
        "about 9.5 GB of memory, and 8.0 GB is free",
        "4.9 GB weights",
        "4.3 GB KV cache (f16, 4 slots of 8192 tokens)",
        "0.2 GB compute buffers",
        "0.2 GB for the process",
        "next: any of these would fit: context_tokens 5120;",
        "context_tokens 8192 with --cache-type-k q8_0 and --cache-type-v q8_0",
        "a file of 3.4 GB at most",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("available", "told"),
    [
        (5_600_000_000, "slots 1 with context_tokens"),
        (4_000_000_000, "a file of 3.5 GB at most, with slots 1 and context_tokens 1024"),
        (100_000_000, "take a smaller model, or a machine with more memory"),
    ],
)
def test_a_refusal_says_what_would_fit(available: int, told: str):
    message = refusal(need(), available)
    assert message is not None
    assert told in message


@pytest.mark.parametrize("slots", [1, 3, 4])
@pytest.mark.parametrize("available", [5_400_000_000, 6_100_000_000, 7_777_777_777])
def test_the_context_that_is_offered_fits_and_the_next_larger_does_not(slots: int, available: int):
    asked = need(context=8192 * slots, slots=slots)
    offered = largest_context(asked, available, "f16", slots)
    if offered is None:
        assert need(1024 * slots, slots).total > available
        return
    assert need(offered * slots, slots).total <= available
    assert offered == 8192 or need((offered + 256) * slots, slots).total > available
