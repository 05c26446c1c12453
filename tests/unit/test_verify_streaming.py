"""Server-sent events and streamed chats, from bytes."""

import json

import pytest
from fake_endpoint import chat_events, chunk, data_event

from scripts.verify.outcome import Failure
from scripts.verify.streaming import ChatStream, EventParser, read_chat


def parse(*parts: bytes) -> list[str]:
    parser = EventParser()
    events = [event for part in parts for event in parser.feed(part)]
    return events + parser.close()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_may_end_in_any_of_three_ways(end: bytes):
    stream = end.join([b"data: one", b"", b"data: two", b"", b""])
    assert parse(stream) == ["one", "two"]
    assert parse(*(bytes([byte]) for byte in stream)) == ["one", "two"]


def test_a_line_end_split_over_two_reads_is_one():
    assert parse(b"data: one\r", b"\n\r", b"\ndata: two\r\n\r\n") == ["one", "two"]


def test_data_lines_of_one_event_are_joined():
    assert parse(b'data: {"a":\ndata: 1}\n\n') == ['{"a":\n1}']


def test_comments_and_other_fields_are_no_data():
    stream = b": ping\n\nevent: message\nid: 7\nretry: 10\ndata:tight\n: within\ndata:  wide\n\n"
    assert parse(stream) == ["tight\n wide"]


def test_an_event_without_data_is_none():
    assert parse(b"event: ping\n\n\n\ndata: x\n\n") == ["x"]


def test_a_character_split_over_two_reads_stays_whole():
    whole = "data: é\n\n".encode()
    assert parse(whole[:7], whole[7:]) == ["é"]


def test_a_byte_order_mark_is_passed_over():
    assert parse(b"\xef\xbb\xbfdata: x\n\n") == ["x"]


def test_the_last_event_counts_without_its_empty_line():
    assert parse(b"data: x\n\ndata: [DONE]") == ["x", "[DONE]"]


def read(*parts: bytes, times: list[float] | None = None) -> ChatStream:
    clock = iter(times) if times else iter(range(10_000))
    return read_chat(
        parts, quote=str, note=lambda _: None, began=0.0, clock=lambda: float(next(clock))
    )


def test_tokens_per_second_are_those_after_the_first_up_to_the_finish_reason():
    # role, four words, finish reason, usage
    times = [0.1, 0.5, 1.0, 1.5, 2.0, 2.5, 2.6]
    stream = read(*chat_events("m"), times=times)
    assert stream.first_seconds == 0.5
    assert stream.chunks == 4
    assert stream.tokens == 4
    assert stream.tokens_per_second == pytest.approx((4 - 1) / (2.5 - 0.5))


def test_usage_counts_the_tokens_where_it_comes():
    events = [
        *chat_events("m")[:-2],
        data_event({"usage": {"completion_tokens": 9}}),
        b"data: [DONE]\n\n",
    ]
    assert read(*events).tokens == 9


def test_without_usage_each_chunk_is_a_token():
    events = [event for event in chat_events("m") if b"usage" not in event]
    stream = read(*events)
    assert stream.counted_tokens is None
    assert stream.tokens == 4


def test_a_stream_in_one_burst_has_no_rate():
    stream = read(*chat_events("m"), times=[0.5 + n * 0.0001 for n in range(7)])
    assert stream.chunks == 4
    assert stream.tokens_per_second is None


def test_one_token_has_no_rate():
    stream = read(*chat_events("m", words=("one",)))
    assert stream.tokens_per_second is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_counts_as_chunks_of_its_own_kind(field: str):
    stream = read(*chat_events("m", field=field))
    assert (stream.answer_chunks, stream.reasoning_chunks) == (0, 4)
    assert "4 of them reasoning" in stream.in_words()


def test_what_follows_done_is_not_read():
    assert read(*chat_events("m"), b"data: nonsense\n\n").done


def test_a_stream_that_ends_without_done_failed():
    with pytest.raises(Failure) as caught:
        read(*chat_events("m")[:-1])
    assert "without [DONE], after 4 chunks" in caught.value.seen


def test_a_stream_that_is_done_without_a_finish_reason_was_cut_off():
    events = [event for event in chat_events("m") if b"stop" not in event]
    with pytest.raises(Failure) as caught:
        read(*events)
    assert "without a finish_reason" in caught.value.seen


@pytest.mark.parametrize("error", [{"message": "out of memory"}, "out of memory"])
def test_an_error_within_the_stream_fails_it(error: object):
    with pytest.raises(Failure) as caught:
        read(*chat_events("m")[:3], data_event({"error": error}))
    assert caught.value.seen == "an error after 2 chunks: out of memory"


@pytest.mark.parametrize("event", [b"data: <html>\n\n", b"data: [1]\n\n", b'data: {"a": \n\n'])
def test_an_event_that_is_no_object_fails_the_stream(event: bytes):
    with pytest.raises(Failure) as caught:
        read(chat_events("m")[1], event)
    assert caught.value.seen.startswith("after 1 chunk: ")


def test_deeply_nested_json_fails_the_stream_and_not_the_program():
    with pytest.raises(Failure):
        read(b"data: " + b"[" * 200_000 + b"\n\n")


def test_chunks_of_odd_shapes_are_no_text():
    odd = [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": []}]},
        chunk("m", {"content": 7}),
        {"usage": {"completion_tokens": "many"}},
    ]
    stream = read(*map(data_event, odd), *chat_events("m"))
    assert stream.chunks == 4
    assert json.dumps(sorted(stream.models)) == '["m"]'
