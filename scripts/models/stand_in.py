"""A tiny model with known answers, for where no real model can be had.

A GGUF file of the llama architecture with one layer, its weights set by hand. An engine loads,
tokenizes, templates, caches, samples and streams it like any other model; only what it says is
known: `ANSWER` to every plain chat, a call of an offered tool where tools are offered and no
tool has answered yet, and short valid JSON where a grammar asks for JSON.

How it works. The residual stream gives each token an axis of its own, plus a constant. The
output matrix is a Markov chain over those axes: each word of the answer names the next one.
Where the chain has nothing to say, or a grammar forbids it, a fixed order of preference decides,
in which whatever ends a JSON value comes first. Attention heads look for the tools marker
anywhere before, for the end of a tool's response at a fixed distance, and at the two tokens
before the current one; from these last the feed-forward network makes fingerprints of three
tokens in a row, so that pooled embeddings of texts are near where the texts share passages.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from scripts.models.stand_in_vocabulary import (
    ANSWER,
    CHAT_TEMPLATE,
    STAND_IN_ID,
    TEXT_START,
    TOOL_CALL_END,
    TOOL_CALL_START,
    TOOL_RESPONSE_DISTANCE,
    TOOL_RESPONSE_END,
    TOOLS,
    TURN_END,
    Vocabulary,
    answer_pieces,
    vocabulary,
)

__all__ = ["ANSWER", "STAND_IN_ID", "write_stand_in"]

Matrix = npt.NDArray[np.float32]

CONTEXT_TOKENS = 32768
WIDTH = 768
HEADS = 4
HEAD_WIDTH = 64
FINGERPRINTS = 144
NORM_EPSILON = 1e-6
# Large, so that the slowest pair of a head turns by three degrees over the whole context:
# what is written there is found at any distance.
ROTATION_BASE = 1e6

# The residual stream's axes: one for each token from 0 on, then these.
CONSTANT = 512
TOOLS_SEEN = 513
TOOL_ANSWERED = 514
AFTER_NEWLINE = 515
CODE_BITS = 48
PREVIOUS = 520
BEFORE_PREVIOUS = PREVIOUS + CODE_BITS
FINGERPRINT = WIDTH - FINGERPRINTS

# The attention heads. Heads that pass a token on pass a code of it: signs, of this height.
FIND_TOOLS, FIND_RESPONSE, FIND_PREVIOUS, FIND_BEFORE_PREVIOUS = range(HEADS)
SLOWEST_PAIR = HEAD_WIDTH - 2
ATTENTION = 16.0
CODE_BIT = 0.125

# RMS normalization divides by the root mean square over `WIDTH`. The sums of squares are known:
# a token's axis and the constant before attention, both codes more after it, and about 2 of
# fingerprints at the end.
BEFORE_ATTENTION = math.sqrt(WIDTH / 2)
BEFORE_FEED_FORWARD = math.sqrt(WIDTH / 3.5)
BEFORE_OUTPUT = math.sqrt(WIDTH / 5.5)
FINGERPRINT_HEIGHT = 0.2

# How much of each axis leaves the last normalization, and so enters an embedding.
TOKEN_SHARE = 0.35
CONSTANT_SHARE = 0.125

# Logits, in steps. One step is e^20 to one at temperature 1: what comes first is what is said.
STEP = 20.0
KNOWN = 30.0  # what the chain says next
CALL_AGAIN = 20.0
SECOND = 15.0  # where a grammar forbids that
CALL = 12.0
BEGIN = 6.0  # the answer's first word, wherever the chain has nothing to say
UNLIKELY = -100.0
LAST = -1000.0

# What a grammar gets where the chain has nothing to say: the end of the text, of the call, of the
# object, of the array; the next member only where none of these may come; then a short value.
_PREFERRED = (TURN_END, TOOL_CALL_END, *'}],:"1tnf[{-0')


def write_stand_in(path: Path, *, pools: bool = False) -> str:
    """Write the stand-in model to `path` and return its sha256 in hexadecimal.

    The bytes are the same on every run and platform. `pools` makes it an embeddings model, whose
    file says how the vectors of a text become one: by their mean. The file appears whole or not at
    all; its folder is made where it is missing. Raises `OSError` where it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        _write(part, vocabulary(), pools)
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return digest


