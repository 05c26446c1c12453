"""Streamed chats: server-sent events taken apart, chunks counted and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scripts.verify.outcome import Failure
from scripts.verify.shape import Json, dig, dig_count, dig_text, parse_json

DONE = "[DONE]"
REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where engines put what a model thinks before it answers: no field of OpenAI's own."""

BURST_SECONDS = 0.005
"""A stream within this time came in one burst (a gateway gathered it, or the model is a toy): its
rate would be that of reading it here."""


class EventParser:
    """Takes server-sent events apart as their bytes come.

    After the HTML standard's "Server-sent events": lines end in CR, LF or CRLF, a line that
    begins with a colon is a comment, an event's `data` lines are joined by LF, and an empty line
    ends an event. Unlike there, `close` gives an event that the end of the stream cut short: it
    may be a `[DONE]`.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[str] = []
        self._skip_newline = False
        self._at_start = True

    def feed(self, data: bytes) -> list[str]:
        """Return the `data` of each event that `data` completes."""
        if self._skip_newline and data:
            data = data.removeprefix(b"\n")
            self._skip_newline = False
        self._buffer += data
        self._skip_newline = self._buffer.endswith(b"\r")
        lines = self._buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._buffer = lines.pop()
        return [event for line in lines if (event := self._line(line)) is not None]

    def close(self) -> list[str]:
        """Return the `data` of an event that has begun and not ended, if there is one."""
        events = [self._line(self._buffer), self._line(b"")]
        self._buffer = b""
        return [event for event in events if event is not None]

    def _line(self, line: bytes) -> str | None:
        """Take one line in; return the event's data when it ends one."""
        text = line.decode(errors="replace")
        if self._at_start:
            text = text.removeprefix("\ufeff")
            self._at_start = False
        if not text:
            event = "\n".join(self._data) if self._data else None
            self._data = []
            return event
        name, _, value = text.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return None


@dataclass
class ChatStream:
    """What came of one streamed chat.

    A chunk is one event with text in its delta: answer (`answer_chunks`) or reasoning
    (`reasoning_chunks`). Times are in seconds since the request began: to the first chunk, and to
    the finish reason.
    """

    answer_chunks: int = 0
    reasoning_chunks: int = 0
    first_seconds: float | None = None
    finish_seconds: float = 0.0
    finish_reason: str | None = None
    models: set[str] = field(default_factory=set[str])
    counted_tokens: int | None = None
    done: bool = False

    @property
    def chunks(self) -> int:
        """Chunks with text, of either kind."""
        return self.answer_chunks + self.reasoning_chunks

    @property
    def tokens(self) -> int:
        """Tokens as the server's `usage` counts them; without one, one a chunk."""
        return self.chunks if self.counted_tokens is None else self.counted_tokens

    @property
    def tokens_per_second(self) -> float | None:
        """The tokens after the first over the time from the first chunk to the finish reason.

        Up to the finish reason, not the last chunk, since `usage` also counts the token that
        ends an answer. None where that can't be measured: there is no second token, or all of
        them came within `BURST_SECONDS`.
        """
        if self.first_seconds is None or self.tokens < 2:
            return None
        seconds = self.finish_seconds - self.first_seconds
        return (self.tokens - 1) / seconds if seconds > BURST_SECONDS else None

    def in_words(self) -> str:
        """How far it came."""
        thinking = f", {self.reasoning_chunks} of them reasoning" if self.reasoning_chunks else ""
        return f"{self.chunks} chunk{'' if self.chunks == 1 else 's'}{thinking}"

    def take(self, chunk: Json, seconds: float) -> None:
        """Take in one chunk that came `seconds` after the request began."""
        if model := dig_text(chunk, "model"):
            self.models.add(model)
        tokens = dig_count(chunk, "usage", "completion_tokens")
        if tokens:
            self.counted_tokens = tokens
        if finish_reason := dig_text(chunk, "choices", 0, "finish_reason"):
            self.finish_reason = finish_reason
            self.finish_seconds = seconds
        delta = dig(chunk, "choices", 0, "delta")
        answer = bool(dig_text(delta, "content"))
        reasoning = any(dig_text(delta, name) for name in REASONING_FIELDS)
        if answer or reasoning:
            self.answer_chunks += answer
            self.reasoning_chunks += not answer
            if self.first_seconds is None:
                self.first_seconds = seconds


def read_chat(
    data: Iterable[bytes],
    *,
    quote: Callable[[str], str],
    note: Callable[[str], None],
    began: float,
    clock: Callable[[], float] = time.perf_counter,
) -> ChatStream:
    """Return the chat that streams in as `data`, read up to its `[DONE]`.

    `quote` makes a server's text fit for a message, `note` is told how far it has come, `began`
    is what `clock` said when the request began. Raises `Failure` where the stream is no chat's,
    holds an error, or ends before a finish reason and `[DONE]`.
    """
    parser = EventParser()
    stream = ChatStream()

    def take(events: list[str]) -> bool:
        for event in events:
            if event.strip() == DONE:
                stream.done = True
                break
            stream.take(_chunk(event, stream, quote), clock() - began)
            note(f"{stream.in_words()} had come")
        return stream.done

    if not any(take(parser.feed(part)) for part in data):
        take(parser.close())
    if not stream.done or stream.finish_reason is None:
        missing = "a finish_reason" if stream.done else "[DONE]"
        raise Failure(
            f"a stream with a finish_reason and then {DONE}",
            f"its end without {missing}, after {stream.in_words()}",
            "look at the server's log, and whether it or the gateway ends streams early (a time "
            "limit, or another request)",
        )
    return stream


def _chunk(event: str, stream: ChatStream, quote: Callable[[str], str]) -> Json:
    """Return the JSON object in one event. Raises `Failure` where it is an error or no object."""
    try:
        chunk = parse_json(event)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise Failure(
            "JSON objects as the stream's events",
            f"after {stream.in_words()}: {quote(event)}",
            "look whether the gateway changes or cuts what streams through it",
        )
    error = chunk.get("error")
    if error:
        message = dig_text(error, "message") or (error if isinstance(error, str) else event)
        raise Failure(
            "a stream without errors",
            f"an error after {stream.in_words()}: {quote(message)}",
            "look at the server's log",
        )
    return chunk
