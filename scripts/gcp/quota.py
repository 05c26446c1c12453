"""How much of Google's quotas a machine takes, against what is left of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.catalogue.gcp_gpu import Gpu
from scripts.bootstrap.finding import Finding
from scripts.verify.shape import Json, dig, dig_text

# The general quota; every other series has one of its own, named after it.
_GENERAL_SERIES = ("e2", "n1", "f1", "g1")
_DISK_METRICS = {
    "pd-standard": "DISKS_TOTAL_GB",
    "pd-balanced": "SSD_TOTAL_GB",
    "pd-ssd": "SSD_TOTAL_GB",
    "hyperdisk-balanced": "HDB_TOTAL_GB",
}
ALL_REGIONS_CPUS = "CPUS_ALL_REGIONS"
ALL_REGIONS_GPUS = "GPUS_ALL_REGIONS"
SPOT_CPUS = "PREEMPTIBLE_CPUS"


@dataclass(frozen=True)
class Quota:
    """One quota: how much may be used, and how much is."""

    limit: float
    usage: float

    @property
    def left(self) -> float:
        """How much may still be used."""
        return self.limit - self.usage


@dataclass(frozen=True)
class Need:
    """What a stack takes of one quota, named by Google's `metric`. `region` None is all of them."""

    metric: str
    amount: float
    region: str | None


def cpu_metric(machine_type: str) -> str:
    """Return the quota that a standard machine of that type counts against."""
    series = machine_type.partition("-")[0]
    if series == "custom" or series in _GENERAL_SERIES:
        return "CPUS"
    return f"{series.upper()}_CPUS"


def needs(
    machine_type: str,
    vcpus: int,
    region: str,
    disks_gb: Iterable[tuple[str, int]],
    *,
    spot: bool,
    own_network: bool,
    has_spot_quota: bool,
) -> list[Need]:
    """Return what a machine takes, with its disks (type and GB), its address and its network.

    Spot machines count against their own quota where the project has one, else as all others do
    (cloud.google.com/compute/resource-usage).
    """
    cpus = SPOT_CPUS if spot and has_spot_quota else cpu_metric(machine_type)
    return [
        Need(cpus, vcpus, region),
        Need(ALL_REGIONS_CPUS, vcpus, None),
        *disk_needs(disks_gb, region),
        Need("STATIC_ADDRESSES", 1, region),
        Need("IN_USE_ADDRESSES", 1, region),
        *([Need("NETWORKS", 1, None)] if own_network else []),
    ]


def disk_needs(disks_gb: Iterable[tuple[str, int]], region: str) -> list[Need]:
    """Return what disks take, given by type and GB; types without a quota of theirs take none."""
    disks: dict[str, int] = {}
    for kind, size in disks_gb:
        if kind in _DISK_METRICS:
            metric = _DISK_METRICS[kind]
            disks[metric] = disks.get(metric, 0) + size
    return [Need(metric, size, region) for metric, size in disks.items()]


def gpu_needs(
    gpu: Gpu, count: int, region: str, regional: Mapping[str, Quota], *, spot: bool
) -> list[Need]:
    """Return what `count` GPUs take, of the quotas of their region and of all regions.

    Spot ones count against the quota of all others where the project has that one alone
    (cloud.google.com/compute/docs/instances/spot).
    """
    standard, preemptible = regional.get(gpu.quota), regional.get(gpu.spot_quota)
    only_standard = (
        standard is not None
        and standard.limit > 0
        and not (preemptible is not None and preemptible.limit > 0)
    )
    metric = gpu.spot_quota if spot and not only_standard else gpu.quota
    return [Need(metric, count, region), Need(ALL_REGIONS_GPUS, count, None)]


def read(content: Json) -> dict[str, Quota]:
    """Return the quotas in a region or a project of the compute API, by metric."""
    entries = dig(content, "quotas")
    return {
        dig_text(entry, "metric"): Quota(_number(dig(entry, "limit")), _number(dig(entry, "usage")))
        for entry in (entries if isinstance(entries, list) else [])
    }


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def findings(
    wanted: Sequence[Need],
    quotas: Mapping[str | None, Mapping[str, Quota]],
    project: str,
    *,
    exists: bool,
) -> Iterator[Finding]:
    """Yield what of each quota is needed and left.

    `quotas` are by region; those of the project under None. Where the machine `exists`, what it
    takes is used already, and nothing is asked for beyond.
    """
    for need in wanted:
        quota = quotas.get(need.region, {}).get(need.metric)
        where = f" in {need.region}" if need.region else ""
        if quota is None:
            if name := _untold(need.metric):
                yield Finding(
                    "note",
                    f"quota {name}{where}: Google does not tell it here; {need.amount:g} needed, "
                    f"see {page(project)}",
                )
            continue
        used = f"{need.amount:g} needed, {quota.usage:g} of {quota.limit:g} used"
        text = f"quota {need.metric}{where}: {used}"
        if need.amount <= quota.left:
            yield Finding("ok", text)
        elif exists:
            yield Finding("ok", f"{text}, with what the stack has already")
        else:
            yield Finding("problem", text, _ask(need, project))


def _untold(metric: str) -> str | None:
    """Return the name of a quota to look at that the compute API does not tell; None for others.

    Newer series of machines and newer GPUs count by family, which only the console shows.
    """
    if "GPUS" in metric:
        return metric
    if metric == ALL_REGIONS_CPUS or not metric.endswith("_CPUS"):
        return None
    return f"CPUS_PER_VM_FAMILY (vm_family {metric.removesuffix('_CPUS')})"


def page(project: str) -> str:
    """Return the page on which more is asked for."""
    return f"https://console.cloud.google.com/iam-admin/quotas?project={project}"


def _ask(need: Need, project: str) -> str:
    place = f"region {need.region}" if need.region else "all regions"
    if need.metric in {ALL_REGIONS_CPUS, ALL_REGIONS_GPUS}:
        place = "global"
    more = ""
    if "GPUS" in need.metric:
        elsewhere = ", or take another region" if need.region else ""
        more = f"{elsewhere} (new projects often have 0, which a free trial can't raise)"
    elif need.metric.endswith("CPUS"):
        more = " (or a smaller machine type, or another zone)"
    return f"ask for more of {need.metric}, {place}, on {page(project)}{more}"
