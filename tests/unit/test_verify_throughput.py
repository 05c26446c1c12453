"""Streamed chats, one and several at once, from endpoints that break them."""

import threading
from collections.abc import Iterator

import pytest
from fake_endpoint import (
    WORDS,
    Exchange,
    FakeEndpoint,
    chat_events,
    chunk,
    data_event,
    verified,
)

from scripts.verify.outcome import ExitStatus

KEY = "sk-0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def test_a_stream_in_one_chunk_fails(endpoint: FakeEndpoint):
    events = chat_events("fake-model", words=("all at once",))
    endpoint.on_chats("stream", lambda e: e.events(*events))
    assert verified(endpoint).failed_at("chat_stream") == "1 chunk"


def test_a_stream_with_comments_and_crlf_passes(endpoint: FakeEndpoint):
    events = [b": ping\r\n\r\n"]
    events += [event.replace(b"\n", b"\r\n") for event in chat_events("fake-model")]
    endpoint.on_chats("stream", lambda e: e.events(*events))
    assert verified(endpoint).verdict.exit_status == ExitStatus.PASSED


def test_a_stream_of_reasoning_passes_and_says_so(endpoint: FakeEndpoint):
    events = chat_events("fake-model", field="reasoning_content")
    endpoint.on_chats("stream", lambda e: e.events(*events))
    result = verified(endpoint)
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert "4 of them reasoning" in (result.check("chat_stream").seen or "")


@pytest.mark.parametrize(
    ("events", "seen"),
    [
        (chat_events("fake-model")[:-1], "its end without [DONE], after 4 chunks"),
        (chat_events("fake-model")[:3], "its end without [DONE], after 2 chunks"),
        ([*chat_events("fake-model")[:3], b"data: [DONE]\n\n"], "its end without a finish_reason"),
        ([data_event({"error": {"message": "no memory"}})], "an error after 0 chunks: no memory"),
        ([b"<html>"], "its end without [DONE], after 0 chunks"),
        (chat_events("old-model"), "answers by old-model"),
    ],
)
def test_a_broken_stream_fails(endpoint: FakeEndpoint, events: list[bytes], seen: str):
    endpoint.on_chats("stream", lambda e: e.events(*events))
    assert verified(endpoint).failed_at("chat_stream").startswith(seen)


def test_a_stream_that_is_cut_off_says_how_far_it_came(endpoint: FakeEndpoint):
    def cut(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Type": "text/event-stream", "Content-Length": "100000"})
        for event in chat_events("fake-model")[:3]:
            exchange.write(event)
        exchange.reset()

    endpoint.on_chats("stream", cut)
    seen = verified(endpoint).failed_at("chat_stream")
    assert seen == "the connection was cut off: 2 chunks had come"


def test_a_stream_that_stalls_says_how_far_it_came(endpoint: FakeEndpoint):
    def stall(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Type": "text/event-stream"})
        for event in chat_events("fake-model")[:3]:
            exchange.write(event)
        exchange.hang()

    endpoint.on_chats("stream", stall)
    seen = verified(endpoint, check_seconds=0.3).failed_at("chat_stream")
    assert "2 chunks had come" in seen


def test_a_stream_that_drips_forever_ends_at_the_checks_deadline(endpoint: FakeEndpoint):
    def drip(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Type": "text/event-stream"})
        while not exchange.endpoint.closing.wait(0.02):
            exchange.write(data_event(chunk("fake-model", {"content": "and "})))

    endpoint.on_chats("stream", drip)
    result = verified(endpoint, check_seconds=0.4)
    assert "chunks had come when the time was up" in result.failed_at("chat_stream")
    assert result.failed.expected == "an end within 0.4 s"


def test_the_streams_run_at_once(endpoint: FakeEndpoint):
    together = threading.Barrier(4, timeout=20)
    streams = iter(range(100))

    def meet(exchange: Exchange) -> None:
        if next(streams) > 0:  # the first is chat_stream's
            together.wait()
        endpoint.behave(exchange)

    endpoint.on_chats("stream", meet)
    result = verified(endpoint, concurrency=4, check_seconds=30.0)
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr


def test_one_stream_of_several_that_is_cut_off_fails_them(endpoint: FakeEndpoint):
    streams = iter(range(100))

    def second_fails(exchange: Exchange) -> None:
        if next(streams) == 2:
            exchange.events(*chat_events("fake-model")[:3], b"data: [DONE]\n\n")
        else:
            endpoint.behave(exchange)

    endpoint.on_chats("stream", second_fails)
    seen = verified(endpoint).failed_at("concurrency")
    assert seen.endswith("its end without a finish_reason, after 2 chunks")


def test_a_stream_without_text_among_several_fails_them(endpoint: FakeEndpoint):
    streams = iter(range(100))

    def one_is_empty(exchange: Exchange) -> None:
        words = () if next(streams) == 1 else WORDS
        exchange.events(*chat_events("fake-model", words=words))

    endpoint.on_chats("stream", one_is_empty)
    assert verified(endpoint).failed_at("concurrency").endswith("an end without text")


def test_streams_slower_than_the_minimum_fail(endpoint: FakeEndpoint):
    result = verified(endpoint, minimum_tokens_per_second=1e9)
    assert "tokens/s from the slowest" in result.failed_at("concurrency")
    assert result.receipt.concurrency is not None
    assert result.receipt.concurrency.streams == 3


def test_a_stream_in_one_burst_is_held_to_the_minimum_by_its_whole_time(endpoint: FakeEndpoint):
    whole = b"".join(chat_events("fake-model"))
    endpoint.on_chats("stream", lambda e: e.events(whole))
    result = verified(endpoint, minimum_tokens_per_second=1e9)
    assert "tokens/s from the slowest" in result.failed_at("concurrency")


def test_streams_faster_than_the_minimum_pass(endpoint: FakeEndpoint):
    result = verified(endpoint, minimum_tokens_per_second=0.001)
    assert result.verdict.exit_status == ExitStatus.PASSED
