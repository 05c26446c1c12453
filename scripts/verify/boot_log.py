"""What a machine says of its boot on its console: `llm-endpoint: {…}` among everything else."""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from scripts.verify.shape import Json, dig, dig_text, excerpt

STATES = ("running", "done", "retrying", "failed")
TAIL_LINES = 20
_LINE_CHARACTERS = 300
_MESSAGE_CHARACTERS = 300
_PENDING_CHARACTERS = 64 * 1024

_MARK = re.compile(r"llm-endpoint: (?=\{)")
# The first line of a kernel: what stood before is another boot's.
_KERNEL_STARTS = re.compile(r"\[ +0\.000000\] Linux version ")


@dataclass(frozen=True)
class StageRecord:
    """What one stage of a boot said last.

    `state` is one of `STATES`, `boot` tells one boot from another, `log` are the last lines of
    what failed. `time` is None where it was none.
    """

    stage: str
    state: str
    message: str
    boot: str = ""
    time: datetime | None = None
    log: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The record in a few words, such as `model: 1.2 of 4.1 GB`."""
        what = self.message or self.state
        if self.state in ("done", "retrying", "failed") and self.message:
            what = f"{self.state}, {self.message}"
        return f"{self.stage}: {what}"


def parse_record(value: Json) -> StageRecord | None:
    """Return the record in a JSON value; None where it is none."""
    stage, state = dig_text(value, "stage"), dig_text(value, "state")
    if not stage or state not in STATES:
        return None
    log = dig(value, "log")
    lines = [line for line in log if isinstance(line, str)] if isinstance(log, list) else []
    return StageRecord(
        stage=excerpt(stage, 40),
        state=state,
        message=excerpt(dig_text(value, "message"), _MESSAGE_CHARACTERS),
        boot=dig_text(value, "boot"),
        time=_time(dig_text(value, "time")),
        log=tuple(excerpt(line, _LINE_CHARACTERS) for line in lines[-TAIL_LINES:]),
    )


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


@dataclass
class BootLog:
    """A console's text as it comes in, piece by piece: the newest boot's stages, the last lines.

    Noise is let pass: kernel messages before, after and inside of a record, cut lines, CR LF.
    Records from before `since` are an earlier boot's.
    """

    since: datetime | None = None
    stages: dict[str, StageRecord] = field(default_factory=dict[str, StageRecord])
    _boot: str | None = None
    _pending: str = ""
    _tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that say something."""
        return tuple(self._tail)

    def feed(self, text: str) -> None:
        """Take the text that came since; a line counts once its end has come."""
        *lines, self._pending = re.split(r"[\r\n]+", self._pending + text)
        self._pending = self._pending[-_PENDING_CHARACTERS:]
        for line in lines:
            self._take(line)

    def clear(self) -> None:
        """Forget everything: another machine's console begins."""
        self.stages.clear()
        self._tail.clear()
        self._boot, self._pending = None, ""

    def _take(self, line: str) -> None:
        if shown := excerpt(line, _LINE_CHARACTERS):
            self._tail.append(shown)
        if _KERNEL_STARTS.search(line):
            self.stages.clear()
            self._boot = None
        for mark in _MARK.finditer(line):
            try:
                value: Json = json.JSONDecoder().raw_decode(line, mark.end())[0]
            except (ValueError, RecursionError):
                continue
            if (record := parse_record(value)) is not None:
                self._keep(record)

    def _keep(self, record: StageRecord) -> None:
        if self.since is not None and record.time is not None and record.time < self.since:
            return
        if record.boot != self._boot:
            self._boot = record.boot
            self.stages.clear()
        self.stages.pop(record.stage, None)  # so that the newest is the last
        self.stages[record.stage] = record
