"""Waiting for a server: still starting, still loading, dead, or ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from scripts.verify.boot import Boot
from scripts.verify.bounds import Deadline, bounded
from scripts.verify.caller import Caller
from scripts.verify.client import MODELS_PATH, Answer, Client
from scripts.verify.outcome import Failure, TimedOut, Unreachable
from scripts.verify.process import LocalServer
from scripts.verify.shape import Json, dig_text, parse_json

PROBE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0
REPORT_SECONDS = 5.0
LATER_REPORT_SECONDS = 30.0
"""How often it is said that nothing has changed, once that has been so for a minute."""
SILENT_SECONDS = 30.0
"""How long a machine may be silent, as it is while it starts, before its firewall is suspected."""
DEFAULT_PROBE = "/health"


@dataclass(frozen=True)
class Pending:
    """Not there yet: `seen` says what came instead, `next_step` what to look at if it stays so.

    `patience_seconds` and `silent` are as in `Unreachable`.
    """

    seen: str
    next_step: str
    patience_seconds: float | None = None
    silent: bool = False

    @classmethod
    def until(cls, error: Unreachable) -> Pending:
        """Return what `error` means while it may pass; raise it where it won't."""
        if not error.passing:
            raise error
        return cls(error.seen, error.next_step, error.patience_seconds, error.silent)


