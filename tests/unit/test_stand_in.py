"""The stand-in model's file: the same bytes everywhere, what it says of itself, whole or absent."""

import hashlib
from pathlib import Path

import gguf
import pytest

from scripts.models import stand_in
from scripts.models.stand_in import ANSWER, STAND_IN_ID, write_stand_in
from scripts.models.stand_in_vocabulary import (
    TURN_START,
    answer_pieces,
    byte_symbols,
    symbols,
    vocabulary,
)

# The same with numpy 1.26, 2.0, 2.4 and 2.5 on x86-64. Another value elsewhere means that the file
# is not reproducible there; changing the model changes it on purpose.
SHA256 = "c604f49096aedbd4f57d8f758f5eb375e42d6c8b627d49179637ad3ad3c1328c"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gguf.GGUFReader:
    path = tmp_path_factory.mktemp("model") / "stand-in.gguf"
    write_stand_in(path)
    return gguf.GGUFReader(path)


def field(model: gguf.GGUFReader, key: str):
    found = model.get_field(key)
    assert found is not None, f"no {key}"
    return found.contents()


def test_the_bytes_are_the_same_on_every_run_and_platform(tmp_path: Path):
    assert write_stand_in(tmp_path / "one.gguf") == SHA256
    assert write_stand_in(tmp_path / "модель два.gguf") == SHA256
    one, two = sorted(tmp_path.iterdir())
    assert one.read_bytes() == two.read_bytes()


def test_the_returned_digest_is_that_of_the_file(tmp_path: Path):
    path = tmp_path / "new folder" / "stand-in.gguf"
    digest = write_stand_in(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert 1e6 < path.stat().st_size < 10e6


def test_the_file_says_what_it_is(model: gguf.GGUFReader):
    assert field(model, "general.architecture") == "llama"
    assert field(model, "general.name") == f"llm-endpoint {STAND_IN_ID}"
    assert field(model, "general.license") == "Apache-2.0"


def test_only_an_embeddings_model_says_how_it_pools(model: gguf.GGUFReader, tmp_path: Path):
    write_stand_in(tmp_path / "embedder.gguf", pools=True)
    embedder = gguf.GGUFReader(tmp_path / "embedder.gguf")
    assert field(embedder, "llama.pooling_type") == gguf.PoolingType.MEAN
    assert model.get_field("llama.pooling_type") is None


def test_its_shape_is_there_for_whoever_computes_memory(model: gguf.GGUFReader):
    shape = {
        name: field(model, f"llama.{name}")
        for name in (
            "block_count",
            "context_length",
            "embedding_length",
            "attention.head_count",
            "attention.head_count_kv",
            "attention.key_length",
            "attention.value_length",
        )
    }
    assert shape == {
        "block_count": 1,
        "context_length": 32768,
        "embedding_length": 768,
        "attention.head_count": 4,
        "attention.head_count_kv": 4,
        "attention.key_length": 64,
        "attention.value_length": 64,
    }
    tensors = {tensor.name: tuple(tensor.data.shape) for tensor in model.tensors}
    assert tensors["token_embd.weight"] == (len(vocabulary()), shape["embedding_length"])
    assert tensors["blk.0.attn_k.weight"] == (4 * 64, shape["embedding_length"])


def test_every_byte_has_a_token_so_that_any_text_has(model: gguf.GGUFReader):
    tokens = field(model, "tokenizer.ggml.tokens")
    types = field(model, "tokenizer.ggml.token_type")
    assert len(tokens) == len(set(tokens)) == len(types) == len(vocabulary())
    assert tuple(tokens[:256]) == byte_symbols()
    assert set(types[:256]) == {gguf.TokenType.NORMAL}
    for text in ("Привет", "日本語 🎉", "\x00\r\n\t\xad\x7f", "naïve \u200b"):
        assert set(symbols(text)) <= set(tokens[:256])


def test_bytes_are_written_as_byte_level_bpe_writes_them():
    assert symbols("Hi there\n") == "HiĠthereĊ"
    assert symbols("é\x00\x7f") == "Ã©Āġ"
    assert len(set(byte_symbols())) == 256


def test_named_tokens_are_where_their_ids_point():
    words = vocabulary()
    assert words.tokens[words.ids[TURN_START]] == TURN_START
    assert words.tokens[words.ids[" stand-in"]] == "Ġstand-in"
    assert words.tokens[words.ids["\n"]] == "Ċ"


def test_every_merge_is_of_two_tokens_into_one():
    words = vocabulary()
    for merge in words.merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= set(words.tokens)


def test_every_token_has_an_axis_of_its_own():
    assert len(vocabulary()) <= stand_in.CONSTANT


def test_the_answer_is_a_chain_of_different_words():
    pieces = answer_pieces()
    assert "".join(pieces) == ANSWER
    assert len(set(pieces)) == len(pieces) > 5
    assert "stand-in" in ANSWER


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "stand-in.gguf"
    path.write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_stand_in(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "stand-in.gguf"
    path.write_bytes(b"old")
    assert write_stand_in(path) == SHA256
    assert list(tmp_path.iterdir()) == [path]
