"""Tokens are counted as an answer passes."""

import json

import pytest

from machine.gateway.tokens import TokenReader, Tokens

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
TIMINGS = {"prompt_n": 5, "predicted_n": 3, "predicted_per_second": 9.5}


def event(content: object) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def chunk(text: str, **more: object) -> bytes:
    return event({"choices": [{"delta": {"content": text}}], **more})


def read(*pieces: bytes, streamed: bool = True) -> Tokens:
    reader = TokenReader(streamed=streamed)
    for piece in pieces:
        reader.feed(piece)
    return reader.tokens()


def test_the_usage_of_a_json_answer_is_read():
    answer = json.dumps({"choices": [{"message": {"content": "hi"}}], "usage": USAGE}).encode()
    assert read(answer, streamed=False) == Tokens(11, 7)
    assert read(*(answer[i : i + 1] for i in range(len(answer))), streamed=False) == Tokens(11, 7)


@pytest.mark.parametrize("first", [True, False])
def test_the_usage_of_a_long_json_answer_is_read_wherever_it_stands(first: bool):
    vectors = {"data": [0.123456789] * 200_000}
    usage = {"usage": {"prompt_tokens": 4, "total_tokens": 4}}
    answer = json.dumps({**usage, **vectors} if first else {**vectors, **usage}).encode()
    pieces = [answer[i : i + 65536] for i in range(0, len(answer), 65536)]
    assert read(*pieces, streamed=False) == Tokens(4, None)


def test_a_text_that_looks_like_a_usage_is_not_one():
    text = '"usage": {"prompt_tokens": 999, "completion_tokens": 999}'
    answer = json.dumps({"usage": USAGE, "choices": [{"message": {"content": text}}]}).encode()
    assert read(answer, streamed=False) == Tokens(11, 7)
    assert read(chunk(text)) == Tokens(None, None, 1)


def test_the_usage_in_a_streams_last_event_is_read():
    pieces = (chunk("a", usage=None), chunk("b"), event({"choices": [], "usage": USAGE}))
    assert read(*pieces, b"data: [DONE]\n\n") == Tokens(11, 7, 2)


def test_a_stream_is_read_however_it_is_cut():
    whole = chunk("grüße") + chunk("b", usage=USAGE).replace(b"\n", b"\r\n") + b"data: [DONE]\n\n"
    for size in (1, 2, 7, 1000):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        assert read(*pieces) == Tokens(11, 7, 2)


def test_a_stream_without_usage_goes_by_llama_cpps_timings():
    assert read(chunk("a"), event({"choices": [], "timings": TIMINGS})) == Tokens(5, 3, 1)
    cached = {**TIMINGS, "cache_n": 40}
    assert read(event({"choices": [], "timings": cached})) == Tokens(45, 3, 0)
    assert read(event({"timings": TIMINGS, "usage": USAGE})) == Tokens(11, 7, 0)


def test_a_stream_with_neither_has_its_pieces_counted():
    first = event({"choices": [{"delta": {"role": "assistant"}}]})
    last = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    legacy = event({"choices": [{"text": "c"}]})
    call = event({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]})
    pieces = (first, chunk("a"), legacy, call, last, b": comment\n\n", b"data: [DONE]\n\n")
    assert read(*pieces) == Tokens(None, None, 3)


def test_a_stream_of_the_responses_api_is_read():
    usage = {"input_tokens": 6, "output_tokens": 2}
    completed = {"type": "response.completed", "response": {"usage": usage}}
    delta = event({"type": "response.output_text.delta", "delta": "a"})
    assert read(b"event: x\n", delta, delta, event(completed)) == Tokens(6, 2, 2)


def test_an_event_of_any_length_is_read_in_bounded_memory():
    reader = TokenReader(streamed=True)
    reader.feed(b'data: {"choices": [{"delta": {"content": "')
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    assert len(reader._piece.text()) <= 2 * 65536
    reader.feed(b'"}}], "usage": ' + json.dumps(USAGE).encode() + b"}\n\n")
    reader.feed(chunk("a"))
    assert reader.tokens() == Tokens(11, 7, 2)


@pytest.mark.parametrize("piece", [b"data: []\n", b"data: 1\n", b'data: {"usage": 3}\n', b"\xff\n"])
def test_what_is_no_answer_of_ours_counts_nothing(piece: bytes):
    assert read(piece) == Tokens(None, None, 0)
    assert read(piece, streamed=False) == Tokens()
