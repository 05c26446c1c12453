"""A verified endpoint on a GPU machine of Google Cloud."""

from __future__ import annotations

import pulumi

from components.targets.gcp.args import VmArgs
from components.targets.gcp.place import GPU_VM
from components.targets.gcp.vm import Vm


class GpuVm(Vm):
    """A machine whose GPUs serve models, each engine as a container of Docker's.

    Without `gpus`, the same containers run on its processor.
    """

    def __init__(self, name: str, args: VmArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm-endpoint:gcp:GpuVm", GPU_VM, name, args, opts)
