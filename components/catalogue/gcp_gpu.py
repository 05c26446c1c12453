"""Google Cloud's GPUs and the machines that have them: the facts of `gcp_gpu.toml`.

A GPU is built into a machine type (`g2-standard-8`), or attached to a machine of the series N1,
whose facts are in the catalogue of CPU machines. A zone that no source names is not known, which
refuses nothing.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict, cast

from components.catalogue.gcp import (
    CatalogueError,
    MachineType,
    Series,
    catalogue,
    find_machine_type,
    may_be_new_series,
    region_of,
)

FILE = Path(__file__).with_name("gcp_gpu.toml")
DEFAULT_TYPE = "g2-standard-8"

_ATTACHABLE_TO = "n1"
_ARM = "a4x"
_FEWEST_VCPUS = 8
_SHOWN_ZONES = 8


@dataclass(frozen=True)
class Gpu:
    """One GPU model.

    `accelerator` is its name in Compute Engine. `memory_bytes` is one GPU's, as its driver states
    it, of which the driver keeps some hundred MiB. `quota` and `spot_quota` are the quotas that it
    is counted in. `zones` have it, on one machine or another; `regions` are theirs and those that
    have it in a zone that is not known. `last_cuda` (a major version) and `last_driver` (a branch)
    are the last that support it, None where the newest do. `ends` is when Google ends it.
    """

    name: str
    accelerator: str
    memory_bytes: int
    compute_capability: str
    quota: str
    zones: frozenset[str]
    regions: frozenset[str] = frozenset()
    spot_quota: str = ""
    generation: str = ""
    first_cuda: str = ""
    last_cuda: int | None = None
    last_driver: int | None = None
    ends: datetime.date | None = None


class Fit(NamedTuple):
    """Some GPU memory: `gpus` of `gpu` on `machine`, such as `n1-standard-8 + t4`."""

    machine: str
    gpu: Gpu
    gpus: int


@dataclass(frozen=True)
class _Kind:
    """Machine types that share a GPU model, a disk type and their zones."""

    gpu: str
    counts: dict[str, int]
    series: Series
    zones: frozenset[str]
    only_spot: frozenset[str]
    fractions: frozenset[str]


@dataclass(frozen=True)
class _Known:
    """All of `gcp_gpu.toml`. `limits` is the most vCPUs and bytes of N1, by GPU and count."""

    as_of: str
    gpus: dict[str, Gpu]
    gone: dict[str, str]
    kinds: dict[str, _Kind]
    limits: dict[str, dict[int, tuple[int, int]]]


class _GenerationTable(TypedDict):
    first_cuda: str
    last_cuda: NotRequired[int]
    last_driver: NotRequired[int]


class _GpuTable(TypedDict):
    accelerator: str
    mib: int
    compute_capability: str
    generation: str
    quota: NotRequired[str]
    quota_family: NotRequired[str]
    ends: NotRequired[datetime.date]


class _AttachedTable(TypedDict):
    limits: dict[str, tuple[int, int]]
    zones: dict[str, str]


class _KindTable(TypedDict):
    cpu: str
    disk: str
    gpu: str
    only_spot: NotRequired[list[str]]
    fractions: NotRequired[list[str]]
    types: dict[str, tuple[int, float, int]]
    zones: dict[str, str]


class _File(TypedDict):
    as_of: datetime.date
    generations: dict[str, _GenerationTable]
    gone: dict[str, str]
    gpus: dict[str, _GpuTable]
    attached: dict[str, _AttachedTable]
    machines: dict[str, _KindTable]


@cache
def _known() -> _Known:
    content = cast(_File, tomllib.loads(FILE.read_text(encoding="utf-8")))
    return _Known(
        as_of=str(content["as_of"]),
        gpus={name: _gpu(name, content) for name in content["gpus"]},
        gone=content["gone"],
        kinds={name: _kind(name, table) for name, table in content["machines"].items()},
        limits={
            name: {
                int(count): (vcpus, memory * 2**30)
                for count, (vcpus, memory) in table["limits"].items()
            }
            for name, table in content["attached"].items()
        },
    )


def _gpu(name: str, content: _File) -> Gpu:
    table = content["gpus"][name]
    generation = content["generations"][table["generation"]]
    offers = [kind["zones"] for kind in content["machines"].values() if kind["gpu"] == name]
    if name in content["attached"]:
        offers.append(content["attached"][name]["zones"])
    family = table.get("quota_family")
    return Gpu(
        name=name,
        accelerator=table["accelerator"],
        memory_bytes=table["mib"] * 2**20,
        compute_capability=table["compute_capability"],
        quota=table.get("quota", f"GPUS_PER_GPU_FAMILY (gpu_family {family})"),
        spot_quota=f"PREEMPTIBLE_{table.get('quota', f'{family}_GPUS')}",
        zones=_zones(offers),
        regions=frozenset(region for offer in offers for region in offer),
        generation=table["generation"],
        first_cuda=generation["first_cuda"],
        last_cuda=generation.get("last_cuda"),
        last_driver=generation.get("last_driver"),
        ends=table.get("ends"),
    )


def _kind(name: str, table: _KindTable) -> _Kind:
    types = table["types"]
    return _Kind(
        gpu=table["gpu"],
        counts={kind: count for kind, (_, _, count) in types.items()},
        series=Series(
            name=name.partition("-")[0],
            cpu=table["cpu"],
            threads_per_core=2,
            disk=table["disk"],
            spot=True,
            avx2=True,
            regions=frozenset(table["zones"]),
            types={kind: (vcpus, memory) for kind, (vcpus, memory, _) in types.items()},
        ),
        zones=_zones([table["zones"]]),
        only_spot=frozenset(table.get("only_spot", ())),
        fractions=frozenset(table.get("fractions", ())),
    )


def _zones(offers: Iterable[dict[str, str]]) -> frozenset[str]:
    return frozenset(
        f"{region}-{letter}"
        for offer in offers
        for region, letters in offer.items()
        for letter in letters
    )


def find_gpu(name: str) -> Gpu:
    """Return a GPU's facts.

    Raises `CatalogueError` where there is no such GPU, with the names that there are.
    """
    known = _known()
    if name in known.gpus:
        return known.gpus[name]
    if name in known.gone:
        raise CatalogueError(
            f"Google ended the {name} {known.gone[name]}: take {', '.join(known.gpus)}"
        )
    spelt = {gpu.accelerator: gpu.name for gpu in known.gpus.values()}
    shorter = [one for one in known.gpus if name.lower().startswith(f"{one}-")]
    near = get_close_matches(name.lower(), known.gpus, n=1, cutoff=0.6)
    meant = spelt.get(name) or next(iter([*shorter, *near]), None)
    question = f"; did you mean {meant}?" if meant else ""
    raise CatalogueError(f"it takes {', '.join(known.gpus)}{question}")


def ending(gpu: Gpu) -> str | None:
    """Return a warning where Google has said when it ends `gpu`; None where it has not."""
    if gpu.ends is None:
        return None
    return (
        f"Google ends the {gpu.name} on {gpu.ends}: no machine with it is made or started after "
        f"that; {DEFAULT_TYPE} has an l4"
    )


def _kind_of(machine_type: str) -> _Kind | None:
    return next((kind for kind in _known().kinds.values() if machine_type in kind.counts), None)


def gpus_of(machine_type: str) -> tuple[Gpu, int] | None:
    """Return the GPU built into a machine type and how many; None where it has none built in."""
    kind = _kind_of(machine_type)
    return None if kind is None else (find_gpu(kind.gpu), kind.counts[machine_type])


def find_gpu_machine_type(name: str) -> MachineType | None:
    """Return the facts of a machine type that has or takes GPUs; None where it may be newer.

    Raises `CatalogueError` where it is misspelt, has no GPU, or is not served on.
    """
    kind = _kind_of(name)
    if kind is not None:
        vcpus, memory = kind.series.types[name]
        return MachineType(name, kind.series, vcpus, int(memory * 2**30))
    series, others = name.partition("-")[0], catalogue().elsewhere
    if series in {_ATTACHABLE_TO, "custom"}:
        return find_machine_type(name)
    if series == _ARM or series in others["arm"]:
        raise CatalogueError(
            "that is an Arm machine, and what is put on the machine was built and booted for "
            f"x86-64 alone: take {DEFAULT_TYPE}"
        )
    if series in others["tpu"]:
        raise CatalogueError(f"that is a machine with TPUs, not GPUs: take {DEFAULT_TYPE}")
    if series in catalogue().series or series in others["shared"]:
        raise CatalogueError(
            f"{series} has no GPUs and takes none: take {DEFAULT_TYPE}, or an n1 machine with gpu"
        )
    if any(name in one.fractions for one in _known().kinds.values()):
        raise CatalogueError(
            "that machine has a fraction of a GPU, which takes another driver: take g4-standard-48"
        )
    if series in others["gpu"]:
        raise CatalogueError(f"{series} has no such machine type{_meant_type(name)}")
    if may_be_new_series(series) and "-" in name:
        return None
    raise CatalogueError(f"Google has no machine type of that name{_meant_type(name)}")


def _meant_type(name: str) -> str:
    types = [one for kind in _known().kinds.values() for one in kind.counts]
    near = get_close_matches(
        name, [*types, *catalogue().series[_ATTACHABLE_TO].types], n=3, cutoff=0.7
    )
    return f"; did you mean {' or '.join(near)}?" if near else f": take {DEFAULT_TYPE}"


def only_spot(machine_type: str) -> str | None:
    """Return why an ordinary request gets `machine_type` as Spot alone; None where it need not."""
    kind = _kind_of(machine_type)
    if kind is None or machine_type not in kind.only_spot:
        return None
    return (
        f"Google gives {machine_type} to an ordinary request only as Spot; otherwise it takes a "
        "reservation or flex-start, which are not made here"
    )


def check_attachment(machine: MachineType, gpu: Gpu, count: int) -> str | None:
    """Return why `machine` can't have `count` of `gpu` attached; None where it can.

    Source: docs.cloud.google.com/compute/docs/gpus, the tables of N1.
    """
    built_in = gpus_of(machine.name)
    if built_in is not None:
        return f"{machine.name} has its GPUs built in ({built_in[1]} {built_in[0].name})"
    limits = _known().limits
    if machine.series.name != _ATTACHABLE_TO:
        return f"only n1 machines take a GPU, and {machine.name} is none"
    if gpu.name not in limits:
        kind = next(one for one in _known().kinds.values() if one.gpu == gpu.name)
        return (
            f"the {gpu.name} is built into machines such as {next(iter(kind.counts))}, and "
            f"{machine.name} takes {', '.join(limits)}"
        )
    by_count = limits[gpu.name]
    if count not in by_count:
        return f"a machine takes {_or([str(one) for one in by_count])} {gpu.name}, not {count}"
    if _within(machine, by_count[count]):
        return None
    vcpus, memory = by_count[count]
    enough = next((one for one, most in by_count.items() if _within(machine, most)), None)
    return (
        f"with {count} {gpu.name} a machine has at most {vcpus} vCPUs and {memory / 2**30:g} GB, "
        f"and {machine.name} has {machine.vcpus} and {machine.memory_bytes / 2**30:g} GB: take a "
        "smaller n1 machine" + (f", or {enough} GPUs" if enough else "")
    )


def _within(machine: MachineType, most: tuple[int, int]) -> bool:
    return machine.vcpus <= most[0] and machine.memory_bytes <= most[1]


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def gpu_not_in_zone(gpu: Gpu, zone: str) -> str | None:
    """Return why `gpu` can't be had in `zone`; None where it can or nobody knows."""
    return _missing(gpu.name, gpu.zones, gpu.regions, zone)


