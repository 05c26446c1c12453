"""Streamed chats, one and several at once: do all come to their end, and how fast."""

from __future__ import annotations

import time

from scripts.verify.bounds import Deadline, Task
from scripts.verify.client import CHAT_PATH, Client
from scripts.verify.context import Context
from scripts.verify.outcome import Failure
from scripts.verify.receipt import Concurrency
from scripts.verify.streaming import ChatStream, read_chat

STREAM_TOKENS = 64
_PROMPT = "Write the numbers from one to thirty in words."


def chat_stream(context: Context, deadline: Deadline) -> str:
    """A streamed chat comes in more than one chunk, ends as it should, and is timed."""
    stream = _stream_chat(context, context.client, deadline)
    context.hold_to_model(stream.models)
    if stream.chunks < 2:
        raise Failure(
            "a chat streamed in more than one chunk",
            stream.in_words(),
            "look whether the gateway gathers the answer before it passes it on (buffering)",
        )
    context.findings.time_to_first_token_seconds = _rounded(stream.first_seconds, 3)
    context.findings.tokens_per_second = _rounded(stream.tokens_per_second, 2)
    rate = stream.tokens_per_second
    return ", ".join(
        [
            stream.in_words(),
            "no usage" if stream.counted_tokens is None else f"{stream.counted_tokens} tokens",
            f"first after {stream.first_seconds or 0.0:.2f} s",
            "in one burst" if rate is None else f"{rate:.1f} tokens/s",
        ]
    )


def concurrency(context: Context, deadline: Deadline) -> str:
    """N streams at once all come to their end with text, none slower than the stated minimum.

    A stream that came in one burst has no rate of its own; it is held to the minimum by its
    tokens over its whole time.
    """
    count = context.options.concurrency
    began = time.perf_counter()
    tasks = [_start(context, deadline) for _ in range(count)]
    results = [_result(task, number, count) for number, task in enumerate(tasks, start=1)]
    streams = [stream for stream, _ in results]
    seconds = max(end for _, end in results) - began
    total = sum(stream.tokens for stream in streams) / seconds
    context.findings.concurrency = Concurrency(
        streams=count,
        tokens_per_second=tuple(_rounded(stream.tokens_per_second, 2) for stream in streams),
        total_tokens_per_second=round(total, 2),
    )
    slowest = min(
        stream.tokens_per_second or stream.tokens / (end - began) for stream, end in results
    )
    minimum = context.options.minimum_tokens_per_second
    if minimum is not None and slowest < minimum:
        raise Failure(
            f"at least {minimum:g} tokens/s from each of {count} streams at once",
            f"{slowest:.2f} tokens/s from the slowest, {total:.1f} in all",
            "look what else runs there; else take a faster machine, a smaller model or fewer slots",
        )
    return f"{count} streams, {slowest:.1f} tokens/s the slowest, {total:.1f} in all"


def _stream_chat(context: Context, client: Client, deadline: Deadline) -> ChatStream:
    body = context.chat(_PROMPT, STREAM_TOKENS, stream=True, stream_options={"include_usage": True})

    def note(text: str) -> None:
        deadline.note = text

    began = time.perf_counter()
    with client.stream(CHAT_PATH, body, deadline) as data:
        return read_chat(data, quote=client.quote, note=note, began=began)


def _start(context: Context, deadline: Deadline) -> Task[tuple[ChatStream, float]]:
    """Start one stream with a connection and a note of its own; it gives its end's time too."""
    client = context.client.copy(key=context.client.key)
    own = Deadline(deadline.remaining())

    def work() -> tuple[ChatStream, float]:
        return _stream_chat(context, client, own), time.perf_counter()

    return Task(own, work)


def _result(
    task: Task[tuple[ChatStream, float]], number: int, count: int
) -> tuple[ChatStream, float]:
    expected = f"{count} streams at once, all to their end with text"
    try:
        stream, end = task.result()
    except Failure as failure:
        raise Failure(expected, f"stream {number}: {failure.seen}", failure.next_step) from None
    if stream.chunks == 0:
        raise Failure(
            expected,
            f"stream {number}: an end without text",
            "look at the server's log, and whether it serves as many at once (slots)",
        )
    return stream, end


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
