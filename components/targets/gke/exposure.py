"""The way in from outside: an address, and for a Gateway its name, certificate and filter."""

from __future__ import annotations

import hashlib

import pulumi
import pulumi_gcp as gcp

from components.rendering.kubernetes.plan import Expose
from components.targets.gcp import network
from components.targets.gcp.site import Site
from components.targets.gke.args import ExposureArgs
from components.targets.order import once

RANGES_OF_A_RULE = 10
"""The most that one rule of Cloud Armor takes (cloud.google.com/armor/quotas)."""
EVERYBODY_ELSE = 2_147_483_647
"""The priority of the rule that every policy ends in."""


class Exposure(pulumi.ComponentResource):
    """What Google's side of the endpoint's front consists of; nothing, where it has none.

    It refuses a front that would be open to nobody or to everybody by mistake: without
    `allowed_cidrs`, and a Gateway without a domain.
    """

    host: pulumi.Output[str] | None
    """The name or address that clients ask for, once it can be; None inside the cluster."""
    address: pulumi.Output[str] | None
    """The IP address, which stays the same while the stack is parked."""
    resources: tuple[pulumi.Resource, ...]
    """What has to be there before the Service or the Gateway that names it, and after it."""

    def __init__(
        self, name: str, args: ExposureArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _refuse(args)
        shown = {"expose": args["expose"].value, "domain": args.get("domain")}
        super().__init__("llm-endpoint:gcp:Exposure", name, shown, opts)
        site = Site(
            parent=self,
            name=name,
            base_name=args["base_name"],
            project=args["project"],
            region=args["region"],
            zone="",
            labels=args.get("labels", {}),
        )
        self.host, self.address, self.resources = None, None, ()
        if args["expose"] is Expose.LOAD_BALANCER:
            self._load_balancer(site, args)
        elif args["expose"] is Expose.GATEWAY:
            self._gateway(site, args)
        self.register_outputs({"host": self.host, "address": self.address})

    def _load_balancer(self, site: Site, args: ExposureArgs) -> None:
        static = network.static_address(site, args["compute"])
        self.address, self.resources = static.address, (static,)
        domain = args.get("domain")
        self.host = (
            static.address
            if domain is None
            else _host(domain, _record(site, args, domain, static.address))
        )

    def _gateway(self, site: Site, args: ExposureArgs) -> None:
        domain = args.get("domain") or ""
        static = gcp.compute.GlobalAddress(
            f"{site.name}-address",
            name=site.base_name,
            project=args["compute"],
            address_type="EXTERNAL",
            labels=site.labels,
            opts=site.child(),
        )
        record = _record(site, args, domain, static.address)
        self.address = static.address
        self.host = _host(domain, record)
        self.resources = (static, _certificate(site, domain, record), _filter(site, args))


def _record(
    site: Site, args: ExposureArgs, domain: str, address: pulumi.Output[str]
) -> gcp.dns.RecordSet | None:
    """Point `domain` at `address` where its zone is ours to change."""
    zone = args.get("dns_zone")
    return None if zone is None else network.dns_record(site, zone, domain, address)


def _host(domain: str, record: gcp.dns.RecordSet | None) -> pulumi.Output[str]:
    """Return `domain`, once it points at us where that is ours to say."""
    if record is None:
        return pulumi.Output.from_input(domain)
    return record.name.apply(lambda fqdn: fqdn.removesuffix("."))


def _certificate(
    site: Site, domain: str, beside: gcp.dns.RecordSet | None
) -> gcp.certificatemanager.CertificateMapEntry:
    """Have Google sign for `domain`, which a record in DNS proves to be ours.

    It is made in the zone of `beside`. Where there is none, it is the user's to make: what it has
    to be is said.
    """
    manager = site.api("certificatemanager")
    # Google deletes none that another one names: those of another domain come before these go.
    own_name = f"{site.base_name}-{hashlib.sha256(domain.encode()).hexdigest()[:6]}"
    proof = gcp.certificatemanager.DnsAuthorization(
        f"{site.name}-authorization",
        name=own_name,
        project=manager,
        domain=domain,
        labels=site.labels,
        opts=site.child(),
    )
    record = proof.dns_resource_records.apply(lambda records: records[0])
    proved: pulumi.Output[str] = proof.id
    if beside is not None:
        in_dns = network.record_set(
            site,
            "authorization-dns",
            beside.project,
            beside.managed_zone,
            name=record.apply(lambda record: record.name or ""),
            kind=record.apply(lambda record: record.type or ""),
            data=record.apply(lambda record: record.data or ""),
        )
        proved = once(proof.id, in_dns.id)
    elif not pulumi.runtime.is_dry_run():
        record.apply(
            lambda record: pulumi.log.info(
                f"Google signs for {domain} once this record is in its DNS: "
                f"{record.name} {record.type} {record.data}",
                proof,
            )
        )
    certificate = gcp.certificatemanager.Certificate(
        f"{site.name}-certificate",
        name=own_name,
        project=manager,
        managed={"domains": [domain], "dns_authorizations": [proved]},
        labels=site.labels,
        opts=site.child(),
    )
    listed = gcp.certificatemanager.CertificateMap(
        f"{site.name}-certificate-map",
        name=site.base_name,
        project=manager,
        labels=site.labels,
        opts=site.named(),
    )
    return gcp.certificatemanager.CertificateMapEntry(
        f"{site.name}-certificate-map-entry",
        name=own_name,
        project=manager,
        map=listed.name,
        hostname=domain,
        certificates=[certificate.id],
        labels=site.labels,
        opts=site.child(),
    )


def _filter(site: Site, args: ExposureArgs) -> gcp.compute.SecurityPolicy:
    """Let in who may come, and nobody else: a Gateway has no ranges of its own."""
    ranges = [
        cidr for cidrs in network.by_version(args["allowed_cidrs"]).values() for cidr in cidrs
    ]
    parts = [
        ranges[first : first + RANGES_OF_A_RULE]
        for first in range(0, len(ranges), RANGES_OF_A_RULE)
    ]
    return gcp.compute.SecurityPolicy(
        f"{site.name}-filter",
        name=site.base_name,
        project=args["compute"],
        type="CLOUD_ARMOR",
        labels=site.labels,
        rules=[
            *(
                _rule("allow", network.PRIORITY + number, part, "allowed_cidrs")
                for number, part in enumerate(parts)
            ),
            _rule("deny(403)", EVERYBODY_ELSE, ["*"], "everybody else"),
        ],
        opts=site.named(),
    )


def _rule(
    action: str, priority: int, ranges: list[str], description: str
) -> gcp.compute.SecurityPolicyRuleArgsDict:
    return {
        "action": action,
        "priority": priority,
        "description": description,
        "match": {"versioned_expr": "SRC_IPS_V1", "config": {"src_ip_ranges": ranges}},
    }


def _refuse(args: ExposureArgs) -> None:
    """Raise for what can't be, before anything is registered."""
    if args["expose"] is Expose.INTERNAL:
        return
    network.by_version(args["allowed_cidrs"])
    if args["expose"] is Expose.GATEWAY and args.get("domain") is None:
        raise ValueError("expose gateway needs a domain, which is what its certificate is for")
    if args.get("dns_zone") is not None and args.get("domain") is None:
        raise ValueError("dns_zone is set and there is no domain to put there: set domain too")
