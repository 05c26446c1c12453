"""A machine's network: where it stands, its address and name, and who may reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.site import Site

EVERYBODY = ("0.0.0.0/0",)
"""The machine has an IPv4 address alone."""
IAP_RANGE = "35.235.240.0/20"
"""Where SSH through IAP comes from (cloud.google.com/iap/docs/using-tcp-forwarding)."""
HEALTH_CHECK_RANGES = ("35.191.0.0/16", "130.211.0.0/22")
"""Where health checks come from (cloud.google.com/load-balancing/docs/health-check-concepts)."""
ACME_RANGE = "0.0.0.0/0"
"""Certificate authorities check a domain from addresses that they don't publish. Port 80 answers
nothing but their challenges and redirects."""
PRIORITY = 1000
"""Of the rules that let somebody in; that of the one that lets nobody else in is the next. A lower
number comes first: what a default network opens to the world has 65534."""
# It holds one machine; /29 is the smallest range that a subnetwork takes.
SUBNETWORK_RANGE = "10.77.0.0/29"
NETWORK_TIER = "PREMIUM"
DNS_SECONDS = 60


@dataclass(frozen=True)
class Standing:
    """Where a machine stands: a network by name or self link, and a subnetwork of it.

    `subnetwork` is None where the network is given and makes subnetworks by itself.
    """

    network: pulumi.Input[str]
    subnetwork: pulumi.Input[str] | None


def standing(
    site: Site, compute: pulumi.Output[str], network: str | None, subnetwork: str | None
) -> Standing:
    """Return the given network, or one of the machine's own. `compute` is the project.

    Raises ValueError for a subnetwork without its network, whose firewall could not be set.
    """
    if network is not None:
        return Standing(network, subnetwork)
    if subnetwork is not None:
        raise ValueError(f"subnetwork {subnetwork!r} is given without its network: set network too")
    own_network = gcp.compute.Network(
        f"{site.name}-network",
        name=site.base_name,
        project=compute,
        auto_create_subnetworks=False,
        routing_mode="REGIONAL",
        opts=site.named(),
    )
    own_subnetwork = gcp.compute.Subnetwork(
        f"{site.name}-subnetwork",
        name=site.base_name,
        project=compute,
        region=site.region,
        network=own_network.self_link,
        ip_cidr_range=SUBNETWORK_RANGE,
        # A machine whose address is taken away still reaches Secret Manager.
        private_ip_google_access=True,
        opts=site.named(),
    )
    return Standing(own_network.self_link, own_subnetwork.self_link)


def static_address(site: Site, compute: pulumi.Output[str]) -> gcp.compute.Address:
    """Reserve the address, which stays the same while the machine is parked or replaced."""
    return gcp.compute.Address(
        f"{site.name}-address",
        name=site.base_name,
        project=compute,
        region=site.region,
        address_type="EXTERNAL",
        # The machine's side of it says the same; a project's default may be another.
        network_tier=NETWORK_TIER,
        labels=site.labels,
        opts=site.child(),
    )


def by_version(cidrs: Sequence[str]) -> Mapping[int, list[str]]:
    """Return the ranges by IP version, sorted: one firewall rule takes one version.

    Raises ValueError for none at all, which a firewall rule would take for the whole world, and
    for what is no range.
    """
    if not cidrs:
        raise ValueError(
            "allowed_cidrs is empty: name who may connect, such as 203.0.113.7/32 for one address"
        )
    ranges = [ipaddress.ip_network(cidr) for cidr in cidrs]
    versions = sorted({network.version for network in ranges})
    return {
        version: sorted({str(network) for network in ranges if network.version == version})
        for version in versions
    }


def firewall(
    site: Site,
    compute: pulumi.Output[str],
    network: pulumi.Input[str],
    account: pulumi.Output[str],
    allowed_cidrs: Sequence[str],
    *,
    acme: bool,
    health_checked: bool,
) -> list[gcp.compute.Firewall]:
    """Let in who may come, and nobody else, to what runs as the service account `account`.

    A given network may have rules of its own: those that come after ours let nobody in here.
    """
    rules: dict[str, tuple[str, Sequence[str]]] = {}
    for version, ranges in by_version(allowed_cidrs).items():
        rules["https" if version == 4 else f"https-ipv{version}"] = ("443", ranges)
    rules["ssh"] = ("22", [IAP_RANGE])
    if acme:
        rules["acme"] = ("80", [ACME_RANGE])
    if health_checked:
        rules["health"] = ("443", HEALTH_CHECK_RANGES)

    def rule(
        purpose: str, ranges: Sequence[str], priority: int, port: str | None
    ) -> gcp.compute.Firewall:
        return gcp.compute.Firewall(
            f"{site.name}-firewall-{purpose}",
            name=f"{site.base_name}-{purpose}",
            project=compute,
            network=network,
            direction="INGRESS",
            priority=priority,
            source_ranges=list(ranges),
            allows=None if port is None else [{"protocol": "tcp", "ports": [port]}],
            denies=[{"protocol": "all"}] if port is None else None,
            target_service_accounts=[account],
            opts=site.named(),
        )

    return [
        *(rule(purpose, ranges, PRIORITY, port) for purpose, (port, ranges) in rules.items()),
        rule("nobody-else", EVERYBODY, PRIORITY + 1, None),
    ]


def dns_record(
    site: Site, zone: str, domain: str, address: pulumi.Output[str]
) -> gcp.dns.RecordSet:
    """Point `domain` at `address` in a Cloud DNS zone of the project."""
    return record_set(site, "dns", site.api("dns"), zone, name=f"{domain}.", kind="A", data=address)


def record_set(
    site: Site,
    purpose: str,
    project: pulumi.Output[str],
    zone: pulumi.Input[str],
    *,
    name: pulumi.Input[str],
    kind: pulumi.Input[str],
    data: pulumi.Output[str],
) -> gcp.dns.RecordSet:
    """Put a record into a Cloud DNS zone of `project`; `name` ends in a dot."""
    return gcp.dns.RecordSet(
        f"{site.name}-{purpose}",
        project=project,
        managed_zone=zone,
        name=name,
        type=kind,
        ttl=DNS_SECONDS,
        rrdatas=[data],
        opts=site.named(),
    )
