"""How many tokens an answer took, read from the answer as it passes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import cast

_KEPT_BYTES = 64 * 1024
# In a text within the JSON, the quotes would be escaped.
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


@dataclass(frozen=True)
class Tokens:
    """What is known of an answer; `chunks` counts pieces of a stream that carry some of it."""

    prompt: int | None = None
    completion: int | None = None
    chunks: int | None = None


class TokenReader:
    """Reads the counts out of an answer that is fed to it in pieces, in bounded memory.

    They are the `usage` of a JSON answer or of an event in a stream; for a stream that has none,
    llama.cpp's `timings` in its last event.
    """

    def __init__(self, *, streamed: bool) -> None:
        self._streamed = streamed
        self._piece = _Ends()
        self._usage = Tokens()
        self._timings = Tokens()
        self._chunks = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the answer."""
        if not self._streamed:
            self._piece.add(data)
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._piece.add(line)
            self._read_line(self._piece.take())
        self._piece.add(rest)

    def tokens(self) -> Tokens:
        """Return what was counted so far."""
        if not self._streamed:
            return _usage_within(self._piece.text())
        known = self._usage if self._usage != Tokens() else self._timings
        return Tokens(known.prompt, known.completion, self._chunks)

    def _read_line(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        try:
            event: object = json.loads(value)
        except ValueError:
            # `[DONE]`, or too long to be kept whole.
            found = _usage_within(value)
            self._usage = found if found != Tokens() else self._usage
            return
        if not isinstance(event, dict):
            return
        entries = cast("dict[str, object]", event)
        self._chunks += _has_content(entries)
        usage = _counts(entries.get("usage"))
        if usage == Tokens():
            usage = _counts(_entries(entries.get("response")).get("usage"))
        self._usage = usage if usage != Tokens() else self._usage
        timings = _timing_counts(entries.get("timings"))
        self._timings = timings if timings != Tokens() else self._timings


class _Ends:
    """Bytes of which, where they are many, the first and the last 64 KiB are kept."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, data: bytes) -> None:
        room = _KEPT_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[room:][-_KEPT_BYTES:]
        del self._tail[:-_KEPT_BYTES]

    def text(self) -> bytes:
        return bytes(self._head + self._tail)

    def take(self) -> bytes:
        text = self.text()
        self._head.clear()
        self._tail.clear()
        return text


def _usage_within(text: bytes) -> Tokens:
    """Return the counts of the last `usage` in JSON that may lack its middle."""
    found = Tokens()
    for match in _USAGE.finditer(text):
        after = text[match.end() : match.end() + 4096].decode("utf-8", "replace")
        try:
            counts = _counts(cast("object", json.JSONDecoder().raw_decode(after)[0]))
        except ValueError:
            continue
        found = counts if counts != Tokens() else found
    return found


def _entries(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _number(entries: dict[str, object], *names: str) -> int | None:
    for name in names:
        value = entries.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _counts(usage: object) -> Tokens:
    """Return the counts of a `usage`, as either of OpenAI's APIs names them."""
    entries = _entries(usage)
    return Tokens(
        prompt=_number(entries, "prompt_tokens", "input_tokens"),
        completion=_number(entries, "completion_tokens", "output_tokens"),
    )


def _timing_counts(timings: object) -> Tokens:
    """Return the counts of llama.cpp's `timings`, which has apart what its cache still knew."""
    entries = _entries(timings)
    read, known = _number(entries, "prompt_n"), _number(entries, "cache_n")
    return Tokens(None if read is None else read + (known or 0), _number(entries, "predicted_n"))


def _has_content(event: dict[str, object]) -> bool:
    """Whether an event carries a part of the answer's text or of a call."""
    if str(event.get("type")).endswith(".delta"):
        return True
    choices = event.get("choices")
    for choice in cast("list[object]", choices) if isinstance(choices, list) else []:
        entries = _entries(choice)
        delta = _entries(entries.get("delta"))
        if entries.get("text") or any(
            delta.get(name) for name in ("content", "reasoning_content", "tool_calls")
        ):
            return True
    return False
