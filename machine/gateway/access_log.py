"""One line for each request: who, what, how long, how many tokens. Never a key, never a text."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from machine.gateway.tokens import Tokens


class End(StrEnum):
    """How a request ended."""

    COMPLETE = "complete"
    CLIENT_LEFT = "client left"
    SERVER_ENDED = "server ended"
    TIME_LIMIT = "time limit"
    STOPPED = "gateway stopped"
    FAULT = "fault"


CLIENT_LEFT_STATUS = 499
"""Logged where a client left before it was answered: no answer had a status."""


@dataclass
class Entry:
    """What is known of a request so far. `path` is None unless it is one that passes."""

    method: str
    path: str | None
    key: str | None = None
    status: int = CLIENT_LEFT_STATUS
    end: End = End.COMPLETE
    tokens: Tokens = field(default_factory=Tokens)
    _began_at: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)
    _first_byte: float | None = None

    def first_byte(self) -> None:
        """Note that the answer's body begins; later calls change nothing."""
        if self._first_byte is None:
            self._first_byte = time.monotonic()

    def line(self) -> str:
        """Return the entry as one line of JSON, durations counted until now."""
        return json.dumps(
            {
                "time": datetime.fromtimestamp(self._began_at, UTC)
                .isoformat(timespec="milliseconds")
                .replace("+00:00", "Z"),
                "key": self.key,
                "method": self.method,
                "path": self.path,
                "status": self.status,
                "end": self.end,
                "milliseconds": self._since(time.monotonic()),
                "first_byte_milliseconds": self._since(self._first_byte),
                "prompt_tokens": self.tokens.prompt,
                "completion_tokens": self.tokens.completion,
                "chunks": self.tokens.chunks,
            }
        )

    def _since(self, moment: float | None) -> int | None:
        return None if moment is None else round(1000 * (moment - self._began))
