"""What a machine is made of, for one instance and for an instance group's template alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

from components.rendering.machine.rendered import RenderedMachine
from components.targets.gcp.args import Gpus, VmArgs
from components.targets.gcp.network import Standing
from components.targets.gcp.site import Site

BOOT_METADATA = ("user-data", "startup-script", "cache-disk")
"""What tells that another machine is needed: what it reads at its first boot alone, and which cache
disk it has. (A disk that was made anew has its old link: nothing else would tell.)"""


@dataclass(frozen=True)
class Parts:
    """What a machine is put together from.

    `account` is known once it may read the machine's secrets. `first` has to be there before the
    machine boots, and tells it nothing that a change would need another machine for.
    """

    rendered: RenderedMachine
    standing: Standing
    address: gcp.compute.Address
    account: pulumi.Output[str]
    cache: gcp.compute.Disk | None
    first: Sequence[pulumi.Resource]


@dataclass(frozen=True)
class Scheduling:
    """When Google stops a machine, in the words of the API."""

    provisioning_model: str
    preemptible: bool
    automatic_restart: bool
    on_host_maintenance: str
    instance_termination_action: str | None
    max_run_seconds: int | None


def scheduling(*, spot: bool, max_run_seconds: int | None, gpus: Gpus | None) -> Scheduling:
    """Return what Spot, a run limit (in seconds) and GPUs imply for each other.

    What Google stops, it keeps: the boot disk and the instance stay, and `up` starts them again.
    A machine with GPUs can't be moved to another host: maintenance ends it, and one that no limit
    stops on purpose is then started again by Google.
    """
    limited = spot or max_run_seconds is not None
    return Scheduling(
        provisioning_model="SPOT" if spot else "STANDARD",
        preemptible=spot,
        # A machine that is stopped on purpose must not come back by itself.
        automatic_restart=not limited,
        on_host_maintenance="TERMINATE" if spot or gpus is not None else "MIGRATE",
        instance_termination_action="STOP" if limited else None,
        max_run_seconds=max_run_seconds,
    )


def metadata(parts: Parts) -> Mapping[str, pulumi.Input[str]]:
    """Return what the metadata server tells the machine, of which nothing is a secret."""
    disk: Mapping[str, pulumi.Input[str]] = (
        {} if parts.cache is None else {"cache-disk": parts.cache.disk_id}
    )
    return {
        **disk,
        "user-data": parts.rendered.user_data,
        "startup-script": parts.rendered.startup_script,
        # SSH keys come from IAM, not from the project's metadata.
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        # What the console said (stages, no secret) can be read when the machine is gone.
        "serial-port-logging-enable": "TRUE",
    }


def cache_disk(site: Site, args: VmArgs, compute: pulumi.Output[str]) -> gcp.compute.Disk | None:
    """Make the disk that holds models and certificates, and outlives the machine.

    Raises ValueError where the plan has one and its size or type is missing.
    """
    if args["plan"].cache_disk is None:
        return None
    size, kind = args.get("cache_gb"), args.get("cache_disk_type")
    if size is None or kind is None:
        raise ValueError("the plan has a cache disk: cache_gb and cache_disk_type are needed")
    return gcp.compute.Disk(
        f"{site.name}-cache",
        name=f"{site.base_name}-cache",
        project=compute,
        zone=site.zone,
        size=size,
        type=kind,
        labels=site.labels,
        opts=pulumi.ResourceOptions(
            parent=site.parent,
            delete_before_replace=True,
            protect=args.get("keep_data", False),
        ),
    )
