"""The pods of a namespace as what a verification watches while it waits for their endpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from components.targets.kubernetes.access import ClusterAccess
from scripts.gcp.credentials import CredentialsError
from scripts.gke.access import AccessError, from_environment
from scripts.gke.api import ClusterApi, ClusterError
from scripts.gke.parked import ANNOTATION
from scripts.gke.pod_records import records, refused_pods
from scripts.gke.pods import (
    MODEL,
    NODE,
    PACKAGES,
    RESTORE,
    SERVERS,
    Course,
    Events,
    Pod,
    Step,
    events_of,
    pods_of,
    step_of,
)
from scripts.gke.workloads import path_of
from scripts.verify.boot_log import TAIL_LINES, BootLog, StageRecord
from scripts.verify.console import ConsoleError, Piece
from scripts.verify.shape import dig, dig_text, excerpt

EVENTS_READ = 500
_NEW = timedelta(minutes=30)
_CLOCKS_DIFFER = timedelta(seconds=30)
_LOG_LINES = 200
_LINE = 300
_SHOWN_EVENTS = 8
_MARK = "llm-endpoint: "
_OURS = "app.kubernetes.io/part-of=llm-endpoint"
"""A namespace may have been there before, with pods of others."""


class PodConsole:
    """A `scripts.verify.console.Console`: each piece is all that is known now, told afresh.

    `course` is that of the namespace's pods. `access` leads to the cluster; without it that is in
    the environment.
    """

    def __init__(
        self,
        namespace: str,
        environment: Mapping[str, str] | None = None,
        *,
        course: Course = SERVERS,
        access: ClusterAccess | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._namespace = namespace
        self._course = course
        self._access = access
        self._environment = os.environ if environment is None else environment
        self._now = now
        self._began = now() - _CLOCKS_DIFFER
        self._api: ClusterApi | None = None

    @property
    def command(self) -> str:
        """The shell command that shows all of it."""
        return f"kubectl get pods,events --namespace {self._namespace}"

    def machine(self) -> None:
        """Return None: pods have no one machine."""

    def read(self) -> Piece:
        """Return what is known now; raises `ConsoleError`."""
        try:
            if self._api is None:
                access = self._access or from_environment(self._environment)
                self._api = ClusterApi(access, self._environment)
            return Piece(self._told(self._api), afresh=True)
        except (AccessError, CredentialsError) as error:
            raise ConsoleError(str(error), passing=False) from None
        except ClusterError as error:
            raise ConsoleError(str(error), passing=error.passing) from None

    def _told(self, api: ClusterApi) -> str:
        path = f"/api/v1/namespaces/{self._namespace}"
        pods = pods_of(api.get(f"{path}/pods", labelSelector=_OURS))
        events = self._new(events_of(api.get(f"{path}/events", limit=str(EVENTS_READ))))
        now = self._now()
        steps: list[tuple[Pod, Step]] = []
        logs: list[tuple[str, list[str]]] = []
        for pod in pods:
            step = step_of(pod, events, now, self._began, self._course)
            if step.log is not None:
                step, lines = self._with_log(api, pod, step, step.log)
                logs.append((pod.name, lines))
            steps.append((pod, step))
        told = records(steps, self._course)
        refused = refused_pods(events)
        if refused is not None:
            told = [one for one in told if one.stage != refused.stage]
            told.insert(0, StageRecord(refused.stage, refused.state, refused.message))
        elif all(pod.is_gateway for pod in pods):
            told.insert(0, self._without_pods(api))
        return _text(told, events, logs)

    def _without_pods(self, api: ClusterApi) -> StageRecord:
        """Return why there is no pod of what serves."""
        items = dig(api.get(path_of(self._course.kind, self._namespace)), "items")
        parked = [
            dig_text(one, "metadata", "annotations", ANNOTATION)
            for one in (items if isinstance(items, list) else [])
            if not dig(one, "spec", "replicas")
        ]
        if not parked:
            return StageRecord(NODE, "running", "there is no pod yet")
        since = f" since {max(parked)}" if any(parked) else ""
        return StageRecord(
            NODE, "running", f"no pod is asked for: {self._course.those} parked{since}"
        )

    def _new(self, events: Events) -> Events:
        """Return the events without those of an earlier deployment, which stay for an hour."""
        oldest = self._now() - _NEW
        kept = {
            about: [one for one in several if one.when is None or one.when >= oldest]
            for about, several in events.items()
        }
        return {about: several for about, several in kept.items() if several}

    def _with_log(
        self, api: ClusterApi, pod: Pod, step: Step, container: str
    ) -> tuple[Step, list[str]]:
        """Return the step with what the container's log says, and the log's last lines."""
        try:
            text = api.log(self._namespace, pod.name, container, _LOG_LINES)
        except ClusterError:
            # It has not begun, or is gone: what the step says has to do.
            return _worded(step), []
        log = BootLog()
        log.feed(text if text.endswith("\n") else f"{text}\n")
        lines = [line for line in log.tail if not line.startswith(_MARK)]
        # The newest is the last.
        record = next(reversed(log.stages.values()), None)
        if record is None or step.stage not in (MODEL, PACKAGES, RESTORE):
            return _worded(step), lines
        message = record.message
        if message and record.stage != step.stage:
            message = f"{record.stage}: {message}"
        if message and step.state == "retrying":
            message = f"{message} ({step.message})"
        return _worded(replace(step, message=message or step.message)), [*record.log, *lines]


def _worded(step: Step) -> Step:
    """Return the step with a message where its log gave none."""
    if step.message:
        return step
    words = {
        "running": "has begun",
        "failed": "ended with what trying again does not mend",
    }
    return replace(step, message=words.get(step.state, ""))


def _text(told: list[StageRecord], events: Events, logs: list[tuple[str, list[str]]]) -> str:
    """Return records as a console has them, and then, for a person, what led to them."""
    ends = [f"{pod}: {line}" for pod, lines in logs for line in lines]
    lines: list[str] = []
    for record in told:
        content = asdict(record)
        del content["time"], content["boot"]
        content["log"] = ends[-TAIL_LINES:] if record.state == "failed" else []
        lines.append(f"{_MARK}{json.dumps(content)}")
    first = datetime.min.replace(tzinfo=UTC)
    newest = sorted((several[-1] for several in events.values()), key=lambda one: one.when or first)
    human = [one.shown for one in newest[-_SHOWN_EVENTS:]] + ends
    lines += [excerpt(line, _LINE) for line in human[-TAIL_LINES:]]
    return "".join(f"{line}\n" for line in lines)
