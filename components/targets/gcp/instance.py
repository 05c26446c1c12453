"""One plain instance: what stops it leaves it stopped, and `up` starts it again."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp

from components.schedule import Schedule
from components.targets.gcp.args import VmArgs
from components.targets.gcp.identity import SCOPES
from components.targets.gcp.machine import BOOT_METADATA, Parts, metadata, scheduling
from components.targets.gcp.network import NETWORK_TIER
from components.targets.gcp.site import Site
from components.targets.order import once

SCHEDULER_PERMISSIONS = ("compute.instances.start", "compute.instances.stop")
"""What Compute Engine's own account needs to follow an instance schedule: attaching one is refused
without (cloud.google.com/compute/docs/instances/schedule-instance-start-stop)."""


def plain_instance(
    site: Site, args: VmArgs, parts: Parts, compute: pulumi.Output[str]
) -> gcp.compute.Instance:
    """Make the instance, and start it where something has stopped it."""
    gpus = args.get("gpus")
    when = scheduling(
        spot=args.get("spot", False), max_run_seconds=args.get("max_run_seconds"), gpus=gpus
    )
    limits: gcp.compute.InstanceSchedulingArgsDict = {
        "provisioning_model": when.provisioning_model,
        "preemptible": when.preemptible,
        "automatic_restart": when.automatic_restart,
        "on_host_maintenance": when.on_host_maintenance,
    }
    if when.instance_termination_action is not None:
        limits["instance_termination_action"] = when.instance_termination_action
    if when.max_run_seconds is not None:
        limits["max_run_duration"] = {"seconds": when.max_run_seconds}
    interface: gcp.compute.InstanceNetworkInterfaceArgsDict = {
        "network": parts.standing.network,
        "access_configs": [{"nat_ip": parts.address.address, "network_tier": NETWORK_TIER}],
    }
    if parts.standing.subnetwork is not None:
        interface["subnetwork"] = parts.standing.subnetwork
    disks: list[gcp.compute.InstanceAttachedDiskArgsDict] = []
    if parts.cache is not None and args["plan"].cache_disk is not None:
        disks.append({"source": parts.cache.self_link, "device_name": args["plan"].cache_disk})
    accelerators: list[gcp.compute.InstanceGuestAcceleratorArgsDict] = []
    if gpus is not None and gpus.attached:
        accelerators.append({"type": gpus.accelerator, "count": gpus.count})
    return gcp.compute.Instance(
        f"{site.name}-instance",
        name=site.base_name,
        project=compute,
        zone=site.zone,
        machine_type=args["machine_type"],
        desired_status="RUNNING",
        allow_stopping_for_update=True,
        boot_disk={
            "auto_delete": True,
            "initialize_params": {
                "image": args["image"],
                "size": args["boot_disk_gb"],
                "type": args["boot_disk_type"],
                "labels": site.labels,
            },
        },
        attached_disks=disks,
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
        opts=pulumi.ResourceOptions(
            parent=site.parent,
            # The old one holds the name, the address and the cache disk.
            delete_before_replace=True,
            # The provider changes metadata in place, and cloud-init would not run again.
            replace_on_changes=[f'metadata["{key}"]' for key in BOOT_METADATA],
            # `follow` attaches the schedule; it needs the instance to be there.
            ignore_changes=["resourcePolicies"],
            # Order alone: a new key must not touch the machine, which reads it by itself.
            depends_on=list(parts.first),
        ),
    )


def follow(
    site: Site, schedule: Schedule, instance: gcp.compute.Instance, compute: pulumi.Output[str]
) -> gcp.compute.ResourcePolicyAttachment:
    """Let Google start and stop `instance` by `schedule`, and nothing else.

    The account of Compute Engine that does so gets a role on this instance alone, and then the
    schedule is attached.
    """
    when: gcp.compute.ResourcePolicyInstanceSchedulePolicyArgsDict = {
        "time_zone": schedule.time_zone
    }
    if schedule.start is not None:
        when["vm_start_schedule"] = {"schedule": schedule.start}
    if schedule.stop is not None:
        when["vm_stop_schedule"] = {"schedule": schedule.stop}
    policy = gcp.compute.ResourcePolicy(
        f"{site.name}-schedule",
        name=f"{site.base_name}-schedule",
        project=compute,
        region=site.region,
        instance_schedule_policy=when,
        opts=site.named(),
    )
    role = gcp.projects.IAMCustomRole(
        f"{site.name}-schedule-role",
        project=instance.project,
        role_id=site.role_id("schedule"),
        title=f"Start and stop {site.base_name} by its schedule",
        permissions=list(SCHEDULER_PERMISSIONS),
        opts=site.named(),
    )
    # Known once the API is on: asked for before, it would be refused.
    resource_manager = site.api("cloudresourcemanager")
    project = gcp.organizations.get_project_output(
        project_id=once(resource_manager, instance.instance_id),
        opts=pulumi.InvokeOutputOptions(parent=site.parent),
    )
    grant = gcp.compute.InstanceIAMMember(
        f"{site.name}-schedule-grant",
        project=compute,
        zone=site.zone,
        instance_name=instance.name,
        role=role.name,
        member=pulumi.Output.format(
            "serviceAccount:service-{0}@compute-system.iam.gserviceaccount.com", project.number
        ),
        opts=site.named(),
    )
    return gcp.compute.ResourcePolicyAttachment(
        f"{site.name}-schedule-attachment",
        project=compute,
        zone=site.zone,
        name=policy.name,
        instance=once(instance.name, grant.id),
        opts=site.named(),
    )
