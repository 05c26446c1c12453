"""The keys of every program that serves from a virtual machine in Google Cloud."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from components.catalogue.gcp import (
    CatalogueError,
    MachineType,
    check_zone,
    not_offered,
    region_of,
)
from components.settings.base import Check, Problem
from components.settings.values import words
from components.settings.vm import VmSettings

FAMILY_OF = {
    "debian-12": "projects/debian-cloud/global/images/family/debian-12",
    "ubuntu-24.04": "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64",
    "ubuntu-24.04-nvidia-580": "projects/ubuntu-os-accelerator-images/global/images/family/"
    "ubuntu-accelerator-2404-amd64-with-nvidia-580",
}
"""Image families by their short names, as Compute Engine names them."""

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_IMAGE = re.compile(r"projects/[a-z0-9.:-]+/global/images/(?:family/)?[a-z][a-z0-9-]{0,62}")
_COMPUTE = r"(?:https://www\.googleapis\.com/compute/v1/)?projects/[a-z0-9.:-]+"
_NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NETWORK = re.compile(rf"(?:{_COMPUTE}/global/networks/)?{_NAME}")
_SUBNETWORK = re.compile(rf"(?:{_COMPUTE}/regions/(?P<region>[a-z0-9-]+)/subnetworks/)?{_NAME}")
_DNS_ZONE = re.compile(_NAME)
_BOOT_GB = 30
_NEWEST_DISK = "hyperdisk-balanced"


def _project(value: str) -> str:
    if _PROJECT.fullmatch(value) is None:
        raise ValueError(
            "that is no project's id: 6 to 30 lower-case letters, digits and hyphens (not its "
            "name, not its number)"
        )
    return value


def _zone(value: str) -> str:
    try:
        check_zone(value)
    except CatalogueError as error:
        raise ValueError(str(error)) from None
    return value


def image_of(value: str, names: Iterable[str]) -> str:
    """Check an image: one of the short `names`, or a path. Raises ValueError."""
    if value not in names and _IMAGE.fullmatch(value) is None:
        raise ValueError(
            f"it takes {', '.join(names)}, or a path such as {FAMILY_OF['debian-12']}, of a Debian "
            "or Ubuntu with cloud-init or apt"
        )
    return value


def _zones(value: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({zone for zone in value if value.count(zone) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there twice")
    for zone in value:
        try:
            check_zone(zone)
        except CatalogueError as error:
            raise ValueError(f"{zone}: {error}") from None
    return value


def _network(value: str) -> str:
    if _NETWORK.fullmatch(value) is None:
        raise ValueError("it takes a name, or a path such as projects/PROJECT/global/networks/NAME")
    return value


def _subnetwork(value: str) -> str:
    if _SUBNETWORK.fullmatch(value) is None:
        raise ValueError(
            "it takes a name, or a path such as projects/PROJECT/regions/REGION/subnetworks/NAME"
        )
    return value


def _dns_zone(value: str) -> str:
    if _DNS_ZONE.fullmatch(value) is None:
        raise ValueError("it takes the name of a managed zone of Cloud DNS, not its domain")
    return value


class GcpVmSettings(VmSettings):
    """The keys of every program that serves from a virtual machine in Google Cloud."""

    project: Annotated[str, AfterValidator(_project)] = Field(
        alias="gcp:project",
        description="The project's id.",
        examples=["PROJECT_ID"],
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field(
        alias="gcp:zone",
        description="The zone of the machine and its disks.",
        examples=["europe-west4-a"],
    )
    given_region: str | None = Field(
        default=None,
        alias="gcp:region",
        description="The zone's region, if it is set at all.",
    )
    zones: Annotated[tuple[str, ...], BeforeValidator(words), AfterValidator(_zones)] = Field(
        default=(),
        description="Zones to go on with, in this order, where Google has no room for the machine: "
        "`scripts/up` sets `gcp:zone` to the next one, as long as no cache disk holds data.",
        examples=["europe-west4-a europe-west4-b"],
    )
    machine_type: str = Field(description="A machine type of the zone.")
    image: str = Field(description="What the machine boots.")
    boot_gb: int | None = Field(
        default=None,
        ge=20,
        le=2000,
        description="GB of the boot disk, which holds the system and the engines. Unset: 30.",
    )
    spot: bool = Field(
        default=False,
        description="Take a Spot machine: much cheaper, and stopped whenever Google needs it.",
    )
    spot_recovery: Literal["none", "mig"] = Field(
        default="none",
        description="What follows a Spot stop: nothing until the next `up`, or a managed group of "
        "one that brings the machine back.",
    )
    max_run_hours: int | None = Field(
        default=None,
        ge=1,
        le=120 * 24,
        description="Hours after which Google itself stops the machine, counted from each start.",
    )
    network: Annotated[str, AfterValidator(_network)] | None = Field(
        default=None,
        description="A network that is there already. Unset: one is made.",
    )
    subnetwork: Annotated[str, AfterValidator(_subnetwork)] | None = Field(
        default=None,
        description="The subnetwork in that network and the zone's region. Unset: the one that an "
        "auto-mode network has there.",
    )
    dns_zone: Annotated[str, AfterValidator(_dns_zone)] | None = Field(
        default=None,
        description="A managed zone of Cloud DNS in the project, in which the domain's record is "
        "made. Unset: you make it.",
    )

    @property
    def boot_disk_gb(self) -> int:
        """The size of the boot disk in GB."""
        return self.boot_gb or _BOOT_GB

    @property
    def region(self) -> str:
        """The region of the zone."""
        return region_of(self.zone)

    @property
    def image_path(self) -> str:
        """The image or image family as Compute Engine names it."""
        return FAMILY_OF.get(self.image, self.image)

    @property
    def disk_type(self) -> str:
        """A disk type that the machine takes; of an unknown series the one that new ones take."""
        machine = self.machine()
        return _NEWEST_DISK if machine is None else machine.series.disk

    @abstractmethod
    def machine(self) -> MachineType | None:
        """Return the machine type's facts; None where the catalogue does not know it."""

    def not_in(self, zone: str) -> str | None:
        """Return why the machine can't be had in `zone`; None where it can or nobody knows."""
        machine = self.machine()
        return None if machine is None else not_offered(machine, region_of(zone))

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in _CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, and what the catalogue does not know."""
        zones = dict.fromkeys([self.zone, *self.zones])
        said = [*super().warnings(), *map(check_zone, zones)]
        if self.machine() is None:
            said.append(
                f"the catalogue does not know the machine type {self.machine_type}: whether it is "
                "there, whether the model fits, and how many cores it has is not checked"
            )
        return tuple(one for one in said if one)


def _region_is_the_zones(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.given_region is None:
        return
    if settings.given_region != settings.region:
        said = f"gcp:zone is {settings.zone!r}, which lies in {settings.region}"
    elif others := _elsewhere(settings, settings.given_region):
        said = f"zones has {', '.join(others)}, which a region that is set would keep out"
    else:
        return
    yield Problem("gcp:region", said, "scripts/pulumi config rm gcp:region")


def _elsewhere(settings: GcpVmSettings, region: str) -> list[str]:
    """Return those of the zones to go on with that lie in another region."""
    return [zone for zone in settings.zones if region_of(zone) != region]


def _machine_is_in_the_zones(settings: GcpVmSettings) -> Iterator[Problem]:
    for zone in dict.fromkeys([settings.zone, *settings.zones]):
        said = settings.not_in(zone)
        if said is not None:
            yield Problem("gcp:zone" if zone == settings.zone else "zones", said)


def _spot_is_offered(settings: GcpVmSettings) -> Iterator[Problem]:
    machine = settings.machine()
    if not settings.spot or machine is None or machine.series.spot:
        return
    yield Problem(
        "spot",
        f"{machine.series.name} is not offered as Spot (machine_type)",
        "scripts/pulumi config set spot false",
    )


def _spot_has_no_schedule(settings: GcpVmSettings) -> Iterator[Problem]:
    # With a group, that is the reason.
    if not settings.spot or settings.schedule is None or settings.spot_recovery == "mig":
        return
    yield Problem(
        "schedule",
        "a Spot machine is stopped by Google at any time and may find no room at the hour of its "
        "start, so a schedule would promise what it can't keep (spot)",
        "scripts/pulumi config rm schedule, or scripts/pulumi config set spot false",
    )


def _recovery_is_for_spot(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.spot or settings.spot_recovery == "none":
        return
    yield Problem(
        "spot_recovery",
        "only a Spot machine is stopped by Google, and spot is not set",
        "scripts/pulumi config set spot true, or scripts/pulumi config rm spot_recovery",
    )


def _group_fights_no_schedule(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.spot_recovery != "mig" or settings.schedule is None:
        return
    yield Problem(
        "schedule",
        "the group would start again what the schedule stops (spot_recovery)",
        "scripts/pulumi config rm schedule",
    )


def _group_fights_no_limit(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.spot_recovery != "mig" or settings.max_run_hours is None:
        return
    yield Problem(
        "max_run_hours",
        "the group would start again what the limit stops (spot_recovery); idle_minutes works",
        "scripts/pulumi config rm max_run_hours",
    )


def _subnetwork_has_a_network(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.subnetwork is None or settings.network is not None:
        return
    yield Problem("network", "the subnetwork that is given (subnetwork) lies in a network")


def _subnetwork_is_in_the_region(settings: GcpVmSettings) -> Iterator[Problem]:
    named = settings.subnetwork and _SUBNETWORK.fullmatch(settings.subnetwork)
    region = named and named["region"]
    if not region:
        return
    said = f"it lies in {region}, and "
    if region != settings.region:
        said += f"gcp:zone is {settings.zone!r}, which lies in {settings.region}"
    elif others := _elsewhere(settings, region):
        said += f"zones has {', '.join(others)}, which lies elsewhere"
    else:
        return
    yield Problem("subnetwork", said)


def _dns_zone_has_a_domain(settings: GcpVmSettings) -> Iterator[Problem]:
    if settings.dns_zone is None or settings.domain is not None:
        return
    yield Problem(
        "dns_zone",
        "it is for the domain's record, and domain is not set",
        "scripts/pulumi config set domain llm.example.org",
    )


_CHECKS = (
    (("gcp:region", "gcp:zone", "zones"), _region_is_the_zones),
    (("machine_type", "gcp:zone", "zones"), _machine_is_in_the_zones),
    (("machine_type", "spot"), _spot_is_offered),
    (("schedule", "spot", "spot_recovery"), _spot_has_no_schedule),
    (("spot", "spot_recovery"), _recovery_is_for_spot),
    (("schedule", "spot_recovery"), _group_fights_no_schedule),
    (("max_run_hours", "spot_recovery"), _group_fights_no_limit),
    (("network", "subnetwork"), _subnetwork_has_a_network),
    (("subnetwork", "gcp:zone", "zones"), _subnetwork_is_in_the_region),
    (("dns_zone", "domain"), _dns_zone_has_a_domain),
)
