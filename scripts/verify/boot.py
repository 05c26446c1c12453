"""Watches a machine boot while its endpoint is waited for: stages as they change, early failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.verify.boot_log import BootLog, StageRecord, parse_record
from scripts.verify.bounds import Deadline, Task
from scripts.verify.console import Console, ConsoleError, Machine, Piece
from scripts.verify.outcome import Failure
from scripts.verify.shape import Json, dig_text, excerpt

POLL_SECONDS = 3.0
READ_SECONDS = 60.0
"""What one reading of a console may take in all, its first credentials included."""
PATIENCE_SECONDS = 5.0
"""How long a reading is waited for; a slower one goes on while the endpoint is asked."""
LAST_STAGES = frozenset({"server", "gateway"})
"""The stages after which the endpoint serves: the model is loaded, and the gateway answers."""

WHOLE = "ready"
"""The stage that stands for all of them."""


@dataclass
class Boot:
    """The boot of the machine behind the endpoint, as its console and its gateway tell it.

    Without a `console` only the gateway does, once it answers. `report` gets each change once.
    A console that can't be read is said to be that, once, and fails nothing. `stack` is named in
    the next steps, and `subject` is what is watched.
    """

    report: Callable[[str], None]
    scrub: Callable[[str], str]
    console: Console | None = None
    stack: str | None = None
    clock: Callable[[], float] = time.monotonic
    subject: str = "the machine's boot"
    _log: BootLog = field(default_factory=BootLog)
    _machine: Machine | None = None
    _gateway: StageRecord | None = None
    _reading: Task[tuple[Machine | None, Piece]] | None = None
    _asked: float | None = None
    _complaints: set[str] = field(default_factory=set[str])
    _shown: dict[str, str] = field(default_factory=dict[str, str])

    def failure(self) -> Failure | None:
        """Look, at most every few seconds; return why waiting on is useless, or None."""
        self._poll()
        for record in self._stages():
            self._show(record.stage, record.shown)
        machine = self._machine
        if machine is not None and machine.is_stopped:
            return self._stopped(machine)
        for record in self._log.stages.values():
            if record.state == "failed":
                return self._failed(record)
        return None

    def hear(self, body: Json) -> str | None:
        """Take what the gateway's health page says; return the stage in a few words.

        None where the page is not our gateway's. Raises `Failure` where the stage has failed.
        """
        status = dig_text(body, "status")
        if status not in ("starting", "failed"):
            return None
        state = "failed" if status == "failed" else "running"
        told: dict[str, Json] = {
            "stage": dig_text(body, "stage"),
            "state": state,
            "message": self.scrub(dig_text(body, "message")),
        }
        record = parse_record(told)
        if record is None:
            return None
        self._gateway = record
        if state == "failed":
            raise self._failed(self._log.stages.get(record.stage, record))
        if record.stage not in self._log.stages:
            self._show(record.stage, record.shown)
        return record.shown

    def where(self) -> str:
        """Return how far the boot has come, as the end of a sentence; "" where nobody tells."""
        records = self._stages() or ([self._gateway] if self._gateway else [])
        at = [record.shown for record in records if record.state != "done"]
        if at:
            return f"{self.subject} is at {'; '.join(at)}"
        if records:
            return f"{self.subject} is through, with {records[-1].stage} last"
        if self.console is None or self._complaints:
            return ""
        return f"{self.subject} has said nothing yet"

    @property
    def is_through(self) -> bool:
        """Whether the console has told that everything serves: no stage is left to wait for."""
        states = {record.state for record in self._log.stages.values()}
        return self._log.stages.keys() >= LAST_STAGES and states == {"done"}

    def tail(self) -> tuple[str, ...]:
        """Return the last lines of the console."""
        return tuple(self.scrub(line) for line in self._log.tail)

    def _stages(self) -> list[StageRecord]:
        """Return the records, without one of the whole that only repeats a stage's."""
        records = self._log.stages.values()
        return [one for one in records if one.stage != WHOLE or one.state == "done"]

    def _poll(self) -> None:
        """Read what came on the console since, without waiting long for it."""
        if self.console is None:
            return
        patience = 0.0
        if self._reading is None:
            now = self.clock()
            if self._asked is not None and now - self._asked < POLL_SECONDS:
                return
            self._asked = now
            console = self.console
            self._reading = Task(
                Deadline(READ_SECONDS), lambda: (console.machine(), console.read())
            )
            patience = PATIENCE_SECONDS
        if not self._reading.ends_within(patience):
            return
        reading, self._reading = self._reading, None
        try:
            machine, piece = reading.result()
        except ConsoleError as error:
            if not error.passing:
                self.console = None
            self._complain(str(error))
        except Exception as error:  # whatever it is, the endpoint may serve none the less
            self.console = None
            self._complain(f"{type(error).__name__}: {error}")
        else:
            self._take(machine, piece)

    def _take(self, machine: Machine | None, piece: Piece) -> None:
        if piece.afresh:
            self._log.clear()
        if machine is not None:
            self._log.since = machine.started
            if machine.status != "RUNNING":
                self._show("the machine", f"the machine {machine.name} is {machine.status}")
        self._machine = machine
        self._log.feed(piece.text)

    def _complain(self, why: str) -> None:
        if why not in self._complaints:
            self._complaints.add(why)
            self.report(f"the console can't be read, so stages may not show: {excerpt(why, 400)}")

    def _show(self, what: str, line: str) -> None:
        if self._shown.get(what) != line:
            self._shown[what] = line
            self.report(line)

    def _up(self) -> str:
        return f"scripts/up {self.stack}" if self.stack else "scripts/up"

    def _stopped(self, machine: Machine) -> Failure:
        return Failure(
            f"the machine {machine.name} to run",
            f"it is {machine.status}: preempted, or stopped by its run limit, its schedule, the "
            "idle watchdog or somebody",
            f"{self._up()} starts it again",
            never_ready=True,
            log_tail=self.tail(),
        )

    def _failed(self, record: StageRecord) -> Failure:
        log = tuple(self.scrub(line) for line in record.log) or self.tail()
        whole = f"; the whole console: {self.console.command}" if self.console else ""
        return Failure(
            f"every stage of {self.subject} to succeed",
            f"the stage {record.stage} failed: {self.scrub(record.message) or 'without a message'}",
            f"mend that, then {self._up()}{whole}",
            never_ready=True,
            log_tail=log,
        )
