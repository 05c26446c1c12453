"""The keys of every program in Google Cloud: project, place and network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from components.catalogue.gcp import CatalogueError, check_zone, region_of
from components.settings.base import Check, Problem
from components.settings.served import ServedSettings

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_COMPUTE = r"(?:https://www\.googleapis\.com/compute/v1/)?projects/[a-z0-9.:-]+"
_NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NETWORK = re.compile(rf"(?:{_COMPUTE}/global/networks/)?{_NAME}")
_SUBNETWORK = re.compile(rf"(?:{_COMPUTE}/regions/(?P<region>[a-z0-9-]+)/subnetworks/)?{_NAME}")
_DNS_ZONE = re.compile(_NAME)


def _project(value: str) -> str:
    if _PROJECT.fullmatch(value) is None:
        raise ValueError(
            "that is no project's id: 6 to 30 lower-case letters, digits and hyphens (not its "
            "name, not its number)"
        )
    return value


ProjectId = Annotated[str, AfterValidator(_project)]


def _zone(value: str) -> str:
    try:
        check_zone(value)
    except CatalogueError as error:
        raise ValueError(str(error)) from None
    return value


Zone = Annotated[str, AfterValidator(_zone)]


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


class GcpSettings(ServedSettings):
    """The keys of every program in Google Cloud: project, place and network."""

    project: ProjectId = Field(
        alias="gcp:project",
        description="The project's id.",
        examples=["PROJECT_ID"],
    )
    zone: Zone = Field(
        alias="gcp:zone",
        description="The zone of the machine and its disks.",
        examples=["europe-west4-a"],
    )
    given_region: str | None = Field(
        default=None,
        alias="gcp:region",
        description="The zone's region, if it is set at all.",
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
    def region(self) -> str:
        """The region of the zone."""
        return region_of(self.zone)

    @property
    def takes_a_domain(self) -> bool:
        """Whether clients may ask for the endpoint by a domain."""
        return True

    @property
    def takes_a_network(self) -> bool:
        """Whether machines are put into a network that is named."""
        return True

    def all_zones(self) -> tuple[str, ...]:
        """Return the zone, and those that may take its place, each once."""
        return (self.zone,)

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in _CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, and what the catalogue does not know."""
        zones = map(check_zone, self.all_zones())
        return (*super().warnings(), *(said for said in zones if said))


def _region_is_the_zones(settings: GcpSettings) -> Iterator[Problem]:
    if settings.given_region is None:
        return
    if settings.given_region != settings.region:
        said = f"gcp:zone is {settings.zone!r}, which lies in {settings.region}"
    elif others := _elsewhere(settings, settings.given_region):
        said = f"zones has {', '.join(others)}, which a region that is set would keep out"
    else:
        return
    yield Problem("gcp:region", said, "scripts/pulumi config rm gcp:region")


def _elsewhere(settings: GcpSettings, region: str) -> list[str]:
    """Return those of the zones to go on with that lie in another region."""
    return [zone for zone in settings.all_zones() if region_of(zone) != region]


def _subnetwork_has_a_network(settings: GcpSettings) -> Iterator[Problem]:
    if settings.subnetwork is None or settings.network is not None or not settings.takes_a_network:
        return
    yield Problem("network", "the subnetwork that is given (subnetwork) lies in a network")


def _subnetwork_is_in_the_region(settings: GcpSettings) -> Iterator[Problem]:
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


def _dns_zone_has_a_domain(settings: GcpSettings) -> Iterator[Problem]:
    if settings.dns_zone is None or settings.domain is not None or not settings.takes_a_domain:
        return
    yield Problem(
        "dns_zone",
        "it is for the domain's record, and domain is not set",
        "scripts/pulumi config set domain llm.example.org",
    )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[GcpSettings], Iterator[Problem]]], ...] = (
    (("gcp:region", "gcp:zone", "zones"), _region_is_the_zones),
    (("network", "subnetwork", "cluster"), _subnetwork_has_a_network),
    (("subnetwork", "gcp:zone", "zones"), _subnetwork_is_in_the_region),
    (("dns_zone", "domain", "expose"), _dns_zone_has_a_domain),
)
