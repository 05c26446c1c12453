"""Stops a machine that nobody uses: `python3 -m machine.watchdog`, each minute.

Time is counted by CLOCK_MONOTONIC, which all processes share, between runs that see the same: a
wall clock that jumps neither stops a machine nor keeps it alive, and one that was suspended has all
its minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from machine.commands import Command, must
from machine.config import Config, PowerOff, ResizeGroup
from machine.errors import StageError
from machine.files import write_whole
from machine.status import Record, State, Status
from machine.world import World, this_machine

LEAST_BOOT_MINUTES = 240
"""How long a machine that does not get ready is left, at the least: as long as `up` may wait for it
(the most that the setting `ready_minutes` takes)."""


@dataclass(frozen=True)
class Activity:
    """What the gateway says: unix times of the first readiness and the last request, open requests.

    `ready_since` and `last_request` are None where there was none.
    """

    ready_since: float | None
    last_request: float | None
    active: int


@dataclass(frozen=True)
class Watch:
    """What earlier runs saw, in seconds of the monotonic clock.

    `seen` is the activity that has been the same since `idle_since`; `unready_since` is since when
    the endpoint has not been ready. None: it is not idle, or it is ready.
    """

    seen: Activity | None = None
    idle_since: float | None = None
    unready_since: float | None = None


def parse_activity(text: str) -> Activity | None:
    """Read what the gateway wrote; None where it is damaged, which says nothing of idleness."""
    try:
        content: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    entries = cast("dict[str, object]", content)
    ready_since, last_request = entries.get("ready_since"), entries.get("last_request")
    active = entries.get("active")
    if (
        not {"ready_since", "last_request"} <= entries.keys()
        or not isinstance(ready_since, int | float | None)
        or not isinstance(last_request, int | float | None)
        or not isinstance(active, int)
    ):
        return None
    return Activity(ready_since, last_request, active)


def is_serving(records: Mapping[str, Record]) -> bool:
    """Whether the endpoint is ready and no stage has failed."""
    ready = records.get("ready")
    failed = any(record.state is State.FAILED for record in records.values())
    return ready is not None and ready.state is State.DONE and not failed


def observe(before: Watch, activity: Activity | None, serving: bool, now: float) -> Watch:
    """Return what is known after one more look, `now` in seconds of the monotonic clock."""
    unready_since = None
    if not serving:
        unready_since = now if before.unready_since is None else before.unready_since
    if activity is None:
        return Watch(before.seen, None, unready_since)
    if activity.last_request is not None and activity != before.seen:
        # Requests still come, though a stage has failed. (A gateway that died with requests open
        # leaves a file that does not change.)
        unready_since = None
    if activity.active > 0 or activity.ready_since is None:
        return Watch(activity, None, unready_since)
    same = before.seen == activity and before.idle_since is not None
    return Watch(activity, before.idle_since if same else now, unready_since)


def reason_to_stop(watch: Watch, now: float, idle_minutes: int) -> str | None:
    """Return why the machine should stop at `now`; None where it should not."""
    if watch.idle_since is not None and now - watch.idle_since >= idle_minutes * 60:
        return f"no request for {(now - watch.idle_since) / 60:.0f} min"
    boot_minutes = max(idle_minutes, LEAST_BOOT_MINUTES)
    if watch.unready_since is not None and now - watch.unready_since >= boot_minutes * 60:
        return f"not ready for {(now - watch.unready_since) / 60:.0f} min"
    return None


def look(config: Config, world: World, status: Status) -> str | None:
    """Look once and stop the machine where it is time; returns the line to log, if any."""
    idle_minutes = config.watchdog.idle_minutes
    if idle_minutes is None:
        return None
    now = world.monotonic()
    before = _read_watch(world.paths.watched)
    serving = is_serving(status.read_all())
    watch = observe(before, _read_activity(world.paths.activity), serving, now)
    write_whole(world.paths.watched, json.dumps(asdict(watch)) + "\n")
    why = reason_to_stop(watch, now, idle_minutes)
    if why is None:
        return None
    try:
        _stop(config.watchdog.stop, world)
    except StageError as error:
        return f"{why}: should stop, and can't: {error.message.splitlines()[0]}; again in a minute"
    return f"{why}: stopping"


def _stop(how: PowerOff | ResizeGroup, world: World) -> None:
    match how:
        case PowerOff():
            must(world.run, Command("powering off", ("systemctl", "poweroff")))
        case ResizeGroup(group):
            world.google.resize_group(group, 0)


def _read_activity(path: Path) -> Activity | None:
    try:
        return parse_activity(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _read_watch(path: Path) -> Watch:
    """Return what earlier runs of this boot kept; a damaged file begins anew."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        seen = kept.pop("seen")
        watch = Watch(seen=Activity(**seen) if seen else None, **kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Watch()
    return watch


def main() -> int:
    """Look once; returns 0 also where stopping failed, which the next minute tries again."""
    world = this_machine(print)
    paths = world.paths
    try:
        config = Config.load(paths.config)
    except StageError as error:
        print(error.message, file=sys.stderr)
        return 1
    line = look(config, world, Status(paths.run, paths.console))
    if line is not None:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
