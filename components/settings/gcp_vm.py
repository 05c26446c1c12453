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
from components.settings.gcp import GcpSettings
from components.settings.values import words
from components.settings.vm import VmSettings

FAMILY_OF = {
    "debian-12": "projects/debian-cloud/global/images/family/debian-12",
    "ubuntu-24.04": "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64",
    "ubuntu-24.04-nvidia-580": "projects/ubuntu-os-accelerator-images/global/images/family/"
    "ubuntu-accelerator-2404-amd64-with-nvidia-580",
}
"""Image families by their short names, as Compute Engine names them."""

_IMAGE = re.compile(r"projects/[a-z0-9.:-]+/global/images/(?:family/)?[a-z][a-z0-9-]{0,62}")
_BOOT_GB = 30
_NEWEST_DISK = "hyperdisk-balanced"


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


class GcpVmSettings(GcpSettings, VmSettings):
    """The keys of every program that serves from a virtual machine in Google Cloud."""

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

    @property
    def boot_disk_gb(self) -> int:
        """The size of the boot disk in GB."""
        return self.boot_gb or _BOOT_GB

    @property
    def image_path(self) -> str:
        """The image or image family as Compute Engine names it."""
        return FAMILY_OF.get(self.image, self.image)

    @property
    def disk_type(self) -> str:
        """A disk type that the machine takes; of an unknown series the one that new ones take."""
        machine = self.machine()
        return _NEWEST_DISK if machine is None else machine.series.disk

    def all_zones(self) -> tuple[str, ...]:
        """Return the zone, and those that may take its place, each once."""
        return tuple(dict.fromkeys([self.zone, *self.zones]))

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
        if self.machine() is not None:
            return super().warnings()
        return (
            *super().warnings(),
            f"the catalogue does not know the machine type {self.machine_type}: whether it is "
            "there, whether the model fits, and how many cores it has is not checked",
        )


def _machine_is_in_the_zones(settings: GcpVmSettings) -> Iterator[Problem]:
    for zone in settings.all_zones():
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


_CHECKS = (
    (("machine_type", "gcp:zone", "zones"), _machine_is_in_the_zones),
    (("machine_type", "spot"), _spot_is_offered),
    (("schedule", "spot", "spot_recovery"), _spot_has_no_schedule),
    (("spot", "spot_recovery"), _recovery_is_for_spot),
    (("schedule", "spot_recovery"), _group_fights_no_schedule),
    (("max_run_hours", "spot_recovery"), _group_fights_no_limit),
)
