"""Waiting for a server: still starting, still loading, dead, or ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from scripts.verify.bounds import Deadline, bounded
from scripts.verify.client import MODELS_PATH, Answer, Client
from scripts.verify.outcome import Failure, TimedOut, Unreachable
from scripts.verify.process import LocalServer

PROBE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0
REPORT_SECONDS = 5.0
DEFAULT_PROBE = "/health"


@dataclass(frozen=True)
class Pending:
    """Not there yet: `seen` says what came instead, `next_step` what to look at if it stays so.

    `patience_seconds` is as in `Unreachable`.
    """

    seen: str
    next_step: str
    patience_seconds: float | None = None


@dataclass
class Waiter:
    """Waits within one span of time for a server to be reachable, then to be ready.

    `client` asks with the key, `stranger` without: nothing is sent to an address with the key
    before it has shown that it answers itself. `probe_path` and `loading_status` are as in
    `components.launch.Probe`; `probe_path` None asks `/health` and, where that is 404,
    `/v1/models`. `report` gets a line every few seconds.
    """

    client: Client
    stranger: Client
    server: LocalServer
    probe_path: str | None
    loading_status: int
    deadline: Deadline
    report: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def reachable(self) -> str:
        """Wait for any HTTP answer; return what came.

        Raises `Failure`: at once for what waiting does not mend (a certificate, a redirect) and
        when the process has died, else when the time is up.
        """
        return self._wait("reachable", self._look_reachable)

    def ready(self) -> str:
        """Wait until the probe answers 200; return what came. Raises `Failure` likewise."""
        return self._wait("ready", self._look_ready)

    def _look_reachable(self) -> str | Pending:
        try:
            answer = self._probe(self.stranger, self.probe_path or DEFAULT_PROBE)
        except Unreachable as error:
            if not error.passing:
                raise
            return Pending(error.seen, error.next_step, error.patience_seconds)
        return f"HTTP {answer.status}"

    def _look_ready(self) -> str | Pending:
        path = self.probe_path or DEFAULT_PROBE
        try:
            answer = self._probe(self.client, path)
            if answer.status in (404, 405) and self.probe_path is None:
                path = MODELS_PATH
                answer = self._probe(self.client, path)
        except Unreachable as error:
            if not error.passing:
                raise
            return Pending(error.seen, error.next_step, error.patience_seconds)
        if answer.status == HTTPStatus.OK:
            return f"HTTP 200 from {path}"
        if answer.status == self.loading_status:
            return Pending(
                f"still loading (HTTP {answer.status} from {path})",
                "wait longer (--wait-seconds), or look at the server's log",
            )
        refusal = self.client.refusal("GET", path, answer)
        return Pending(f"{path} answers {refusal.seen}", refusal.next_step)

    def _probe(self, client: Client, path: str) -> Answer:
        left = self.deadline.remaining()
        deadline = Deadline(min(PROBE_SECONDS, left) if left > 0 else PROBE_SECONDS)
        try:
            return bounded(deadline, lambda: client.ask("GET", path, deadline, retry=False))
        except TimedOut as error:
            step = "look whether the server hangs, and at its log"
            if not client.endpoint.is_loopback:
                step = f"is this machine's address in allowed_cidrs? Else {step}"
            raise Unreachable(error.seen, step, passing=True) from None

    def _wait(self, name: str, look: Callable[[], str | Pending]) -> str:
        began = reported = self.clock()
        pause = FIRST_PAUSE_SECONDS
        while True:
            found = look()
            death = self.server.death()
            if death is not None:
                raise death
            if isinstance(found, str):
                return found
            patience = found.patience_seconds
            lost = patience is not None and self.clock() - began >= patience
            left = self.deadline.remaining()
            if left == 0 or lost:
                raise Failure(
                    f"a {name} server within {patience if lost else self.deadline.seconds:g} s",
                    found.seen,
                    found.next_step,
                    never_ready=True,
                    log_tail=self.server.tail(),
                )
            now = self.clock()
            if now - reported >= REPORT_SECONDS:
                reported = now
                elapsed = f"{now - began:.0f} s of {self.deadline.seconds:g} s"
                self.report(f"{name} … {found.seen}, {elapsed}")
            self.pause(min(pause, left))
            pause = min(pause * 1.5, LAST_PAUSE_SECONDS)
