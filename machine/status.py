"""What the machine is at: one record a stage, in a file and on the console."""

from __future__ import annotations

import json
import os
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, cast

from machine.files import write_whole

STAGES = (
    "packages",
    "disk",
    "tools",
    "caddy",
    "engine",
    "gpu",
    "keys",
    "model",
    "server",
    "gateway",
    "ready",
)
"""All stages in the order in which a boot is told; the last one is the whole endpoint."""

ONLY_WITH_GPUS = frozenset({"gpu"})
"""Stages that a machine without GPUs does not have."""

CONSOLE_PREFIX = "llm-endpoint: "

_PROGRESS_SECONDS = 10.0
_CONSOLE_SECONDS = 2.0
_MOST_LOG_LINES = 20
_MOST_LOG_BYTES = 4096
_MOST_MESSAGE_CHARACTERS = 2000


class State(StrEnum):
    """How far a stage is. `RETRYING` failed and is started again by itself."""

    RUNNING = "running"
    DONE = "done"
    RETRYING = "retrying"
    FAILED = "failed"


@dataclass(frozen=True)
class Record:
    """What is known of one stage.

    `time` is ISO 8601 in UTC, `boot` begins the kernel's boot id. `log` is the end of a log where
    something failed. `unforeseen` counts the tries in a row that ended in an error that no stage
    knows.
    """

    stage: str
    state: State
    message: str
    time: str
    boot: str
    log: tuple[str, ...] = ()
    unforeseen: int = 0

    def as_json(self) -> str:
        """Return the record as one line of JSON."""
        content = asdict(self)
        if not self.log:
            del content["log"]
        if not self.unforeseen:
            del content["unforeseen"]
        return json.dumps(content)


@dataclass(frozen=True)
class Summary:
    """The machine in one line: `stage` is the one that it is at, or that failed."""

    status: Literal["ok", "starting", "failed"]
    stage: str
    message: str


class Reporter(ABC):
    """What takes the reports of stages, and has each kept as a record."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._said: dict[str, tuple[State, float]] = {}

    def report(
        self,
        stage: str,
        state: State,
        message: str,
        log: Sequence[str] = (),
        *,
        unforeseen: int = 0,
    ) -> bool:
        """Say that `stage` is in `state` now; returns whether it was said.

        Progress, a further `RUNNING` from this process, is said at most every 10 s. `log` keeps
        its last 20 lines and 4 KB.
        """
        now = self._monotonic()
        last = self._said.get(stage)
        if (
            state is State.RUNNING
            and last is not None
            and last[0] is State.RUNNING
            and now - last[1] < _PROGRESS_SECONDS
        ):
            return False
        self._said[stage] = (state, now)
        when = datetime.fromtimestamp(self._clock(), UTC)
        record = Record(
            stage=stage,
            state=state,
            message=_shortened(message),
            time=when.isoformat(timespec="seconds").replace("+00:00", "Z"),
            boot=self._boot(),
            log=_end_of(log),
            unforeseen=unforeseen,
        )
        self._keep(record)
        return True

    @abstractmethod
    def _keep(self, record: Record) -> None: ...

    def _boot(self) -> str:
        """Return what tells this boot from another; "" where nothing does."""
        return ""


class Status(Reporter):
    """The records below `run_dir`/status, and the console that each change is told to."""

    def __init__(
        self,
        run_dir: Path,
        console: Path = Path("/dev/console"),
        *,
        boot_id: Path = Path("/proc/sys/kernel/random/boot_id"),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock, monotonic)
        self._folder = run_dir / "status"
        self._console = console
        self._boot_id = boot_id

    def _keep(self, record: Record) -> None:
        write_whole(self._folder / f"{record.stage}.json", record.as_json() + "\n")
        tell(self._console, record)

    def read(self, stage: str) -> Record | None:
        """Return the last record of `stage`; None where there is none that can be read."""
        try:
            return parse_record((self._folder / f"{stage}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def read_all(self) -> dict[str, Record]:
        """Return the last record of each stage that has one, in the order of `STAGES`."""
        found = ((stage, self.read(stage)) for stage in STAGES)
        return {stage: record for stage, record in found if record is not None}

    def summary(self) -> Summary:
        """Return the machine in one line."""
        return summarise(self.read_all())

    def _boot(self) -> str:
        try:
            return self._boot_id.read_text(encoding="ascii").strip()[:8]
        except (OSError, ValueError):
            return ""


def console_line(record: Record) -> str:
    """Return the record as the console has it, without the line's end."""
    return f"{CONSOLE_PREFIX}{record.as_json()}"