def _write(path: Path, words: Vocabulary, pools: bool) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(f"llm-endpoint {STAND_IN_ID}")
    writer.add_description("Stands in for a real model: weights set by hand, known answers.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FINGERPRINTS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_rope_freq_base(ROTATION_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    if pools:
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.ids[TEXT_START])
    writer.add_eos_token_id(words.ids[TURN_END])
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, tensor in _tensors(words).items():
        writer.add_tensor(name, tensor)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _tensors(words: Vocabulary) -> dict[str, Matrix]:
    embedding = _zeros(len(words), WIDTH)
    embedding[:, : len(words)] = np.eye(len(words))
    embedding[:, CONSTANT] = 1
    unchanged = np.ones(WIDTH, dtype=np.float32)
    query, key, value, merge = _attention(words)
    gate, up, down = _feed_forward(words)
    return {
        "token_embd.weight": embedding,
        "blk.0.attn_norm.weight": unchanged,
        "blk.0.attn_q.weight": query,
        "blk.0.attn_k.weight": key,
        "blk.0.attn_v.weight": value,
        "blk.0.attn_output.weight": merge,
        "blk.0.ffn_norm.weight": unchanged,
        "blk.0.ffn_gate.weight": gate,
        "blk.0.ffn_up.weight": up,
        "blk.0.ffn_down.weight": down,
        "output_norm.weight": _output_shares(words),
        "output.weight": _output(words),
    }


def _zeros(rows: int, columns: int) -> Matrix:
    return np.zeros((rows, columns), dtype=np.float32)