def machine_not_in_zone(machine_type: str, zone: str) -> str | None:
    """Return why a type with built-in GPUs can't be had in `zone`; None where it can, nobody
    knows, or it has none built in.
    """
    kind = _kind_of(machine_type)
    if kind is None:
        return None
    return _missing(machine_type, kind.zones, kind.series.regions, zone)


def _missing(what: str, zones: frozenset[str], regions: frozenset[str], zone: str) -> str | None:
    region = region_of(zone)
    letters = catalogue().zones.get(region, "")
    somewhere = region in regions and not any(region_of(one) == region for one in zones)
    if zone in zones or somewhere or zone.rpartition("-")[2] not in letters:
        return None
    same = sorted(one for one in zones if region_of(one) == region)
    continent = region.partition("-")[0]
    near = same or sorted(one for one in zones if one.partition("-")[0] == continent)
    near = near or sorted(zones)
    more = f" and {len(near) - _SHOWN_ZONES} more" if len(near) > _SHOWN_ZONES else ""
    here = [name for name, gpu in _known().gpus.items() if zone in gpu.zones]
    return (
        f"{zone} has no {what}, as of {_known().as_of}: it is in "
        f"{', '.join(near[:_SHOWN_ZONES])}{more}; {zone} has {', '.join(here) or 'no GPUs'}"
    )


