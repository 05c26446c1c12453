"""`python -m machine.pod.park`: the servers scaled to none once nobody has asked for a while.

A job that the cluster starts every few minutes. It never parks on doubt: where the gateway can't be
asked, or says something that can't be, the servers stay. Of the standard library alone.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import quote

from machine.table import Table, WrongError

VARIABLE = "LLM_ENDPOINT_PARK"
ANNOTATION = "llm-endpoint/parked-at"
"""On a StatefulSet: when it was last parked, ISO 8601 in UTC. The next deployment goes by it."""
WOKEN = "llm-endpoint/woken-at"
"""On a StatefulSet: when it was last scaled up from none, in the same form: by a deployment, or,
where a person did it, when this job first saw it."""
STARTING_MINUTES = 180
"""How long servers may take to get ready, beside the idle time; their node bills either way."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's own token, and its authority's certificate."""

_SECONDS = 10.0
_MOST_BYTES = 4 * 1024 * 1024
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Parking:
    """What to park and when: `servers` are StatefulSets in `namespace`, `activity` a URL."""

    activity: str
    idle_minutes: int
    namespace: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Activity:
    """What the gateway says, in Unix seconds by its own clock.

    `began` is since when it looks: what was before it can't tell. None for one that does not say.
    """

    ready_since: float | None
    last_request: float | None
    active: float
    now: float
    began: float | None = None


class AskError(Exception):
    """The gateway, or the cluster, did not answer as it should; the message says which and how."""


def parse(text: str) -> Parking:
    """Read what `VARIABLE` says. Raises `WrongError`, which names the key."""
    try:
        content: object = json.loads(text)
    except ValueError:
        raise WrongError("it is not JSON") from None
    table = Table(content, "")
    table.only("activity", "idle_minutes", "namespace", "servers")
    if table.number("idle_minutes") < 1:
        raise table.refuse("idle_minutes", "1 or more")
    if not table.texts("servers"):
        raise table.refuse("servers", "a list of one or more names")
    return Parking(
        activity=table.text("activity"),
        idle_minutes=table.number("idle_minutes"),
        namespace=table.text("namespace"),
        servers=table.texts("servers"),
    )


def parse_activity(content: object) -> Activity | None:
    """Return the gateway's activity; None where it is none, or no number of it can be."""
    if not isinstance(content, dict):
        return None
    entries = cast("dict[str, object]", content)
    times = ("ready_since", "last_request")
    numbers = {name: _number(entries.get(name)) for name in (*times, "active", "now")}
    never = {name for name in times if name in entries and entries[name] is None}
    active, now, began = numbers["active"], numbers["now"], _number(entries.get("began"))
    if began is None and "began" in entries:
        return None
    if active is None or now is None or any(numbers[name] is None for name in {*times} - never):
        return None
    return Activity(numbers["ready_since"], numbers["last_request"], active, now, began)