def _signs(label: str, *shape: int) -> Matrix:
    """Return a fixed pattern of +1 and -1 that looks random and is the same everywhere."""
    count = math.prod(shape)
    seed = f"llm-endpoint {STAND_IN_ID}: {label}".encode()
    noise = np.frombuffer(hashlib.shake_256(seed).digest((count + 7) // 8), dtype=np.uint8)
    bits = np.unpackbits(noise)[:count].astype(np.float32)
    return (2 * bits - 1).reshape(shape)


def _token_codes(words: Vocabulary) -> Matrix:
    """Return a code of `CODE_BITS` signs for each token, by which heads pass tokens on."""
    return _signs("token codes", len(words), CODE_BITS)


def _attention(words: Vocabulary) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    query = _zeros(HEADS * HEAD_WIDTH, WIDTH)
    key = _zeros(HEADS * HEAD_WIDTH, WIDTH)
    value = _zeros(HEADS * HEAD_WIDTH, WIDTH)
    merge = _zeros(WIDTH, HEADS * HEAD_WIDTH)
    unit = 1 / BEFORE_ATTENTION

    slowest = FIND_TOOLS * HEAD_WIDTH + SLOWEST_PAIR
    query[slowest, CONSTANT] = ATTENTION * unit
    key[slowest, words.ids[TOOLS]] = 2 * ATTENTION * unit

    for head, distance in (
        (FIND_RESPONSE, TOOL_RESPONSE_DISTANCE),
        (FIND_PREVIOUS, 1),
        (FIND_BEFORE_PREVIOUS, 2),
    ):
        # Turned back by `distance`, the constant query meets the constant key best there.
        for pair in range(HEAD_WIDTH // 2):
            angle = distance * ROTATION_BASE ** (-2 * pair / HEAD_WIDTH)
            row = head * HEAD_WIDTH + 2 * pair
            # Rounded: the last bits of a cosine are the platform's own.
            query[row, CONSTANT] = round(ATTENTION * unit * math.cos(angle), 6)
            query[row + 1, CONSTANT] = -round(ATTENTION * unit * math.sin(angle), 6)
            key[row, CONSTANT] = ATTENTION * unit

    def carry(head: int, lane: int, axis: int) -> int:
        row = head * HEAD_WIDTH + lane
        merge[axis, row] = 1
        return row

    value[carry(FIND_TOOLS, 0, TOOLS_SEEN), words.ids[TOOLS]] = unit
    value[carry(FIND_RESPONSE, 0, TOOL_ANSWERED), words.ids[TOOL_RESPONSE_END]] = unit
    value[carry(FIND_PREVIOUS, CODE_BITS, AFTER_NEWLINE), words.ids["\n"]] = unit
    codes = _token_codes(words) * CODE_BIT * unit
    for bit in range(CODE_BITS):
        value[carry(FIND_PREVIOUS, bit, PREVIOUS + bit), : len(words)] = codes[:, bit]
        value[carry(FIND_BEFORE_PREVIOUS, bit, BEFORE_PREVIOUS + bit), : len(words)] = codes[:, bit]
    return query, key, value, merge


def _feed_forward(words: Vocabulary) -> tuple[Matrix, Matrix, Matrix]:
    """Return the weights that make fingerprints of three tokens in a row.

    Each hidden unit opens where its sign for this token and a bit of the previous token's code
    are both positive (a quarter of all pairs), and passes a bit of the code before that on.
    """
    gate = _zeros(FINGERPRINTS, WIDTH)
    up = _zeros(FINGERPRINTS, WIDTH)
    down = _zeros(WIDTH, FINGERPRINTS)
    opened = BEFORE_FEED_FORWARD
    gate[:, : len(words)] = _signs("gates", FINGERPRINTS, len(words)) / 2
    # Every text starts with it: it must not make texts alike.
    gate[:, words.ids[TEXT_START]] = -1
    flips = _signs("flips", FINGERPRINTS)
    for unit in range(FINGERPRINTS):
        bit = unit % CODE_BITS
        gate[unit, PREVIOUS + bit] = flips[unit] / (2 * CODE_BIT)
        up[unit, BEFORE_PREVIOUS + (bit + unit // CODE_BITS) % CODE_BITS] = 1 / CODE_BIT / opened
        down[FINGERPRINT + unit, unit] = FINGERPRINT_HEIGHT / opened
    return gate, up, down


def _output_shares(words: Vocabulary) -> Matrix:
    shares = np.zeros(WIDTH, dtype=np.float32)
    shares[:CONSTANT] = TOKEN_SHARE
    shares[words.ids[TEXT_START]] = 0
    shares[CONSTANT:PREVIOUS] = CONSTANT_SHARE
    shares[FINGERPRINT:] = 1
    return shares


def _output(words: Vocabulary) -> Matrix:
    """Return the output matrix: the order of preference on the constant, the chain on tokens."""
    ids = words.ids
    first, *_ = pieces = answer_pieces()
    preference = _preference(words, first)
    steps = _zeros(len(words), WIDTH)
    steps[:, CONSTANT] = preference

    def prefer(token: str, after: str, level: float) -> None:
        steps[ids[token], ids[after]] = level - preference[ids[token]]

    for piece, following in zip(pieces, (*pieces[1:], TURN_END), strict=True):
        prefer(following, piece, KNOWN)
        prefer('"', piece, SECOND)
    prefer(TURN_END, TOOL_CALL_END, KNOWN)
    # A JSON string says "stand-in"; shorter or longer where its schema wants it so.
    prefer(STAND_IN_ID, '"', KNOWN)
    prefer('"', '"', SECOND)
    prefer('"', STAND_IN_ID, KNOWN)
    prefer(STAND_IN_ID, STAND_IN_ID, SECOND)

    # A call begins where tools were seen and the current token is the newline that ends the
    # template's generation prompt, unless a tool's response came last.
    call = ids[TOOL_CALL_START]
    steps[call, TOOLS_SEEN] = UNLIKELY - LAST
    steps[call, ids["\n"]] = CALL - UNLIKELY
    steps[call, TOOL_ANSWERED] = 2 * LAST
    # Where a tool has answered and another call is required all the same, after the answer.
    steps[call, ids[pieces[-1]]] = CALL_AGAIN - UNLIKELY
    # The outermost object has a member, where it may: {} would say little.
    steps[ids['"'], AFTER_NEWLINE] = preference[ids["}"]] + 0.5 - preference[ids['"']]

    steps *= STEP / BEFORE_OUTPUT
    steps[:, :CONSTANT] /= TOKEN_SHARE
    steps[:, CONSTANT:PREVIOUS] /= CONSTANT_SHARE
    return steps


def _preference(words: Vocabulary, first: str) -> Matrix:
    """Return each token's level, in steps, where the chain has nothing to say: all different."""
    named = [words.ids[token] for token in _PREFERRED]
    visible = range(0x21, 0x7F)
    order: Iterable[int] = dict.fromkeys(
        (*named, *visible, *range(0x80, 0x100), 0x20, *range(0x80), *range(0x100, len(words)))
    )
    levels = np.zeros(len(words), dtype=np.float32)
    for place, token in enumerate(order):
        levels[token] = -place
    levels[words.ids[first]] = BEGIN
    levels[words.ids[TOOL_CALL_START]] = LAST
    return levels