@dataclass
class Waiter:
    """Waits within one span of time for a server to be reachable, then to be ready.

    `client` asks with the key, `stranger` without: nothing is sent to an address with the key
    before it has shown that it answers itself. `probe_path` and `loading_status` are as in
    `components.launch.Probe`; `probe_path` None asks `/health` and, where that is 404,
    `/v1/models`. `report` gets a line every few seconds. `boot` tells how far the machine is;
    `caller`, where it is known who may connect, tells what to do about a connection that times
    out. A right key that is refused is waited for another `key_seconds`. `classic`, where there are
    classic models, says which of them aren't there; it may raise `Failure`.
    """

    client: Client
    stranger: Client
    server: LocalServer
    boot: Boot
    probe_path: str | None
    loading_status: int
    deadline: Deadline
    report: Callable[[str], None]
    caller: Caller | None = None
    key_seconds: float = 0.0
    classic: Callable[[], str] | None = None
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def reachable(self) -> str:
        """Wait for any HTTP answer; return what came.

        Raises `Failure`: at once for what waiting does not mend (a certificate, a redirect, a
        stage of the boot that failed, a machine that was stopped) and when the process has died,
        else when the time is up.
        """
        return self._wait("reachable", "a reachable server", self._look_reachable, self.deadline)

    def ready(self) -> str:
        """Wait until the probe answers 200, and the key is accepted; return what came.

        Raises `Failure` likewise.
        """
        seen = self._wait("ready", "a ready server", self._look_ready, self.deadline)
        if self.key_seconds and self.client.key is not None:
            deadline = Deadline(self.key_seconds)
            self._wait("ready", "the key to be accepted", self._look_accepted, deadline)
        return seen

    def until(self, name: str, wanted: str, look: Callable[[], str | Pending]) -> str:
        """Wait likewise until `look` returns what came."""
        return self._wait(name, wanted, look, self.deadline)

    def _look_reachable(self) -> str | Pending:
        try:
            answer = self._probe(self.stranger, self.probe_path or DEFAULT_PROBE)
        except Unreachable as error:
            return Pending.until(error)
        return f"HTTP {answer.status}"

    def _look_ready(self) -> str | Pending:
        path = self.probe_path or DEFAULT_PROBE
        try:
            answer = self._probe(self.client, path)
            if answer.status in (404, 405) and self.probe_path is None:
                path = MODELS_PATH
                answer = self._probe(self.client, path)
        except Unreachable as error:
            return Pending.until(error)
        if answer.status == HTTPStatus.OK:
            # What our gateway was told by the servers behind it.
            models = dig_text(_json(answer), "models")
            return f"HTTP 200 from {path}" + (f", {self.client.quote(models)}" if models else "")
        if answer.status == self.loading_status:
            stage = self.boot.hear(_json(answer))
            what = "still loading" if stage is None else f"at {stage}"
            lacking = "" if self.classic is None else self.classic()
            return Pending(
                f"{what} (HTTP {answer.status} from {path})" + (lacking and f"; {lacking}"),
                "wait longer (--wait-seconds), or look at the server's log",
            )
        refusal = self.client.refusal("GET", path, answer)
        return Pending(f"{path} answers {refusal.seen}", refusal.next_step)

    def _look_accepted(self) -> str | Pending:
        try:
            answer = self._probe(self.client, MODELS_PATH)
        except Unreachable as error:
            return Pending.until(error)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return f"HTTP {answer.status}"
        return Pending(
            f"{MODELS_PATH} answers {self.client.describe(answer)}",
            "look whether the machine may read its keys' secret, and whether the key is that "
            "secret's (the gateway reads it anew each minute)",
        )

    def _probe(self, client: Client, path: str) -> Answer:
        left = self.deadline.remaining()
        deadline = Deadline(min(PROBE_SECONDS, left) if left > 0 else PROBE_SECONDS)
        try:
            return bounded(deadline, lambda: client.ask("GET", path, deadline, retry=False))
        except TimedOut as error:
            step = "look whether the server hangs, and at its log"
            if not client.endpoint.is_loopback:
                step = f"is this machine's address in allowed_cidrs? Else {step}"
            silent = deadline.note == Deadline.UNANSWERED
            raise Unreachable(error.seen, step, passing=True, silent=silent) from None

    def _wait(
        self, name: str, wanted: str, look: Callable[[], str | Pending], deadline: Deadline
    ) -> str:
        began = reported = self.clock()
        warned = False
        pause = FIRST_PAUSE_SECONDS
        while True:
            found = look()
            death = self.server.death()
            if death is not None:
                raise death
            if isinstance(found, str):
                return found
            failure = self.boot.failure()
            if failure is not None:
                raise failure
            now = self.clock()
            patience = found.patience_seconds
            lost = patience is not None and now - began >= patience
            left = deadline.remaining()
            if left == 0 or lost:
                seconds = patience if lost and patience is not None else deadline.seconds
                raise self._ran_out(f"{wanted} within {seconds:g} s", found)
            elapsed = now - began
            if now - reported >= (REPORT_SECONDS if elapsed < 60 else LATER_REPORT_SECONDS):
                reported = now
                self.report(f"{name} … {found.seen}, {elapsed:.0f} s of {deadline.seconds:g} s")
            if found.silent and elapsed >= SILENT_SECONDS and not warned:
                warned = self._is_kept_out(f"{wanted} that lets this machine in", found)
            self.pause(min(pause, left))
            pause = min(pause * 1.5, LAST_PAUSE_SECONDS)

    def _is_kept_out(self, expected: str, found: Pending) -> bool:
        """Whether the firewall surely drops what is sent; said early, for whoever watches.

        Raises `Failure` where the machine has told besides that it serves.
        """
        refusal = None if self.caller is None else self.caller.refusal()
        if refusal is None:
            return False
        if self.boot.is_through:
            raise self._ran_out(expected, found)
        self.report(f"warning: {refusal}")
        return True

    def _ran_out(self, expected: str, found: Pending) -> Failure:
        """Return the failure that the end of a wait means, with all that is known of the cause."""
        step = found.next_step
        if found.silent and self.caller is not None:
            step = self.caller.advice()
        where = self.boot.where()
        return Failure(
            expected,
            f"{found.seen}; {where}" if where else found.seen,
            step,
            never_ready=True,
            log_tail=self.server.tail() or self.boot.tail(),
        )


def _json(answer: Answer) -> Json:
    try:
        return parse_json(answer.body)
    except ValueError:
        return None
