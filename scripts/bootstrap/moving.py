"""`pulumi up` that goes on with the next zone where one has no room for the machine."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from scripts.bootstrap import event_log, exported, stack, zones
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.zones import Configured, Standing

# Each try is another zone of the list; this only bounds what a broken one could do.
MAX_ZONES = 100

Up = Callable[[Sequence[str], Mapping[str, str]], int]
"""Runs `pulumi up` with more arguments and variables; returns its exit status."""


def up(ready: Prepared, name: str, run: Up, *, give_up_cache: bool) -> int:
    """Bring `name` up in the first of its zones with room, its own first; return the exit status.

    Raises `BootstrapError` where no zone has room, and where the machine must not leave the one
    that has none: its cache disk may hold data that `give_up_cache` does not give up.
    """
    tried: list[str] = []
    for _ in range(MAX_ZONES):
        status, failed = _up_once(run)
        if status == 0 or _was_ended(status) or not event_log.no_room(failed):
            _say_quotas(event_log.quotas(failed), name)
            return status
        found = configured(ready, name)
        tried.append(found.zone)
        following = found.following(tried)
        if following is None:
            raise zones.nowhere(found, tried, name)
        standing = _standing(ready, name)
        zones.refuse_to_leave(standing, found.zone, name, give_up_cache=give_up_cache)
        _move(ready, name, found, following, standing)
    raise AssertionError("zones are finite")


def refuse_without_zones(ready: Prepared, name: str) -> None:
    """Raise `BootstrapError` where the machine of `name` has no other zone to go to."""
    found = configured(ready, name)
    if found.following([found.zone]) is None:
        raise BootstrapError(
            f"{zones.MOVE_CACHE} is for a machine with other zones to go to, and zones of {name} "
            f"names none beside {found.zone}",
            f'scripts/pulumi config set zones "{found.zone} ZONE" --stack {name}',
        )


def configured(ready: Prepared, name: str) -> Configured:
    """Return what the stack's configuration says of zones. Raises `BootstrapError`."""
    said = _pulumi(ready, ["config", "--json", "--stack", name], f"the configuration of {name}")
    return zones.configured(cast("dict[str, object]", json.loads(said)))


def _was_ended(status: int) -> bool:
    """Whether a signal ended pulumi, a person's or another's; 255 is its own word for a failure."""
    return 128 < status <= 128 + signal.NSIG


def _up_once(run: Up) -> tuple[int, tuple[event_log.Failure, ...]]:
    with tempfile.TemporaryDirectory(prefix="llm-endpoint-") as folder:
        log = Path(folder) / "events.json"
        status = run(["--event-log", str(log)], event_log.VARIABLES)
        return status, event_log.failures(log)


def _standing(ready: Prepared, name: str) -> Standing:
    """Return what there is, as the cloud has it now: an up can be told not to look."""
    found = zones.standing(exported.export(ready.checkout, name, ready.cli, ready.variables))
    if not found.zonal:
        return found
    words = ["refresh", "--yes", "--skip-preview", *_targets(found.zonal), "--stack", name]
    _pulumi(ready, words, f"whether a disk of {name} holds data")
    return zones.standing(exported.export(ready.checkout, name, ready.cli, ready.variables))


def _move(
    ready: Prepared, name: str, found: Configured, following: str, standing: Standing
) -> None:
    """Clear the way to the zone `following`, and write down, in one piece, that it is the zone."""
    lost = [disk.name for disk in standing.disks if disk.attached]
    given_up = f", and gives up the disk {', '.join(lost)} ({zones.MOVE_CACHE})" if lost else ""
    other_region = zones.region_of(found.zone) != zones.region_of(following)
    address = "; its address becomes another one" if other_region else ""
    note(
        f"\n  NO ROOM in {found.zone} for the machine of {name}. It goes to {following} "
        f"(zones){given_up}{address}."
    )
    for disk in standing.disks:
        if disk.protected:
            # Nothing was ever on it. The one that follows is protected again.
            words = ["state", "unprotect", disk.urn, "--yes", "--stack", name]
            _pulumi(ready, words, f"the protection of {disk.name}")
    # Left to the next up, they would be replaced one by one. Compute Engine deletes no address and
    # no subnetwork that a machine has, be it a stopped one; what an up that fails half-way has not
    # deleted yet is in the way of a return to its region; and what it was creating when it was
    # killed is found again only where the state has no other of that name.
    leaving = [*standing.zonal, *(standing.regional if other_region else ())]
    if leaving:
        words = ["destroy", "--yes", "--skip-preview", "--refresh=false", "--target-dependents"]
        words += [*_targets(leaving), "--stack", name]
        _pulumi(ready, words, f"what {name} has in {found.zone}")
    changed = found.moved(following)
    stack.configure(ready.checkout, name, changed, ready.cli, ready.variables)
    keys = ", ".join(f"{key} = {value}" for key, value in changed.items())
    note(f"  Written to its configuration: {keys}\n")


def _targets(urns: Sequence[str]) -> list[str]:
    return [word for urn in urns for word in ("--target", urn)]


def _say_quotas(quotas: Sequence[str], name: str) -> None:
    if quotas:
        note(
            f"note: the quota {', '.join(quotas)} is used up: that is no lack of room, and another "
            f"zone of the region has no more of it. scripts/doctor {name} says where to ask for it"
        )


def _pulumi(ready: Prepared, words: Sequence[str], what: str) -> str:
    """Return what the CLI printed; `BootstrapError` where it failed, with `what` it was about."""
    done = stack.run(ready.checkout, ready.cli, ready.variables, words)
    if done.returncode != 0:
        said = stack.complaint(done) or done.stdout.strip()[-500:]
        raise BootstrapError(f"{what} can't be seen to: {said}", "see that message")
    return done.stdout
