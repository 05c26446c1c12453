"""`python -m machine.pod.park_runtime`: a notebook runtime scaled to none once nobody uses it.

A job that the cluster starts every few minutes. It never parks on doubt: where the runtime is up
and can't be asked, or says something that can't be, it stays. Of the standard library alone.

In use is what Jupyter's `/api/status` calls so (its server's `services/api/handlers.py`, v2.20): a
request to its API, output of a kernel, a terminal; besides a browser that is connected to a kernel,
and a kernel that is busy, which may compute for hours without a word.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urljoin

from machine.pod.workloads import (
    ACCOUNT,
    STARTING_MINUTES,
    AskError,
    Cluster,
    Kind,
    moment,
    not_idle_since,
    opener,
    read,
    shown,
)
from machine.table import Table, WrongError

VARIABLE = "LLM_ENDPOINT_PARK_RUNTIME"
STATUS_PATH = "/api/status"
KERNELS_PATH = "/api/kernels?no_track_activity=1"
"""Asked without that parameter it would itself count as use."""


@dataclass(frozen=True)
class Parking:
    """What to park and when: the Deployment `runtime` in `namespace`.

    `url` is where its door is asked, `host` the name that this lets in, and `token_file` holds the
    runtime's token.
    """

    url: str
    host: str
    token_file: Path
    idle_minutes: int
    namespace: str
    runtime: str


@dataclass(frozen=True)
class Use:
    """What the runtime says of itself: when it was last used, in Unix seconds, and by how many."""

    last: float
    connections: int


def parse(text: str) -> Parking:
    """Read what `VARIABLE` says. Raises `WrongError`, which names the key."""
    try:
        content: object = json.loads(text)
    except ValueError:
        raise WrongError("it is not JSON") from None
    table = Table(content, "")
    table.only("host", "idle_minutes", "namespace", "runtime", "token_file", "url")
    if table.number("idle_minutes") < 1:
        raise table.refuse("idle_minutes", "1 or more")
    return Parking(
        url=table.text("url"),
        host=table.text("host"),
        token_file=Path(table.text("token_file")),
        idle_minutes=table.number("idle_minutes"),
        namespace=table.text("namespace"),
        runtime=table.text("runtime"),
    )


def parse_use(content: object) -> Use | None:
    """Return the use in an answer of `STATUS_PATH`; None where it is none, or can't be."""
    if not isinstance(content, dict):
        return None
    entries = cast("dict[str, object]", content)
    last, connections = entries.get("last_activity"), entries.get("connections")
    if isinstance(connections, bool) or not isinstance(connections, int) or connections < 0:
        return None
    if not isinstance(last, str):
        return None
    try:
        return Use(moment(last, "the runtime"), connections)
    except AskError:
        return None


def why_not(use: Use, now: float, idle_minutes: int) -> str | None:
    """Return why a runtime stays, as far as its status tells; None where it was idle for long."""
    if use.connections > 0:
        return f"{use.connections} connections to its kernels are open"
    return not_idle_since(use.last, now, idle_minutes)


def why_kernels_stay(content: object) -> str | None:
    """Return why a runtime stays by an answer of `KERNELS_PATH`; None where no kernel works."""
    if not isinstance(content, list):
        return "its list of kernels is none"
    states = [
        cast("dict[str, object]", one).get("execution_state") if isinstance(one, dict) else None
        for one in cast("list[object]", content)
    ]
    # One that has just begun, or died, is not at work.
    working = [state for state in states if state not in ("idle", "starting", "dead")]
    return f"{len(working)} of its kernels are busy" if working else None


class Runtime:
    """The runtime, asked with its token at its door."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self._opener = opener()

    def use(self) -> Use:
        """Return when and by how many it is used. Raises `AskError`."""
        found = parse_use(self._ask(STATUS_PATH, "its status"))
        if found is None:
            raise AskError("its status is none")
        return found

    def kernels(self) -> object:
        """Return the list of its kernels. Raises `AskError`."""
        return self._ask(KERNELS_PATH, "its kernels")

    def _ask(self, path: str, what: str) -> object:
        try:
            token = self._parking.token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise AskError(f"its token's file: {type(error).__name__}") from None
        request = urllib.request.Request(
            urljoin(self._parking.url, path),
            headers={"Host": self._parking.host, "Authorization": f"token {token}"},
        )
        return read(self._opener, request, f"asking for {what}")


def look(
    parking: Parking,
    connect: Callable[[], Cluster],
    clock: Callable[[], float] = time.time,
) -> str:
    """Look once, park what is idle, and return one line about it. Raises `AskError`.

    `AskError` is of the cluster alone: a runtime that can't be asked is a reason to do nothing.
    """
    cluster = connect()
    if cluster.replicas(parking.namespace, parking.runtime) == 0:
        return "nothing is parked: the runtime is parked already"
    now = clock()
    unready_since = cluster.unready_since(parking.namespace, parking.runtime)
    if unready_since is None:
        reason = _why_ready_stays(parking, now)
        why = f"not used for {parking.idle_minutes} min"
    else:
        awake = cluster.awake_since(parking.namespace, parking.runtime, now)
        minutes = parking.idle_minutes + STARTING_MINUTES
        reason = not_idle_since(max(awake, unready_since), now, minutes)
        reason = reason and f"it is not ready; {reason}"
        why = f"not ready for {minutes} min"
    if reason is not None:
        return f"nothing is parked: {reason}"
    cluster.park(parking.namespace, parking.runtime, shown(now))
    return f"{why}: parked {parking.runtime}"


def _why_ready_stays(parking: Parking, now: float) -> str | None:
    runtime = Runtime(parking)
    try:
        return why_not(runtime.use(), now, parking.idle_minutes) or why_kernels_stay(
            runtime.kernels()
        )
    except AskError as error:
        return f"it can't be asked: {error}"


def main(environment: Mapping[str, str] = os.environ, account: Path = ACCOUNT) -> int:
    """Look once. Returns 0 also where the runtime can't be asked, 1 where the cluster refuses."""
    try:
        parking = parse(environment.get(VARIABLE, ""))
        print(look(parking, lambda: Cluster(environment, account, Kind.DEPLOYMENT)))
    except WrongError as error:
        print(f"{VARIABLE}: {error}", file=sys.stderr)
        return 1
    except AskError as error:
        print(f"the cluster can't be asked, or the runtime not parked: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
