"""A `CpuVm` or `GpuVm` under the recording engine: what the tests of the components share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from unittest.mock import patch

from components.engines.llama_cpp import LlamaCppOptions, launch
from components.rendering.machine.plan import (
    GatewayLimits,
    Installation,
    MachinePlan,
    ModelServer,
    ResizeGroup,
    Tls,
)
from components.rendering.machine.render import render
from components.rendering.machine.rendered import RenderedMachine
from components.targets.gcp.args import VmArgs
from components.targets.gcp.cpu_vm import CpuVm
from components.targets.gcp.gpu_vm import GpuVm
from emulator.mocks.recording import Registration, Run, run

KEY = "sk-the-key-of-the-test"
CA_KEY = "-----BEGIN PRIVATE KEY-----\nthe-private-key-of-the-authority\n-----END PRIVATE KEY-----"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----"
ADDRESS = "198.51.100.7"
RECEIPT = {"schema_version": 1, "status": "passed", "endpoint_url": f"https://{ADDRESS}"}
LABELS = {"stack": "cpu-vm", "owner": "ada"}
NAME = "llm-endpoint-cpu-vm"
COMMAND = "command:local:Command"

PLAN = MachinePlan(
    base_name=NAME,
    servers=(
        ModelServer(
            name="chat",
            launch=launch(LlamaCppOptions("tiny", 4096, 4, checks_keys=False)),
            model="owner/repo:tiny.gguf",
            installation=Installation(
                requirements="llama-wheel", program=("{venv}/bin/python", "-m", "llama_wheel")
            ),
        ),
    ),
    tls=Tls.OWN_CA,
    limits=GatewayLimits(active_requests=8),
    idle_minutes=30,
)
ACME_PLAN = replace(PLAN, tls=Tls.ACME, domain="llm.example.com")
GROUP_PLAN = replace(PLAN, stop=ResizeGroup(NAME))


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    """What the commands of a first `up` print."""
    if "-key-" in name:
        return f"{KEY}-{name}"
    return {
        "vm-ca": json.dumps({"certificate": CERTIFICATE, "key": CA_KEY}),
        "vm-verification": json.dumps(RECEIPT),
    }[name]


def arguments(**changed: object) -> VmArgs:
    args: VmArgs = {
        "plan": PLAN,
        "project": "p",
        "region": "europe-west4",
        "zone": "europe-west4-a",
        "machine_type": "e2-standard-4",
        "image": "projects/debian-cloud/global/images/family/debian-12",
        "boot_disk_gb": 20,
        "boot_disk_type": "pd-balanced",
        "cache_gb": 50,
        "cache_disk_type": "pd-ssd",
        "allowed_cidrs": ["203.0.113.7/32"],
        "labels": LABELS,
        "keys": {"default": 1, "alice": 3},
        "python": [".venv/bin/python"],
        "stopped": "",
        "ready_seconds": 1500,
        "streams": 3,
        "engine_package": "xllamacpp 1",
    }
    return {**args, **changed}


def program(
    component: type[CpuVm | GpuVm] = CpuVm, **changed: object
) -> Callable[[], Mapping[str, object]]:
    def deploy() -> Mapping[str, object]:
        with patch("components.targets.gcp.vm.render", rendered):
            return component("vm", arguments(**changed)).outputs.exports()

    return deploy


_RENDERED: dict[str, RenderedMachine] = {}
_RUNS: dict[str, Run] = {}


def rendered(plan: MachinePlan) -> RenderedMachine:
    """What the renderer makes of `plan`, made once: it reads every file of a machine."""
    key = repr(plan)
    if key not in _RENDERED:
        _RENDERED[key] = render(plan)
    return _RENDERED[key]


def deployed(component: type[CpuVm | GpuVm] = CpuVm, **changed: object) -> Run:
    """The record of a first `up`; the same arguments give the same record."""
    key = repr((component, sorted(changed.items())))
    if key not in _RUNS:
        _RUNS[key] = run(program(component, **changed), stdout, "cpu-vm")
    return _RUNS[key]


def in_a_group(**changed: object) -> Run:
    return deployed(**{"plan": GROUP_PLAN, "spot": True, "spot_recovery": "mig", **changed})


def of_type(seen: Run, kind: str) -> list[Registration]:
    """All resources of a kind, such as `compute/instance`."""
    return [
        entry for entry in seen.registrations.values() if entry.token.startswith(f"gcp:{kind}:")
    ]


def only(seen: Run, kind: str) -> Registration:
    found = of_type(seen, kind)
    assert len(found) == 1, [entry.name for entry in found]
    return found[0]


def command(seen: Run, name: str) -> Registration:
    return seen.registrations[f"{COMMAND}:vm-{name}"]
