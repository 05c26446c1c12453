"""What the programs of machines in Google Cloud share: from settings to a plan, and to a VM."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pulumi

from components.rendering.machine.plan import (
    MachinePlan,
    ModelServer,
    PowerOff,
    ResizeGroup,
    Tls,
)
from components.serving.llama_servers import embedding_model
from components.settings.gcp_vm import GcpVmSettings
from components.targets.gcp.args import VmArgs
from stacks.interpreter import python
from stacks.planning import base_name, gateway_limits

STARTED_BY_UP = "LLM_ENDPOINT_UP"
"""The variable that scripts/up sets for pulumi."""


def machine_plan(
    settings: GcpVmSettings, stack: str, servers: tuple[ModelServer, ...]
) -> MachinePlan:
    """Return what the machine of `stack` becomes: a pure function, the same for the same input."""
    name = base_name(stack)
    grouped = settings.spot_recovery == "mig"
    return MachinePlan(
        base_name=name,
        servers=servers,
        tls=Tls(settings.tls),
        limits=gateway_limits(sum(server.launch.slots for server in servers)),
        domain=settings.domain,
        idle_minutes=settings.idle_minutes or None,
        stop=ResizeGroup(name) if grouped else PowerOff(),
    )


def vm_args(settings: GcpVmSettings, planned: MachinePlan, engine_package: str) -> VmArgs:
    """Return what a VM's component takes. Asks Google when the machine last stopped."""
    # Only a deployment asks: the plan is also rendered where nothing of Google is installed.
    from scripts.gcp.instances import last_stop

    return {
        "plan": planned,
        "project": settings.project,
        "region": settings.region,
        "zone": settings.zone,
        "machine_type": settings.machine_type,
        "image": settings.image_path,
        "boot_disk_gb": settings.boot_disk_gb,
        "boot_disk_type": settings.disk_type,
        "cache_gb": settings.disk_gb(),
        "cache_disk_type": settings.disk_type,
        "allowed_cidrs": settings.allowed_cidrs,
        "network": settings.network,
        "subnetwork": settings.subnetwork,
        "dns_zone": settings.dns_zone,
        "spot": settings.spot,
        "spot_recovery": settings.spot_recovery,
        "max_run_seconds": settings.max_run_hours and settings.max_run_hours * 3600,
        "schedule": settings.start_stop(),
        "labels": settings.labels,
        "keep_data": settings.keep_data,
        "parked": settings.parked,
        "keys": settings.key_generations(),
        "python": [python()],
        "stopped": last_stop(settings.project, settings.zone, planned.base_name, os.environ),
        "ready_seconds": settings.ready_minutes * 60,
        "streams": settings.verify_streams,
        "min_tokens_per_second": settings.min_tokens_per_second,
        "embedding_model": embedding_model(settings),
        "engine_package": engine_package,
    }


def say_what_follows_a_stock_out(
    settings: GcpVmSettings, stack: str, vm: pulumi.ComponentResource
) -> None:
    """Say on the component what to type where Google has no room, for who runs pulumi itself.

    scripts/up goes on by itself. The engine prints what is said here beside the provider's error.
    """
    if pulumi.runtime.is_dry_run() or settings.parked or os.environ.get(STARTED_BY_UP):
        return
    others = [zone for zone in settings.zones if zone != settings.zone]
    step = (
        f"scripts/up {stack} goes on with {others[0]}, if no cache disk holds data"
        if others
        else f'scripts/pulumi config set zones "ZONE ZONE …" --stack {stack}, then '
        f"scripts/up {stack} tries them in turn"
    )
    pulumi.log.info(
        f"should {settings.zone} have no room for it (does not have enough resources), "
        f"next: {step}",
        vm,
    )


def rendered_files(planned: MachinePlan) -> Mapping[str, str]:
    """Return every file that the machine of a plan is handed: path below a folder -> text.

    What it gets are `user-data.yaml` and `startup-script.sh`; the first one holds those below
    `machine/`, which lie there under the paths that they have on the machine.
    """
    from components.rendering.machine.render import render

    rendered = render(planned)
    named = {f"machine{file.path}": file.content for file in rendered.files}
    return {
        "user-data.yaml": rendered.user_data,
        "startup-script.sh": rendered.startup_script,
        **named,
    }
