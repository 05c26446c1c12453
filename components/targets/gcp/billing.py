"""What of a machine bills, while it runs, while it is stopped, and while the stack is parked.

Rules as of 2026-11: cores, memory and GPUs only while the machine runs (cloud.google.com/compute/
docs/instances/stop-start-instance), disks as long as they are there, an external IPv4 address
always, and dearer while nothing uses it (cloud.google.com/vpc/network-pricing), secrets by version
(cloud.google.com/secret-manager/pricing).
"""

from __future__ import annotations

from components.endpoint import Billed
from components.targets.gcp.args import VmArgs


def billed(args: VmArgs) -> list[Billed]:
    """Return every resource that bills.

    A stopped machine bills as a parked stack does, and its boot disk beside. A managed instance
    group deletes its machine, with the boot disk, where one instance is stopped.
    """
    plan = args["plan"]
    price = "Spot" if args.get("spot", False) else "standard"
    boot = _disk("boot", args["boot_disk_gb"], args["boot_disk_type"])
    if args.get("spot_recovery", "none") == "none":
        boot += " (also while the machine is stopped)"
    resources: list[Billed] = [
        _billed(f"{_machine(args)} ({price})", parked=False),
        _billed(boot, parked=False),
    ]
    if plan.cache_disk is not None:
        cache = _disk("cache", args.get("cache_gb"), args.get("cache_disk_type"))
        resources.append(_billed(cache, parked=True))
    secrets = [name for name in (plan.keys_secret, plan.ca_secret) if name is not None]
    return [
        *resources,
        _billed("external IPv4 address (dearer while no machine uses it)", parked=True),
        *(
            _billed(f"secret {name} (the first six versions are free)", parked=True)
            for name in secrets
        ),
        _billed("traffic to the internet", parked=False),
    ]


def _machine(args: VmArgs) -> str:
    cores = f"cores and memory of {args['machine_type']}"
    gpus = args.get("gpus")
    return cores if gpus is None else f"{cores}, {gpus.count} x {gpus.accelerator}"


def _billed(resource: str, *, parked: bool) -> Billed:
    return {"resource": resource, "running": True, "parked": parked}


def _disk(purpose: str, size: int | None, kind: str | None) -> str:
    return f"{purpose} disk, {size} GB {kind}"
