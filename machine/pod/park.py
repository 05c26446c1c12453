"""`python -m machine.pod.park`: the servers scaled to none once nobody has asked for a while.

A job that the cluster starts every few minutes. It never parks on doubt: where the gateway can't be
asked, or says something that can't be, the servers stay. Of the standard library alone.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from machine.pod.workloads import (
    ACCOUNT,
    STARTING_MINUTES,
    AskError,
    Cluster,
    not_idle_since,
    opener,
    read,
    shown,
)
from machine.table import Table, WrongError

VARIABLE = "LLM_ENDPOINT_PARK"


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
    return not_idle_since(since, activity.now, idle_minutes)


def why_not_unready(activity: Activity, idle_minutes: int, awake_since: float) -> str | None:
    """Return why servers stay that are not ready, though they have been awake since that time."""
    if activity.began is None:
        return "the endpoint is not ready, and the gateway does not say since when it looks"
    # A gateway that is new knows of no request and no start before its own.
    since = max(awake_since, activity.began, activity.last_request or 0.0)
    reason = not_idle_since(since, activity.now, idle_minutes + STARTING_MINUTES)
    return reason and f"the endpoint is not ready; {reason}"


def look(
    parking: Parking,
    connect: Callable[[], Cluster],
    clock: Callable[[], float] = time.time,
) -> str:
    """Look once, park what is idle, and return one line about it. Raises `AskError`.

    `AskError` is of the cluster alone: a gateway that can't be asked is a reason to do nothing.
    """
    try:
        content = read(opener(), parking.activity, "asking the gateway")
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
        cluster.park(namespace, name, shown(now))


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
