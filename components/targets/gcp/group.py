"""A managed instance group of one: what stops the machine brings it back.

The group holds a single named machine by its per-instance configuration, with the address and the
cache disk of the stack, which the group never deletes. Setting the group to no machine removes
machine and configuration; the next `up` finds that and makes them again.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.args import VmArgs
from components.targets.gcp.identity import SCOPES
from components.targets.gcp.machine import Parts, metadata, scheduling
from components.targets.gcp.network import NETWORK_TIER
from components.targets.gcp.site import Site

RESIZE_PERMISSIONS = (
    "compute.instanceGroupManagers.get",
    "compute.instanceGroupManagers.update",
)
"""What setting a group's size takes (its API's reference, `instanceGroupManagers.resize`)."""
MAX_INITIAL_DELAY_SECONDS = 3600
CHECK_SECONDS = 30
FAILED_CHECKS = 4
"""Two minutes: a reload of the gateway or a busy moment recreates nothing."""
FAILED_CHECKS_WITH_GPUS = 10
"""Five minutes, the most that this interval gives: the gateway is not healthy until a server that
systemd has started again has its model on the GPUs, which takes vLLM longer than two."""
SPARE_SECONDS = 900
"""Seconds that replacing a machine takes beside its boot."""
INTERFACE = "nic0"


@dataclass(frozen=True)
class Group:
    """The group, and its one machine; None while the stack is parked."""

    manager: gcp.compute.InstanceGroupManager
    template: gcp.compute.InstanceTemplate
    machine: gcp.compute.PerInstanceConfig | None


def group_of_one(
    site: Site,
    args: VmArgs,
    parts: Parts,
    compute: pulumi.Output[str],
    account: gcp.serviceaccount.Account,
) -> Group:
    """Make the group and, unless the stack is parked, its machine.

    Where the plan stops the machine by the group's size, `account` may set it.
    """
    template = _template(site, args, parts, compute)
    health = gcp.compute.HealthCheck(
        f"{site.name}-health",
        name=site.base_name,
        project=compute,
        check_interval_sec=CHECK_SECONDS,
        timeout_sec=10,
        healthy_threshold=1,
        unhealthy_threshold=FAILED_CHECKS if args.get("gpus") is None else FAILED_CHECKS_WITH_GPUS,
        # It checks no certificate; the name or address chooses the gateway's site.
        https_health_check={
            "port": 443,
            "request_path": "/health",
            "host": args["plan"].domain or parts.address.address,
        },
        opts=site.named(),
    )
    tag = _tag(site)
    if args["plan"].idle_minutes is not None:
        _let_resize(site, account, tag)
    manager = gcp.compute.InstanceGroupManager(
        f"{site.name}-group",
        name=site.base_name,
        project=compute,
        zone=site.zone,
        base_instance_name=site.base_name,
        versions=[{"instance_template": template.self_link_unique}],
        # No target size: the machine's own configuration adds it, and the watchdog takes it away.
        auto_healing_policies={
            "health_check": health.id,
            "initial_delay_sec": min(args["ready_seconds"], MAX_INITIAL_DELAY_SECONDS),
        },
        update_policy={
            "type": "PROACTIVE",
            "minimal_action": "REPLACE",
            "most_disruptive_allowed_action": "REPLACE",
            # One name, one address, one disk: the old machine goes before the new one comes.
            "replacement_method": "RECREATE",
            "max_surge_fixed": 0,
            "max_unavailable_fixed": 1,
        },
        # Verification must not meet the machine that is about to be replaced.
        wait_for_instances=True,
        wait_for_instances_status="UPDATED",
        params={
            "resource_manager_tags": pulumi.Output.all(tag.parent, tag.id).apply(
                lambda ids: {ids[0]: ids[1]}
            )
        },
        opts=pulumi.ResourceOptions(
            parent=site.parent,
            delete_before_replace=True,
            custom_timeouts=pulumi.CustomTimeouts(
                update=f"{args['ready_seconds'] + SPARE_SECONDS}s"
            ),
        ),
    )
    machine = None
    if not args.get("parked", False):
        machine = _machine(site, args, parts, compute, manager)
    return Group(manager, template, machine)


def _template(
    site: Site, args: VmArgs, parts: Parts, compute: pulumi.Output[str]
) -> gcp.compute.InstanceTemplate:
    gpus = args.get("gpus")
    when = scheduling(spot=args.get("spot", False), max_run_seconds=None, gpus=gpus)
    limits: gcp.compute.InstanceTemplateSchedulingArgsDict = {
        "provisioning_model": when.provisioning_model,
        "preemptible": when.preemptible,
        "automatic_restart": when.automatic_restart,
        "on_host_maintenance": when.on_host_maintenance,
    }
    if when.instance_termination_action is not None:
        limits["instance_termination_action"] = when.instance_termination_action
    interface: gcp.compute.InstanceTemplateNetworkInterfaceArgsDict = {
        "network": parts.standing.network,
        "access_configs": [{"network_tier": NETWORK_TIER}],
    }
    if parts.standing.subnetwork is not None:
        interface["subnetwork"] = parts.standing.subnetwork
    accelerators: list[gcp.compute.InstanceTemplateGuestAcceleratorArgsDict] = []
    if gpus is not None and gpus.attached:
        accelerators.append({"type": gpus.accelerator, "count": gpus.count})
    return gcp.compute.InstanceTemplate(
        f"{site.name}-template",
        # Templates don't change: a group moves from one to the next.
        name_prefix=f"{site.base_name}-",
        project=compute,
        machine_type=args["machine_type"],
        disks=[
            {
                "boot": True,
                "auto_delete": True,
                "source_image": args["image"],
                "disk_size_gb": args["boot_disk_gb"],
                "disk_type": args["boot_disk_type"],
                "labels": site.labels,
            }
        ],
        network_interfaces=[interface],
        service_account={"email": parts.account, "scopes": list(SCOPES)},
        guest_accelerators=accelerators or None,
        scheduling=limits,
        shielded_instance_config={
            "enable_secure_boot": True,
            "enable_vtpm": True,
            "enable_integrity_monitoring": True,
        },
        metadata=metadata(parts),
        labels=site.labels,
        # Order alone: a new key must not touch the machine, which reads it by itself.
        opts=pulumi.ResourceOptions(parent=site.parent, depends_on=list(parts.first)),
    )


def _machine(
    site: Site,
    args: VmArgs,
    parts: Parts,
    compute: pulumi.Output[str],
    manager: gcp.compute.InstanceGroupManager,
) -> gcp.compute.PerInstanceConfig:
    disks: list[gcp.compute.PerInstanceConfigPreservedStateDiskArgsDict] = []
    if parts.cache is not None and args["plan"].cache_disk is not None:
        disks.append(
            {
                "device_name": args["plan"].cache_disk,
                "source": parts.cache.id,
                "mode": "READ_WRITE",
                "delete_rule": "NEVER",
            }
        )
    return gcp.compute.PerInstanceConfig(
        f"{site.name}-instance",
        name=site.base_name,
        project=compute,
        zone=site.zone,
        instance_group_manager=manager.name,
        preserved_state={
            "disks": disks,
            "external_ips": [
                {
                    "interface_name": INTERFACE,
                    "auto_delete": "NEVER",
                    "ip_address": {"address": parts.address.self_link},
                }
            ],
        },
        minimal_action="REPLACE",
        remove_instance_on_destroy=True,
        opts=site.named(),
    )


def _tag(site: Site) -> gcp.tags.TagValue:
    """Make a Resource Manager tag for the group; the parent of its value is its key."""
    key = gcp.tags.TagKey(
        f"{site.name}-tag-key",
        parent=pulumi.Output.format("projects/{0}", site.api("cloudresourcemanager")),
        short_name=f"{site.base_name}-group",
        description=f"Which group the machine of {site.base_name} may resize",
        opts=site.named(),
    )
    return gcp.tags.TagValue(
        f"{site.name}-tag-value", parent=key.id, short_name="own", opts=site.named()
    )


def _let_resize(
    site: Site, account: gcp.serviceaccount.Account, tag: gcp.tags.TagValue
) -> gcp.projects.IAMMember:
    """Let `account` set the size of what carries `tag`: this group alone.

    Groups have no IAM policy of their own, and a condition can't ask for their name (cloud.google.
    com/iam/docs/conditions-resource-attributes lists what has one), but it can ask for a tag.
    """
    role = gcp.projects.IAMCustomRole(
        f"{site.name}-group-role",
        project=account.project,
        role_id=site.role_id("group"),
        title=f"Set the size of the group {site.base_name}",
        permissions=list(RESIZE_PERMISSIONS),
        opts=site.named(),
    )
    return gcp.projects.IAMMember(
        f"{site.name}-group-grant",
        project=account.project,
        role=role.name,
        member=account.member,
        condition={
            "title": f"{site.base_name} alone",
            "expression": pulumi.Output.format(
                "resource.matchTagId('{0}', '{1}')", tag.parent, tag.id
            ),
        },
        opts=site.child(),
    )
