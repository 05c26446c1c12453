"""Which zone a machine goes to where its own has no room, and whether it may go at all.

A machine leaves its zone with its cache disk, which is made anew in the next one: only a disk that
nothing was ever written to goes unasked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from scripts.bootstrap import exported
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.exported import GROUP, INSTANCE
from scripts.bootstrap.places import PROJECT

DISK = "gcp:compute/disk:Disk"
_OF_A_ZONE = (DISK, INSTANCE, GROUP)
_OF_A_REGION = (
    "gcp:compute/address:Address",
    "gcp:compute/subnetwork:Subnetwork",
    "gcp:compute/resourcePolicy:ResourcePolicy",
)

ZONE_KEY = "gcp:zone"
REGION_KEY = "gcp:region"
ZONES_KEY = f"{PROJECT}:zones"
MOVE_CACHE = "--move-cache"

# Outputs of a disk that say that a machine has had it, or has it now.
_ATTACHED = ("lastAttachTimestamp", "lastDetachTimestamp", "users")


@dataclass(frozen=True)
class Configured:
    """What a stack's configuration says of zones: `zone` is the machine's own now.

    `region` is None where it is left to the zone.
    """

    zone: str
    zones: tuple[str, ...]
    region: str | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """Every zone to try: the machine's own, at its place where it is listed, else first."""
        return self.zones if self.zone in self.zones else (self.zone, *self.zones)

    def following(self, tried: Collection[str]) -> str | None:
        """Return the first zone that is not among those `tried`, or None."""
        return next((zone for zone in self.order if zone not in tried), None)

    def moved(self, zone: str) -> dict[str, str]:
        """Return the keys, with their values, that send the machine to `zone`.

        The zone that it leaves stays in the order, to be tried again another time.
        """
        changed = {ZONE_KEY: zone}
        if self.order != self.zones:
            changed[ZONES_KEY] = " ".join(self.order)
        if self.region is not None and self.region != region_of(zone):
            changed[REGION_KEY] = region_of(zone)
        return changed


@dataclass(frozen=True)
class Disk:
    """A disk of the stack: whether a machine ever had it, and whether pulumi may delete it."""

    urn: str
    name: str
    attached: bool
    protected: bool


@dataclass(frozen=True)
class Standing:
    """What a stack has in its zone and its region by its state.

    `running` names the machines that run. `zonal` and `regional` are the URNs of all that the
    machine would leave there with its zone, and with its region.
    """

    disks: tuple[Disk, ...] = ()
    running: tuple[str, ...] = ()
    zonal: tuple[str, ...] = ()
    regional: tuple[str, ...] = ()


def region_of(zone: str) -> str:
    """Return the region of a zone."""
    return zone.rpartition("-")[0]


def configured(config: Mapping[str, object]) -> Configured:
    """Return the zones in what `pulumi config --json` printed, parsed.

    Raises `BootstrapError` for one without a zone.
    """

    def text(key: str) -> str | None:
        entry = config.get(key)
        value = cast("dict[str, object]", entry).get("value") if isinstance(entry, dict) else None
        return value if isinstance(value, str) and value else None

    zone = text(ZONE_KEY)
    if zone is None:
        raise BootstrapError(f"{ZONE_KEY} is not set", f"scripts/pulumi config set {ZONE_KEY} ZONE")
    return Configured(zone, _words(text(ZONES_KEY) or ""), text(REGION_KEY))


def _words(text: str) -> tuple[str, ...]:
    """Return a list as configuration has it: a JSON list, or words."""
    if text.lstrip().startswith("["):
        listed = cast("list[object]", json.loads(text))
        return tuple(str(word) for word in listed)
    return tuple(text.replace(",", " ").split())


def standing(export: exported.Export) -> Standing:
    """Return what the state `export` has in its zone; it must be as fresh as a refresh makes it."""
    zonal, regional = list(_of(_OF_A_ZONE, export)), _of(_OF_A_REGION, export)
    return Standing(
        disks=tuple(_disk(one) for one in zonal if one.get("type") == DISK),
        running=tuple(_name(one["urn"]) for one in zonal if _runs(one)),
        zonal=tuple(one["urn"] for one in zonal),
        regional=tuple(one["urn"] for one in regional),
    )


def _of(kinds: Collection[str], export: exported.Export) -> Iterator[exported.Resource]:
    for one in exported.resources(export):
        # One that is being replaced was deleted, and stands there with what it last was.
        if one.get("type") in kinds and not one.get("pendingReplacement"):
            yield one


def _disk(resource: exported.Resource) -> Disk:
    outputs = resource.get("outputs") or {}
    return Disk(
        urn=resource["urn"],
        name=str(outputs.get("name") or _name(resource["urn"])),
        attached=any(outputs.get(key) for key in _ATTACHED),
        protected=resource.get("protect", False),
    )


def _runs(resource: exported.Resource) -> bool:
    outputs = resource.get("outputs") or {}
    if resource.get("type") == INSTANCE:
        return outputs.get("currentStatus") == "RUNNING"
    if resource.get("type") == GROUP and outputs.get("targetSize"):
        statuses = cast("Sequence[Mapping[str, object]]", outputs.get("statuses") or ())
        return any(status.get("isStable") for status in statuses)
    return False


def _name(urn: str) -> str:
    return urn.rsplit("::", 1)[-1]


def refuse_to_leave(found: Standing, zone: str, stack: str, *, give_up_cache: bool) -> None:
    """Raise `BootstrapError` where the machine of `stack` must not leave its `zone`.

    That is where it runs, and where a disk may hold data that nobody gave up.
    """
    if found.running:
        raise BootstrapError(
            f"{zone} has no room for what was to be changed, and {', '.join(found.running)} runs "
            "there: a machine that runs is not moved",
            f"scripts/up {stack} again later, or undo the change",
        )
    holding = [disk for disk in found.disks if disk.attached]
    names = ", ".join(disk.name for disk in holding)
    if holding and not give_up_cache:
        raise BootstrapError(
            f"{zone} has no room for the machine, and its cache disk {names} may hold data: "
            "another zone means another disk, and the models are fetched again",
            f"scripts/up {stack} again later, or give that disk up: scripts/up {stack} "
            f"{MOVE_CACHE}",
        )
    if any(disk.protected for disk in holding):
        raise BootstrapError(
            f"{zone} has no room for the machine, and {MOVE_CACHE} would delete its cache disk "
            f"{names}, which is protected (keep_data)",
            f"scripts/up {stack} again later, or give that disk up: scripts/pulumi config set "
            f"keep_data false --stack {stack}, then scripts/up {stack} {MOVE_CACHE}",
        )


def nowhere(found: Configured, tried: Sequence[str], stack: str) -> BootstrapError:
    """Return the error for a machine that no zone has room for."""
    if not found.zones:
        return BootstrapError(
            f"{found.zone} has no room for the machine now, and zones names no others",
            f"scripts/up {stack} again later, or name zones to go on with: scripts/pulumi config "
            f'set zones "ZONE ZONE" --stack {stack}, then scripts/up {stack}',
        )
    return BootstrapError(
        f"none of {', '.join(tried)} has room for the machine now",
        f"scripts/up {stack} again later; or more zones: scripts/pulumi config set zones "
        f'"{" ".join(found.order)} ZONE" --stack {stack}; or another machine: scripts/pulumi '
        f"config set machine_type TYPE --stack {stack}",
    )