def tell(console: Path, record: Record) -> bool:
    """Write the record to the console as one line; return whether it took it within 2 s.

    A console that is missing, as in a container, or stuck is no failure: the file counts.
    """
    left = memoryview(f"{console_line(record)}\n".encode())
    deadline = time.monotonic() + _CONSOLE_SECONDS
    try:
        terminal = os.open(console, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        while left and time.monotonic() < deadline:
            with suppress(BlockingIOError):
                left = left[os.write(terminal, left) :]
            if left:
                select.select([], [terminal], [], max(0.0, deadline - time.monotonic()))
    except OSError:
        return False
    finally:
        os.close(terminal)
    return not left


def summarise(records: dict[str, Record]) -> Summary:
    """Reduce the records to the one stage that matters most.

    A failed stage comes first, then `ready`, then one that is being retried, then the first one
    that is not done.
    """
    in_order = [(stage, records.get(stage)) for stage in STAGES]
    for stage, record in in_order:
        if record is not None and record.state is State.FAILED:
            return Summary("failed", stage, record.message)
    ready = records.get("ready")
    if ready is not None and ready.state is State.DONE:
        return Summary("ok", "ready", ready.message)
    for wanted in (State.RETRYING, State.RUNNING):
        for stage, record in in_order:
            if record is not None and record.state is wanted:
                return Summary("starting", stage, record.message)
    for stage, record in in_order:
        if record is None and stage in ONLY_WITH_GPUS:
            # It may not have this stage. Where it does, `server` waits for that.
            continue
        if record is None or record.state is not State.DONE:
            return Summary("starting", stage, "waits for its turn")
    return Summary("starting", "ready", "waits for its turn")


def parse_record(text: str) -> Record:
    """Read a record from its JSON; raises `ValueError` where it is none."""
    content: object = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("a status record is a JSON object")
    entries = cast("dict[str, object]", content)
    texts = [entries.get(name) for name in ("stage", "message", "time", "boot")]
    log, unforeseen = entries.get("log", []), entries.get("unforeseen", 0)
    if (
        not all(isinstance(each, str) for each in texts)
        or not isinstance(log, list)
        or not isinstance(unforeseen, int)
    ):
        raise ValueError("a status record has stage, state, message, time and boot, all texts")
    stage, message, when, boot = map(str, texts)
    state = State(str(entries.get("state")))
    lines = tuple(str(line) for line in cast("list[object]", log))
    return Record(stage, state, message, when, boot, lines, unforeseen)


def _shortened(message: str) -> str:
    if len(message) <= _MOST_MESSAGE_CHARACTERS:
        return message
    return message[: _MOST_MESSAGE_CHARACTERS - 1] + "…"


def _end_of(log: Sequence[str]) -> tuple[str, ...]:
    kept: list[str] = []
    room = _MOST_LOG_BYTES
    for line in reversed([line for line in log if line.strip()][-_MOST_LOG_LINES:]):
        encoded = line.encode(errors="replace")
        if len(encoded) > room:
            if not kept:
                kept.append(encoded[-room:].decode(errors="ignore"))
            break
        kept.append(line)
        room -= len(encoded)
    return tuple(reversed(kept))