@cache
def _fits() -> tuple[Fit, ...]:
    """Every GPU model and count once, on the smallest machine whose memory holds the GPUs'."""
    known = _known()
    found: dict[tuple[str, int], tuple[int, Fit]] = {}

    def offer(machine: str, gpu: Gpu, count: int, vcpus: int, memory: float) -> None:
        if vcpus < _FEWEST_VCPUS or memory * 2**30 < gpu.memory_bytes * count:
            return
        best = found.get((gpu.name, count))
        if best is None or vcpus < best[0]:
            found[gpu.name, count] = (vcpus, Fit(machine, gpu, count))

    for kind in known.kinds.values():
        for name, (vcpus, memory) in kind.series.types.items():
            offer(name, known.gpus[kind.gpu], kind.counts[name], vcpus, memory)
    standard = {
        name: size
        for name, size in catalogue().series[_ATTACHABLE_TO].types.items()
        if "-standard-" in name
    }
    for gpu_name, by_count in known.limits.items():
        for count, (most_vcpus, most_memory) in by_count.items():
            for name, (vcpus, memory) in standard.items():
                if vcpus <= most_vcpus and memory * 2**30 <= most_memory:
                    several = f"{count} " if count > 1 else ""
                    label = f"{name} + {several}{gpu_name}"
                    offer(label, known.gpus[gpu_name], count, vcpus, memory)
    fits = [fit for _, fit in found.values()]
    return tuple(sorted(fits, key=lambda fit: (fit.gpu.memory_bytes * fit.gpus, fit.gpus)))


def which_fit(total_bytes: int) -> list[Fit]:
    """Return what has at least `total_bytes` of GPU memory in all, the least memory first."""
    return [fit for fit in _fits() if fit.gpu.memory_bytes * fit.gpus >= total_bytes]
