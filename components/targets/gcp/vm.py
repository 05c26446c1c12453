"""A verified endpoint on one machine of Google Cloud: what all of its components share."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_gcp as gcp
from pulumi_command import local

from components.compose import Place, form_for
from components.endpoint import StackOutputs, VerifiedEndpoint, parked_outputs
from components.keys import api_keys
from components.rendering.machine.plan import ResizeGroup, Tls
from components.rendering.machine.render import render
from components.targets.gcp import identity, network
from components.targets.gcp.args import VmArgs
from components.targets.gcp.billing import billed
from components.targets.gcp.group import group_of_one
from components.targets.gcp.instance import follow, plain_instance
from components.targets.gcp.machine import Parts, cache_disk
from components.targets.gcp.site import Site

READY_PATH = "/health"
METADATA_BYTES = 256 * 1024
"""The most that one value of a machine's metadata may have (cloud.google.com/compute/docs/metadata/
setting-custom-metadata, "Limitations")."""
KEY_SECONDS = 150
"""Seconds for which a new key may be refused: the machine reads its keys each minute, and a
request for them may have to be repeated."""


class Vm(pulumi.ComponentResource):
    """A machine that serves models over HTTPS with a key, and that has proved it.

    It refuses engines that its `place` does not take, a firewall that names nobody, and what a
    managed instance group would fight: a schedule and a run limit. It opens port 443 to
    `allowed_cidrs`, port 80 to the world for `acme` alone, and SSH through IAP alone. No secret
    is in the machine's metadata: it reads them from Secret Manager as its own service account,
    which may do nothing else.
    """

    outputs: StackOutputs
    address: pulumi.Output[str]

    def __init__(
        self,
        token: str,
        place: Place,
        name: str,
        args: VmArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        plan = args["plan"]
        _refuse(args, place)
        rendered = render(plan)
        _refuse_size(len(rendered.user_data.encode()))
        shown = {
            "machine_type": args["machine_type"],
            "zone": args["zone"],
            "models": [server.model for server in plan.servers],
            "digest": rendered.digest(),
        }
        super().__init__(token, name, shown, opts)
        site = Site(
            parent=self,
            name=name,
            base_name=plan.base_name,
            project=args["project"],
            region=args["region"],
            zone=args["zone"],
            labels=args.get("labels", {}),
        )
        keys = api_keys(name, args["keys"], args["python"], self)
        compute = site.api("compute")
        static = network.static_address(site, compute)
        self.address = static.address
        host: pulumi.Input[str] = static.address if plan.domain is None else plan.domain
        account = identity.service_account(site)
        store = site.api("secretmanager")
        stored = [
            identity.stored_keys(site, plan.keys_secret, keys, project=store, account=account)
        ]
        certificate: pulumi.Output[str] | None = None
        if plan.ca_secret is not None:
            authority = identity.own_authority(
                site, plan.ca_secret, host, args["python"], project=store, account=account
            )
            certificate = authority.certificate
            stored.append(authority.secret)
        zone = args.get("dns_zone")
        if zone is not None and plan.domain is not None:
            record = network.dns_record(site, zone, plan.domain, static.address)
            host = record.name.apply(lambda fqdn: fqdn.removesuffix("."))
        standing = network.standing(site, compute, args.get("network"), args.get("subnetwork"))
        rules = network.firewall(
            site,
            compute,
            standing.network,
            account.email,
            args["allowed_cidrs"],
            acme=plan.tls is Tls.ACME,
            health_checked=_is_group(args),
        )
        parts = Parts(
            rendered=rendered,
            standing=standing,
            address=static,
            account=identity.email_once_it_may_read(account, stored),
            cache=cache_disk(site, args, compute),
            first=[secret.version for secret in stored],
        )
        machine = self._machine(site, args, parts, compute, account)
        if args.get("parked", False):
            self.outputs = parked_outputs(
                plan.servers[0].launch,
                args.get("embedding_model"),
                {key: command.stdout for key, command in keys.items()},
                billing=billed(args),
                ca_certificate=certificate,
            )
        else:
            triggers = [
                *machine,
                rendered.digest(),
                args.get("stopped", ""),
                *(secret.version.id for secret in stored),
                # Who may come is part of whether it answers; and the rules are there before.
                *(pulumi.Output.json_dumps(rule.source_ranges) for rule in rules),
            ]
            self.outputs = self._verify(
                name, args, keys, host=host, certificate=certificate, triggers=triggers
            )
        self.register_outputs({"state": self.outputs.state, "address": self.address})

    def _machine(
        self,
        site: Site,
        args: VmArgs,
        parts: Parts,
        compute: pulumi.Output[str],
        account: gcp.serviceaccount.Account,
    ) -> list[pulumi.Input[str]]:
        """Make the machine; return texts that change when it is another one, or restarted.

        A parked stack has none: Google Cloud's provider makes no instance that does not run.
        """
        if _is_group(args):
            group = group_of_one(site, args, parts, compute, account)
            machine = [] if group.machine is None else [group.machine.id]
            return [group.template.self_link_unique, group.manager.id, *machine]
        if args.get("parked", False):
            return []
        instance = plain_instance(site, args, parts, compute)
        schedule = args.get("schedule")
        if schedule is not None:
            follow(site, schedule, instance, compute)
        # Another machine type restarts the same instance.
        return [instance.instance_id, instance.machine_type]

    def _verify(
        self,
        name: str,
        args: VmArgs,
        keys: Mapping[str, local.Command],
        *,
        host: pulumi.Input[str],
        certificate: pulumi.Output[str] | None,
        triggers: list[pulumi.Input[str]],
    ) -> StackOutputs:
        plan = args["plan"]
        instance = f"{args['project']}/{args['zone']}/{plan.base_name}"
        endpoint = VerifiedEndpoint(
            name,
            {
                "url": pulumi.Output.format("https://{0}", host),
                "keys": {key: command.stdout for key, command in keys.items()},
                "launch": plan.servers[0].launch,
                "verify": [*args["python"], "-m", "scripts.verify"],
                "triggers": triggers,
                "wait_seconds": args["ready_seconds"],
                "streams": args["streams"],
                "min_tokens_per_second": args.get("min_tokens_per_second"),
                "embedding_model": args.get("embedding_model"),
                "engine_package": args["engine_package"],
                "stand_in": args.get("stand_in", False),
                "billing": billed(args),
                "ready_path": READY_PATH,
                "ca_certificate": certificate,
                "address": self.address,
                "boot": f"gcp:{instance}",
                "allowed_cidrs": args["allowed_cidrs"],
                "key_seconds": KEY_SECONDS,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        return endpoint.outputs


def _is_group(args: VmArgs) -> bool:
    return args.get("spot_recovery", "none") == "mig"


def _refuse_size(size: int) -> None:
    """Raise for user-data that Google would not take."""
    if size > METADATA_BYTES:
        raise ValueError(
            f"the machine's user-data has {size} bytes, and Google takes {METADATA_BYTES}: give "
            "the engines shorter words (a chat template, flags)"
        )


def _refuse(args: VmArgs, place: Place) -> None:
    """Raise for what can't be, before anything is registered."""
    plan, gpus = args["plan"], args.get("gpus")
    for server in plan.servers:
        form_for(server.launch, place)
    network.by_version(args["allowed_cidrs"])
    if args.get("dns_zone") is not None and plan.domain is None:
        raise ValueError("dns_zone is set and the plan has no domain to put there: set domain too")
    if plan.tls is Tls.ACME and plan.domain is None:
        raise ValueError("tls acme needs a domain, which is what its certificate is for")
    if (plan.gpus and plan.gpus.count) != (gpus and gpus.count):
        raise ValueError(
            f"the plan is for {plan.gpus and plan.gpus.count} GPUs, and the machine has "
            f"{gpus and gpus.count}: give both the same"
        )
    if not _is_group(args):
        if isinstance(plan.stop, ResizeGroup):
            raise ValueError("the plan stops a group, and spot_recovery none makes none: use mig")
        return
    for key in ("schedule", "max_run_seconds"):
        if args.get(key) is not None:
            raise ValueError(
                f"{key} is set, and the group of spot_recovery mig would undo its stop"
            )
    if plan.stop != ResizeGroup(plan.base_name):
        raise ValueError(
            f"with spot_recovery mig only the size of the group {plan.base_name!r} stops the "
            f"machine for good, and the plan says {plan.stop!r}"
        )
