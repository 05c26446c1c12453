"""What `CpuVm` and `GpuVm` take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import pulumi

from components.rendering.machine.plan import MachinePlan
from components.schedule import Schedule


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a machine.

    `accelerator` is Compute Engine's accelerator type, such as `nvidia-l4`. `attached` says that
    the machine type has none by itself (N1), so that they are asked for beside it.
    """

    accelerator: str
    count: int
    attached: bool


class VmArgs(TypedDict):
    """What `CpuVm` and `GpuVm` take.

    Lists of ranges, names and sizes are plain: they decide what is made.
    """

    plan: MachinePlan
    """What the machine becomes; its `base_name` begins the name of every cloud resource. The
    first server is the one that chats."""
    project: str
    """Id of the project."""
    region: str
    """Region of the address, such as `europe-west4`; `zone` lies in it."""
    zone: str
    """Zone of the machine and its disks, such as `europe-west4-a`."""
    machine_type: str
    """Machine type, such as `e2-standard-4`. Another one restarts the machine."""
    gpus: NotRequired[Gpus | None]
    """The machine's GPUs. Google can't move a machine with GPUs: it stops it for maintenance."""
    image: str
    """Boot image or image family, such as `projects/debian-cloud/global/images/family/debian-12`.
    A family is looked up when the boot disk is made; that it moves on replaces nothing."""
    boot_disk_gb: int
    """Size of the boot disk in GB. It holds the system and the engine, and goes with the VM."""
    boot_disk_type: str
    """Disk type of the boot disk, such as `pd-balanced`."""
    cache_gb: NotRequired[int | None]
    """Size of the cache disk in GB, for a plan that has one. It can grow, not shrink."""
    cache_disk_type: NotRequired[str | None]
    """Disk type of the cache disk, such as `pd-balanced`. Another one makes an empty disk."""
    allowed_cidrs: Sequence[str]
    """Who may connect to port 443, such as `203.0.113.7/32`. There is no default."""
    network: NotRequired[str | None]
    """Name or self link of a network of this project to stand in; unset, one is made. Its own
    firewall rules with a priority up to 1000 hold for the machine too."""
    subnetwork: NotRequired[str | None]
    """Name or self link of a subnetwork of `network` in `region`, which custom networks need."""
    dns_zone: NotRequired[str | None]
    """Name of the Cloud DNS zone that gets an A record of the plan's domain."""
    spot: NotRequired[bool]
    """Take a Spot VM: cheaper, and Google may stop it at any time."""
    spot_recovery: NotRequired[Literal["none", "mig"]]
    """`none`: what has stopped stays so until the next `up`. `mig`: a managed instance group of
    one machine brings it back. See ADR 7."""
    max_run_seconds: NotRequired[int | None]
    """Seconds after each start at which Google stops the machine."""
    schedule: NotRequired[Schedule | None]
    """When Google starts and stops the machine by the clock."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of everything that bills."""
    keep_data: NotRequired[bool]
    """Protect the cache disk: nothing deletes or replaces it until this is unset again."""
    parked: NotRequired[bool]
    """Keep address, keys and cache disk, and have no machine."""
    keys: Mapping[str, int]
    """Generation of each API key by its name; a new generation makes a new key."""
    python: Sequence[str]
    """The command that starts Python with this project's packages on the deployer's machine."""
    stopped: NotRequired[pulumi.Input[str]]
    """A text that changes exactly when the machine has stopped without this deployment, such as
    Compute Engine's `lastStopTimestamp`; empty for never. What was started again is verified
    again, and no output of the machine itself tells."""
    ready_seconds: int
    """Seconds that verification waits for the machine to boot and load its models."""
    streams: int
    """Streams that verification runs at the same time."""
    min_tokens_per_second: NotRequired[float | None]
    """The floor below which a stream fails verification."""
    embedding_model: NotRequired[str | None]
    """The id that answers `/v1/embeddings`, where one does."""
    engine_package: str
    """The package and version that the engine comes from, for the receipt."""
    stand_in: NotRequired[bool]
    """Whether the model only stands in for a real one; the receipt says so."""
