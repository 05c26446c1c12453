"""Streams, one and several at once: do all come to their end, and how fast."""

from __future__ import annotations

import time

from scripts.verify.bounds import Deadline, Task
from scripts.verify.client import Client
from scripts.verify.context import Context
from scripts.verify.outcome import Failure
from scripts.verify.receipt import Concurrency
from scripts.verify.streaming import ChatStream, read_chat

STREAM_TOKENS = 64
_PROMPT = "Write the numbers from one to thirty in words."
_CHAT_PATH = "/v1/chat/completions"


def stream_chat(context: Context, client: Client, deadline: Deadline) -> ChatStream:
    """Stream one chat through `client` and return what came. Raises `Failure`."""
    body = context.chat(
        _PROMPT, STREAM_TOKENS, stream=True, stream_options={"include_usage": True}
    )

    def note(text: str) -> None:
        deadline.note = text

    began = time.perf_counter()
    with client.stream(_CHAT_PATH, body, deadline) as data:
        return read_chat(data, quote=client.quote, note=note, began=began)


def concurrency(context: Context, deadline: Deadline) -> str:
    """N streams at once all come to their end with text, none slower than the stated minimum.

    A stream that came in one piece has no rate of its own; it is held to the minimum by its
    tokens over its whole time.
    """
    count = context.options.concurrency
    began = time.perf_counter()
    tasks: list[Task[tuple[ChatStream, float]]] = []
    for _ in range(count):
        client = context.client.copy(key=context.client.key)
        own = Deadline(deadline.remaining())
        tasks.append(Task(own, _timed(context, client, own)))
    streams: list[ChatStream] = []
    slowest: float | None = None
    ends: list[float] = []
    for number, task in enumerate(tasks, start=1):
        stream, seconds = _result(task, number, count)
        streams.append(stream)
        ends.append(seconds)
        rate = stream.tokens_per_second or stream.tokens / max(seconds, 1e-6)
        slowest = rate if slowest is None else min(slowest, rate)
    total = sum(stream.tokens for stream in streams) / max(time.perf_counter() - began, 1e-6)
    raise NotImplementedError


