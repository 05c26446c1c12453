"""A verified endpoint on a CPU machine of Google Cloud."""

from __future__ import annotations

import pulumi

from components.targets.gcp.args import VmArgs
from components.targets.gcp.place import CPU_VM
from components.targets.gcp.vm import Vm


class CpuVm(Vm):
    """A machine whose processor serves models, each engine as a process of systemd's."""

    def __init__(self, name: str, args: VmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm-endpoint:gcp:CpuVm", CPU_VM, name, args, opts)
