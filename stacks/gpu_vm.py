"""`gpu-vm`: a verified endpoint on a GPU machine in Google Cloud, its engines in containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pulumi

from components.container_images import image_name
from components.rendering.machine.plan import Container, MachineGpus, MachinePlan
from components.serving.gpu_servers import gpu_servers
from components.settings import GpuVmSettings, Settings
from components.targets.gcp.args import Gpus
from stacks.gcp_vm import (
    machine_plan,
    rendered_files,
    say_what_follows_a_stock_out,
    vm_args,
)


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the machine and what belongs to it, and return the stack's outputs."""
    # Only a deployment loads the provider: the plan is also rendered where it is not installed.
    from components.targets.gcp.gpu_vm import GpuVm

    given = _gpu_vm(settings)
    stack = pulumi.get_stack()
    planned = plan(given, stack)
    args = vm_args(given, planned, engine_package(planned))
    args["gpus"] = gpus(given)
    vm = GpuVm("gpu-vm", args)
    say_what_follows_a_stock_out(given, stack, vm)
    return vm.outputs.exports()


def plan(settings: Settings, stack: str) -> MachinePlan:
    """Return what the machine of `stack` becomes: a pure function, the same for the same input."""
    given = _gpu_vm(settings)
    found = given.gpus()
    planned = machine_plan(given, stack, gpu_servers(given, found, given.machine()))
    if found is None:
        return planned
    gpu, count = found
    return replace(planned, gpus=MachineGpus(gpu.accelerator, count, gpu.compute_capability))


def files(settings: Settings, stack: str) -> Mapping[str, str]:
    """Return every file that `stack` would put on its machine: path below a folder -> text."""
    return rendered_files(plan(settings, stack))


def gpus(settings: GpuVmSettings) -> Gpus | None:
    """Return the GPUs that Google is asked for; None where the machine serves on its processor."""
    found = settings.gpus()
    return None if found is None else Gpus(found[0].accelerator, found[1], settings.attached)


def engine_package(planned: MachinePlan) -> str:
    """Return what the engine of the chat server comes from: an image, or what builds it."""
    installation = planned.servers[0].installation
    if not isinstance(installation, Container):
        raise TypeError(f"gpu-vm serves from containers, not {type(installation).__name__}")
    return image_name(installation)


def _gpu_vm(settings: Settings) -> GpuVmSettings:
    if not isinstance(settings, GpuVmSettings):
        raise TypeError(f"gpu-vm takes GpuVmSettings, not {type(settings).__name__}")
    return settings