def _number(value: object) -> float | None:
    """Return a count or a time; None for what can't be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def why_not(activity: Activity, idle_minutes: int) -> str | None:
    """Return why servers that are ready stay; None where they have been idle for long enough."""
    if activity.active > 0:
        return f"{activity.active:.0f} requests are being answered"
    since = max(activity.ready_since or 0.0, activity.last_request or 0.0)
    return _not_idle_since(since, activity.now, idle_minutes)


def why_not_unready(activity: Activity, idle_minutes: int, awake_since: float) -> str | None:
    """Return why servers stay that are not ready, though they have been awake since that time."""
    if activity.began is None:
        return "the endpoint is not ready, and the gateway does not say since when it looks"
    # A gateway that is new knows of no request and no start before its own.
    since = max(awake_since, activity.began, activity.last_request or 0.0)
    reason = _not_idle_since(since, activity.now, idle_minutes + STARTING_MINUTES)
    return reason and f"the endpoint is not ready; {reason}"


def _not_idle_since(since: float, now: float, minutes: int) -> str | None:
    idle_seconds = now - since
    if idle_seconds < 0:
        return "a clock ran backwards"
    if idle_seconds < minutes * 60:
        return f"idle for {idle_seconds // 60:.0f} of {minutes} min"
    return None


class Cluster:
    """The cluster that this pod is in, as its service account."""

    def __init__(self, environment: Mapping[str, str], account: Path = ACCOUNT) -> None:
        host = environment.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        self._origin = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            self._token = (account / "token").read_text(encoding="ascii").strip()
            context = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except (OSError, ValueError) as error:
            raise AskError(f"the service account's files: {type(error).__name__}") from None
        self._opener = _opener(urllib.request.HTTPSHandler(context=context))

    def replicas(self, namespace: str, name: str) -> int:
        """Return how many pods the StatefulSet is to have. Raises `AskError`."""
        return _replicas(self._ask("GET", f"{_path(namespace, name)}/scale"), name)

    def awake_since(self, namespace: str, name: str, now: float) -> float:
        """Return when the StatefulSet was made or last woken, as Unix time. Raises `AskError`.

        That is `now` where a person has woken it since it was parked, which is noted on it.
        """
        found = self._ask("GET", _path(namespace, name))
        since = _awake_since(found, name)
        parked = _annotations(found).get(ANNOTATION)
        if not isinstance(parked, str) or _moment(parked, name) <= since:
            return since
        note = {"metadata": {"annotations": {WOKEN: _shown(now)}}}
        self._ask("PATCH", _path(namespace, name), note)
        return now

    def park(self, namespace: str, name: str, when: str) -> None:
        """Note `when` on the StatefulSet, and scale it to none. Raises `AskError`."""
        # In this order: a note too many is harmless, and one too few would leave it asleep.
        note = {"metadata": {"annotations": {ANNOTATION: when}}}
        self._ask("PATCH", _path(namespace, name), note)
        self._ask("PATCH", f"{_path(namespace, name)}/scale", {"spec": {"replicas": 0}})

    def _ask(self, method: str, path: str, body: object = None) -> object:
        request = urllib.request.Request(
            f"{self._origin}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": _MERGE},
        )
        return _read(self._opener, request, f"{method} {path}")


def _path(namespace: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{quote(namespace)}/statefulsets/{quote(name)}"


def _awake_since(stateful_set: object, name: str) -> float:
    made = _object(_object(stateful_set).get("metadata")).get("creationTimestamp")
    texts = [made, _annotations(stateful_set).get(WOKEN)]
    times = [_moment(text, name) for text in texts if isinstance(text, str)]
    if not times:
        raise _unknown(name)
    return max(times)


def _annotations(stateful_set: object) -> dict[str, object]:
    return _object(_object(_object(stateful_set).get("metadata")).get("annotations"))


def _moment(text: str, name: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise _unknown(name) from None


def _unknown(name: str) -> AskError:
    return AskError(f"{name} does not say since when it is awake")


def _shown(moment: float) -> str:
    when = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    return when.replace("+00:00", "Z")


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _replicas(scale: object, name: str) -> int:
    # The API leaves out what is 0.
    found = _object(_object(scale).get("spec")).get("replicas", 0)
    if not isinstance(found, int):
        raise AskError(f"the scale of {name} has no number of replicas")
    return found


def _opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return what opens URLs of the cluster: by no proxy, and without following a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        *handlers,
    ):
        opener.add_handler(handler)
    return opener


def _read(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request | str, what: str
) -> object:
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            return json.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        error.close()
        raise AskError(f"{what} was answered {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise AskError(f"{what} failed: {type(reason).__name__}") from None


def look(
    parking: Parking,
    connect: Callable[[], Cluster],
    clock: Callable[[], float] = time.time,
) -> str:
    """Look once, park what is idle, and return one line about it. Raises `AskError`.

    `AskError` is of the cluster alone: a gateway that can't be asked is a reason to do nothing.
    """
    try:
        content = _read(_opener(), parking.activity, "asking the gateway")
    except AskError as error:
        return f"nothing is parked: {error}"
    activity = parse_activity(content)
    if activity is None:
        return "nothing is parked: the gateway's answer is none of its activity"
    ready = activity.ready_since is not None
    if activity.active > 0 or ready:
        reason = why_not(activity, parking.idle_minutes)
        if reason is not None:
            return f"nothing is parked: {reason}"
    cluster = connect()
    awake = [name for name in parking.servers if cluster.replicas(parking.namespace, name) > 0]
    if not awake:
        return "nothing is parked: the servers are parked already"
    if not ready:
        now = activity.now
        since = max(cluster.awake_since(parking.namespace, name, now) for name in awake)
        reason = why_not_unready(activity, parking.idle_minutes, since)
        if reason is not None:
            return f"nothing is parked: {reason}"
    _park(cluster, parking.namespace, awake, clock())
    why = f"no request for {parking.idle_minutes} min" if ready else "not ready, and not asked"
    return f"{why}: parked {', '.join(awake)}"


def _park(cluster: Cluster, namespace: str, names: list[str], now: float) -> None:
    for name in names:
        cluster.park(namespace, name, _shown(now))


def main(environment: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> int:
    """Look once. Returns 0 also where the gateway can't be asked, 1 where the cluster refuses."""
    try:
        parking = parse(environment.get(VARIABLE, ""))
        print(look(parking, lambda: Cluster(environment, account)))
    except WrongError as error:
        print(f"{VARIABLE}: {error}", file=sys.stderr)
        return 1
    except AskError as error:
        print(f"idle, and can't be parked: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
