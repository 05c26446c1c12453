"""How far pods are on their way to serving, told from what the cluster says of them: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from scripts.gke.workloads import DEPLOYMENT, STATEFUL_SET
from scripts.verify.shape import Json, dig, dig_count, dig_text, excerpt

NODE, IMAGE = "node", "image"
MODEL, PACKAGES, SERVER, GATEWAY = "model", "packages", "server", "gateway"
RESTORE, RUNTIME = "restore", "runtime"

PERMANENT_EXIT = 78
"""The exit status of an init container that trying again does not mend (sysexits' EX_CONFIG)."""
MOST_RESTARTS = 3
"""After how many restarts a container that goes on crashing is given up."""
STOCK_OUT_AFTER = timedelta(minutes=4)
"""How long a node that was asked for may take before it is said that Google may have no room."""
_MESSAGE = 260

_PULL_NEVER_MENDS = re.compile(
    r"not found|manifest unknown|unauthori[sz]ed|denied|forbidden|invalid reference|no matching "
    r"manifest|no match for platform|does not exist",
    re.IGNORECASE,
)
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_CONFIG_NEVER_MENDS = re.compile(r"runAsNonRoot|non-numeric user|invalid capability")
_EVENTS_OF_SCHEDULING = frozenset({"TriggeredScaleUp", "NotTriggerScaleUp", "FailedScheduling"})
_EVENTS_OF_VOLUMES = frozenset({"FailedMount", "FailedAttachVolume", "ProvisioningFailed"})


@dataclass(frozen=True)
class Happening:
    """One event of the cluster: the newest of its kind for an object."""

    kind: str
    name: str
    reason: str
    message: str
    when: datetime | None

    @property
    def shown(self) -> str:
        """The event as one line."""
        at = self.when.astimezone(UTC).strftime("%H:%M:%S ") if self.when else ""
        return f"{at}{self.kind} {self.name}: {self.reason}: {excerpt(self.message, _MESSAGE)}"


@dataclass(frozen=True)
class Step:
    """Where one pod is: at `stage`, in a state as boot records have it.

    `log` is the container whose log tells more.
    """

    stage: str
    state: str
    message: str
    log: str | None = None

    @property
    def is_through(self) -> bool:
        """Whether the pod serves."""
        return self.state == "done"


@dataclass(frozen=True)
class Course:
    """How pods of one namespace come to serve: through `stages`, in their order.

    An init container that is named after none of them is at `preparing`; what serves is at
    `serving`, and does what `doing` says until it is ready. `kind` is of what makes the pods,
    `those` names it where it is parked, and `more_memory` is what may do where it lacks some.
    """

    stages: tuple[str, ...]
    preparing: str
    serving: str
    doing: str
    kind: str
    those: str
    more_memory: str


SERVERS = Course(
    (NODE, IMAGE, MODEL, PACKAGES, SERVER, GATEWAY),
    MODEL,
    SERVER,
    "loads the model",
    STATEFUL_SET,
    "the servers are",
    "a larger pod_memory_gb, a smaller kv_cache_gb or a smaller model",
)
"""Of model servers; `gateway` is the pod that clients reach."""
RUNTIMES = Course(
    (NODE, IMAGE, RESTORE, RUNTIME),
    RESTORE,
    RUNTIME,
    "starts",
    DEPLOYMENT,
    "the runtime is",
    "a larger runtime_memory_gb",
)
"""Of a notebook runtime, whose files are restored before it starts."""

Events: TypeAlias = Mapping[tuple[str, str], Sequence[Happening]]
"""Events by the kind and the name of their object, the newest last."""


@dataclass(frozen=True)
class Pod:
    """A pod as the API server has it, of the Deployment or StatefulSet `owner`."""

    name: str
    owner: str
    value: Json = field(repr=False)

    @property
    def is_gateway(self) -> bool:
        """Whether clients reach this one."""
        return self.owner == GATEWAY


def pods_of(listed: Json) -> tuple[Pod, ...]:
    """Return the pods of ours in a list of them, but for those that are going or have ended.

    Nor those that another deployment has put others in the place of: where those fail, an old pod
    stays until a new one serves, and says nothing of what was deployed since.
    """
    found: list[Pod] = []
    for one in _items(listed):
        owner = dig_text(one, "metadata", "labels", "app.kubernetes.io/name")
        kinds = [dig_text(by, "kind") for by in _list(dig(one, "metadata", "ownerReferences"))]
        if not owner or "Job" in kinds or dig(one, "metadata", "deletionTimestamp") is not None:
            continue
        if dig_text(one, "status", "phase") in ("Failed", "Succeeded"):
            continue
        found.append(Pod(dig_text(one, "metadata", "name"), owner, one))
    newest: dict[str, Pod] = {}
    for pod in sorted(found, key=lambda pod: dig_text(pod.value, "metadata", "creationTimestamp")):
        newest[pod.owner] = pod
    current = [pod for pod in found if _revision(pod) == _revision(newest[pod.owner])]
    return tuple(sorted(current, key=lambda pod: pod.name))


def _revision(pod: Pod) -> str:
    """Return what tells the template that a pod was made from; a name has one of the two."""
    labels = dig(pod.value, "metadata", "labels")
    return dig_text(labels, "controller-revision-hash") or dig_text(labels, "pod-template-hash")


def events_of(listed: Json) -> Events:
    """Return the events in a list of them."""
    found: dict[tuple[str, str], list[Happening]] = {}
    for one in _items(listed):
        about = dig(one, "involvedObject")
        happening = Happening(
            kind=dig_text(about, "kind"),
            name=dig_text(about, "name"),
            reason=dig_text(one, "reason"),
            message=dig_text(one, "message"),
            when=_moment(
                dig_text(one, "series", "lastObservedTime")
                or dig_text(one, "lastTimestamp")
                or dig_text(one, "eventTime")
                or dig_text(one, "firstTimestamp")
            ),
        )
        found.setdefault((happening.kind, happening.name), []).append(happening)
    first = datetime.min.replace(tzinfo=UTC)
    for several in found.values():
        several.sort(key=lambda happening: happening.when or first)
    return found


def step_of(
    pod: Pod, events: Events, now: datetime, since: datetime, course: Course = SERVERS
) -> Step:
    """Return where `pod` is on its course.

    A container that last ended before `since` has failed for what may be mended by now: it is
    started again.
    """
    own = events.get(("Pod", pod.name), ())
    if not dig_text(pod.value, "spec", "nodeName"):
        return _unscheduled(pod, own, now)
    status = dig(pod.value, "status")
    beside = _sidecars(pod)
    sidecars: list[Json] = []
    for init in _list(dig(status, "initContainerStatuses")):
        if dig_text(init, "name") in beside:
            sidecars.append(init)
            if dig(init, "started") is not True:
                break
        elif dig(init, "state", "terminated", "exitCode") != 0:
            return _init_step(init, own, since, course)
    containers = [*sidecars, *_list(dig(status, "containerStatuses"))]
    if not containers:
        return Step(
            IMAGE, "running", _volume_trouble(own) or "its volume and its images are on their way"
        )
    steps = [_container_step(pod, one, own, since, course) for one in containers]
    for wanted in ("failed", "retrying", "running"):
        for step in steps:
            if step.state == wanted:
                return step
    stage = GATEWAY if pod.is_gateway else course.serving
    if any(
        dig_text(one, "type") == "Ready" and dig_text(one, "status") == "True"
        for one in _list(dig(status, "conditions"))
    ):
        return Step(stage, "done", "")
    return Step(stage, "running", "not ready yet")


def _sidecars(pod: Pod) -> frozenset[str]:
    """Return the init containers that go on beside the others (KEP-753), by their names."""
    return frozenset(
        dig_text(one, "name")
        for one in _list(dig(pod.value, "spec", "initContainers"))
        if dig_text(one, "restartPolicy") == "Always"
    )


def _unscheduled(pod: Pod, own: Sequence[Happening], now: datetime) -> Step:
    """Return what keeps a pod from a node, in words; none of it is surely for ever."""
    told = [one for one in own if one.reason in _EVENTS_OF_SCHEDULING]
    scaling = [one for one in told if one.reason != "FailedScheduling"]
    newest = scaling[-1] if scaling else told[-1] if told else None
    if newest is None:
        why = next(
            (
                dig_text(one, "message")
                for one in _list(dig(pod.value, "status", "conditions"))
                if dig_text(one, "type") == "PodScheduled" and dig_text(one, "status") == "False"
            ),
            "",
        )
        more = f": {excerpt(why, _MESSAGE)}" if why else ""
        return Step(NODE, "running", f"waits for a node{more}")
    said = excerpt(newest.message, _MESSAGE)
    if newest.reason == "TriggeredScaleUp":
        since = newest.when and now - newest.when
        message = "a node is being made (TriggeredScaleUp)"
        if since and since >= STOCK_OUT_AFTER:
            message += (
                f", for {since.total_seconds() / 60:.0f} minutes now: Google may have no room for "
                "it in the zone; another gcp:zone, another node_machine_type or spot false may do"
            )
        return Step(NODE, "running", message)
    if newest.reason == "NotTriggerScaleUp":
        hint = "; max_nodes bounds the pool" if "max node group size" in said else ""
        return Step(NODE, "retrying", f"no node is added (NotTriggerScaleUp): {said}{hint}")
    return Step(NODE, "running", f"no node has room yet (FailedScheduling): {said}")


def _init_step(status: Json, own: Sequence[Happening], since: datetime, course: Course) -> Step:
    name = dig_text(status, "name")
    stage = name if name in course.stages else course.preparing
    waiting = dig(status, "state", "waiting")
    if waiting is not None and dig_text(waiting, "reason") != "CrashLoopBackOff":
        return _waiting_step(waiting, own)
    ended = dig(status, "state", "terminated")
    if ended is None:
        ended = dig(status, "lastState", "terminated")
    if dig(status, "state", "running") is not None:
        return Step(stage, "running", "", name)
    code = dig(ended, "exitCode")
    if code == PERMANENT_EXIT and not _ended_before(ended, since):
        return Step(stage, "failed", "", name)
    return Step(stage, "retrying", f"ended with status {code}, and is started again", name)


def _container_step(
    pod: Pod, status: Json, own: Sequence[Happening], since: datetime, course: Course
) -> Step:
    name = dig_text(status, "name")
    stage = GATEWAY if pod.is_gateway else course.serving
    restarts = dig_count(status, "restartCount") or 0
    if dig(status, "ready") is True:
        return Step(stage, "done", "")
    waiting, ended = dig(status, "state", "waiting"), dig(status, "state", "terminated")
    last = ended if ended is not None else dig(status, "lastState", "terminated")
    is_crashing = dig_text(waiting, "reason") == "CrashLoopBackOff" or ended is not None
    if waiting is not None and not is_crashing:
        return _waiting_step(waiting, own)
    if is_crashing:
        how = f"{name} {_end_in_words(last)}"
        if restarts >= MOST_RESTARTS and not _ended_before(last, since):
            message = f"{how}, {restarts + 1} times over{_mend_of(last, course)}"
            return Step(stage, "failed", message, name)
        return Step(
            stage,
            "retrying",
            f"{how}, {restarts + 1} times so far, and is started again",
            name,
        )
    again = f" again after it {_end_in_words(last)}" if restarts and last is not None else ""
    doing = "starts" if pod.is_gateway else course.doing
    return Step(stage, "running", f"{name} {doing}{again}", name)


def _ended_before(ended: Json, since: datetime) -> bool:
    moment = _moment(dig_text(ended, "finishedAt"))
    return moment is not None and moment < since


def _end_in_words(ended: Json) -> str:
    if dig_text(ended, "reason") == "OOMKilled":
        return "took more memory than its limit and was killed (OOMKilled)"
    signal = dig_count(ended, "signal")
    if signal:
        return f"was ended by signal {signal}"
    return f"ended with status {dig(ended, 'exitCode')}"


def _mend_of(ended: Json, course: Course) -> str:
    if dig_text(ended, "reason") == "OOMKilled":
        return f"; {course.more_memory} may do"
    if dig(ended, "exitCode") == 132:
        return "; status 132 is an instruction that this processor lacks: another node_machine_type"
    return ""


def _waiting_step(waiting: Json, own: Sequence[Happening]) -> Step:
    """Return what a container waits for that has not begun."""
    reason, message = dig_text(waiting, "reason"), dig_text(waiting, "message")
    said = excerpt(message, _MESSAGE)
    if reason == "InvalidImageName":
        return Step(IMAGE, "failed", f"its image's name is none: {said}")
    if reason in _PULL_REASONS:
        # While it waits before the next try, only an event still tells why.
        why = said if reason == "ErrImagePull" else _pull_failure(own) or said
        for_ever = _PULL_NEVER_MENDS.search(why) is not None
        return Step(
            IMAGE,
            "failed" if for_ever else "retrying",
            f"an image can't be pulled ({reason}): {why or 'no reason given'}",
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError"):
        for_ever = _CONFIG_NEVER_MENDS.search(message) is not None
        return Step(
            IMAGE, "failed" if for_ever else "retrying", f"can't be started ({reason}): {said}"
        )
    trouble = _volume_trouble(own)
    if trouble:
        return Step(IMAGE, "retrying", trouble)
    pulling = next((one for one in reversed(own) if one.reason in ("Pulling", "Pulled")), None)
    what = (
        excerpt(pulling.message, _MESSAGE)
        if pulling
        else "its volume and its images are on their way"
    )
    return Step(IMAGE, "running", what)


def _pull_failure(own: Sequence[Happening]) -> str:
    return next(
        (
            excerpt(one.message, _MESSAGE)
            for one in reversed(own)
            # "Error: ImagePullBackOff" is another event of that reason, and comes after it.
            if one.reason == "Failed" and one.message.startswith("Failed to pull")
        ),
        "",
    )


def _volume_trouble(own: Sequence[Happening]) -> str:
    """Return what keeps a volume from the pod, where that is the newest that is known."""
    newest = own[-1] if own else None
    if newest is None or newest.reason not in _EVENTS_OF_VOLUMES:
        return ""
    return f"its volume is not there yet ({newest.reason}): {excerpt(newest.message, _MESSAGE)}"


def _items(listed: Json) -> list[Json]:
    return _list(dig(listed, "items"))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
