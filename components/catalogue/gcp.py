"""Google Cloud's zones and machine types: the facts of `gcp.toml`, and what a name must be.

A name that the catalogue lacks is misspelt or newer than the catalogue. What can only be misspelt
is refused; what may be new is a warning.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TypedDict, cast

FILE = Path(__file__).with_name("gcp.toml")

_ZONE = re.compile(r"(?P<words>[a-z]+-[a-z]+)(?P<number>[0-9]{1,2})-(?P<letter>[a-z])")
_SERIES = re.compile(r"(?P<letter>[a-z])(?P<generation>[0-9])(?P<suffix>[a-z]{0,2})")
_CUSTOM = re.compile(
    r"(?:(?P<series>[a-z0-9]+)-)?custom-(?P<vcpus>[0-9]{1,3})-(?P<mib>[0-9]{1,7})(?P<ext>-ext)?"
)
_CUSTOM_SERIES = ("e2", "n1", "n2", "n2d", "n4", "n4d")
# Regions are numbered as they come, with gaps: one this much above the last may be new.
_NEW_REGIONS = 4


class CatalogueError(ValueError):
    """A name that is misspelt, or names what is not served on; the message says what would do."""


@dataclass(frozen=True)
class Series:
    """One machine series: what all of its machine types have in common.

    `disk` is a disk type that boot and data disks can have. `avx2` says that every processor of the
    series has these instructions. `regions` are those in which it is offered, in one zone or
    another. `types` is (vCPUs, memory in GiB) by name.
    """

    name: str
    cpu: str
    threads_per_core: int
    disk: str
    spot: bool
    avx2: bool
    regions: frozenset[str]
    types: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class MachineType:
    """One machine type. `memory_bytes` is all that the machine has, its kernel's share included."""

    name: str
    series: Series
    vcpus: int
    memory_bytes: int

    @property
    def cores(self) -> int:
        """Physical cores, at least one."""
        return max(1, self.vcpus // self.series.threads_per_core)


class _SeriesTable(TypedDict):
    cpu: str
    threads_per_core: int
    disk: str
    spot: bool
    avx2: bool
    regions: list[str]
    types: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Catalogue:
    """All that `gcp.toml` holds. `zones` is the zone letters by region, "" where not known."""

    as_of: str
    zones: dict[str, str]
    series: dict[str, Series]
    elsewhere: dict[str, tuple[str, ...]]


@cache
def catalogue() -> Catalogue:
    """Return the catalogue, read once."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    tables = cast(dict[str, _SeriesTable], content["series"])
    elsewhere = cast(dict[str, list[str]], content["elsewhere"])
    return Catalogue(
        as_of=str(content["as_of"]),
        zones=cast(dict[str, str], content["zones"]),
        series={name: _series(name, table) for name, table in tables.items()},
        elsewhere={kind: tuple(names) for kind, names in elsewhere.items()},
    )


def _series(name: str, table: _SeriesTable) -> Series:
    return Series(
        name=name,
        cpu=table["cpu"],
        threads_per_core=table["threads_per_core"],
        disk=table["disk"],
        spot=table["spot"],
        avx2=table["avx2"],
        regions=frozenset(table["regions"]),
        types={kind: (vcpus, memory) for kind, (vcpus, memory) in table["types"].items()},
    )


def region_of(zone: str) -> str:
    """Return the region of a well-formed zone."""
    return zone.rpartition("-")[0]


def check_zone(zone: str) -> str | None:
    """Return a warning where the catalogue does not know `zone`; None where it does.

    Raises `CatalogueError` where it is misspelt.
    """
    known = catalogue()
    found = _ZONE.fullmatch(zone)
    if found is None:
        regions = {zone, zone.rpartition("-")[0]} & known.zones.keys()
        if regions:
            region = regions.pop()
            if region == zone:
                raise CatalogueError(f"that is a region; its zones are {_zones(region)}")
            raise CatalogueError(f"that is no zone of {region}: its zones are {_zones(region)}")
        raise CatalogueError(f"that is no zone, such as europe-west4-a{_meant_zone(zone)}")
    region = region_of(zone)
    if region in known.zones:
        letters = known.zones[region]
        if found["letter"] in letters:
            return None
        if letters:
            raise CatalogueError(f"{region} has no such zone: its zones are {_zones(region)}")
    elif not _may_be_new_region(found["words"], int(found["number"])):
        raise CatalogueError(f"Google has no region {region}{_meant_zone(zone)}")
    return f"the catalogue of {known.as_of} does not know the zone {zone}: it is taken as it is"


def check_region(region: str) -> str | None:
    """Return a warning where the catalogue does not know `region`; None where it does.

    Raises `CatalogueError` where it is misspelt.
    """
    known = catalogue()
    if region in known.zones:
        return None
    zone = _ZONE.fullmatch(region)
    if zone is not None:
        raise CatalogueError(f"that is a zone, which lies in a region: take {region_of(region)}")
    found = _ZONE.fullmatch(f"{region}-a")
    if found is None or not _may_be_new_region(found["words"], int(found["number"])):
        near = get_close_matches(region, known.zones, n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ", such as europe-west4"
        raise CatalogueError(f"Google has no region of that name{hint}")
    return f"the catalogue of {known.as_of} does not know the region {region}: it is taken as it is"


def _zones(region: str) -> str:
    return ", ".join(f"{region}-{letter}" for letter in catalogue().zones[region])


def _meant_zone(zone: str) -> str:
    zones = [f"{name}-{letter}" for name, ends in catalogue().zones.items() for letter in ends]
    near = get_close_matches(zone, zones, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


def _may_be_new_region(words: str, number: int) -> bool:
    """Whether a region may have come since: known words, and a number above all known ones."""
    names = [re.fullmatch(r"([a-z]+)-([a-z]+)([0-9]+)", name) for name in catalogue().zones]
    known = [(found[1], found[2], int(found[3])) for found in names if found]
    place, _, direction = words.partition("-")
    if place not in {one[0] for one in known} or direction not in {one[1] for one in known}:
        return False
    last = max((one[2] for one in known if one[:2] == (place, direction)), default=0)
    return last < number <= last + _NEW_REGIONS


def find_machine_type(name: str) -> MachineType | None:
    """Return a machine type's facts; None where it may be newer than the catalogue.

    Raises `CatalogueError` where it is misspelt, and for what `cpu-vm` does not serve on.
    """
    known = catalogue()
    custom = _CUSTOM.fullmatch(name)
    series_name = (custom["series"] or "n1") if custom else name.partition("-")[0]
    for kind, why in _ELSEWHERE.items():
        if series_name in known.elsewhere[kind]:
            raise CatalogueError(why)
    if name.endswith("-metal"):
        raise CatalogueError("bare metal is not served on: take the same series without -metal")
    series = known.series.get(series_name)
    if series is None:
        if may_be_new_series(series_name) and "-" in name:
            return None
        raise CatalogueError(f"Google has no machine type of that name{_meant_type(name)}")
    if custom:
        return _custom(name, series, int(custom["vcpus"]), int(custom["mib"]), bool(custom["ext"]))
    if name not in series.types:
        raise CatalogueError(f"{series_name} has no such machine type{_meant_type(name)}")
    vcpus, memory = series.types[name]
    return MachineType(name, series, vcpus, int(memory * 2**30))


_ELSEWHERE = {
    "gpu": "that is a machine with GPUs, and this serves on processors: take e2-standard-16",
    "tpu": "that is a machine with TPUs, and this serves on processors: take e2-standard-16",
    "arm": "that is an Arm machine, and what runs on it here is built for x86-64 alone: take "
    "t2d-standard-16",
    "shared": "that machine has less than one core: take e2-standard-4 or more",
}


def _custom(name: str, series: Series, vcpus: int, mib: int, extended: bool) -> MachineType:
    """Return a custom machine type, held to the rules that all series share.

    Source: cloud.google.com/compute/docs/instances/creating-instance-with-custom-machine-type.
    """
    if series.name not in _CUSTOM_SERIES:
        raise CatalogueError(
            f"{series.name} has no custom machine types; {', '.join(_CUSTOM_SERIES)} have"
        )
    if vcpus < 1 or (vcpus > 1 and vcpus % 2):
        raise CatalogueError(f"a custom machine type has an even number of vCPUs, not {vcpus}")
    if mib % 256 or mib < 512:
        near = max(512, round(mib / 256) * 256)
        raise CatalogueError(f"the memory of a custom machine type is in steps of 256 MB: {near}")
    if not extended and mib > vcpus * 8192:
        raise CatalogueError(
            f"{mib} MB for {vcpus} vCPUs is over 8 GB each: end the name in -ext if the series "
            "has extended memory, or take more vCPUs"
        )
    return MachineType(name, series, vcpus, mib * 2**20)


def may_be_new_series(name: str) -> bool:
    """Return whether a series may have come since: a letter's next generation, or a new letter."""
    found = _SERIES.fullmatch(name)
    if found is None:
        return False
    known = catalogue()
    others = (name for names in known.elsewhere.values() for name in names)
    parts = [_SERIES.fullmatch(one) for one in (*known.series, *others)]
    same = [part for part in parts if part and part["letter"] == found["letter"]]
    last = max((int(part["generation"]) for part in same), default=0)
    suffixes = {part["suffix"] for part in same}
    return int(found["generation"]) > last or found["suffix"] not in suffixes


def _meant_type(name: str) -> str:
    types = [kind for series in catalogue().series.values() for kind in series.types]
    near = get_close_matches(name, types, n=3, cutoff=0.8)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def not_offered(machine: MachineType, region: str) -> str | None:
    """Return why `machine` can't be had in `region`; None where it can or nobody knows."""
    known = catalogue()
    if region not in known.zones or region in machine.series.regions:
        return None
    prefix = region.partition("-")[0]
    near = sorted(name for name in machine.series.regions if name.startswith(prefix))
    there = [name for name, series in known.series.items() if region in series.regions]
    offered = f"it is in {', '.join(near or sorted(machine.series.regions))}"
    return (
        f"{region} has no {machine.series.name}, as of {known.as_of}: {offered}; "
        f"{region} has {', '.join(there)}"
    )
