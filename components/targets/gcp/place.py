"""What the machines of Google Cloud take: here, so that asking loads no provider."""

from __future__ import annotations

from components.compose import Place
from components.launch import Accelerator, Form

CPU_VM = Place(
    "cpu-vm",
    forms=(Form.PROCESS,),
    accelerators=frozenset({Accelerator.CPU}),
    has_gateway=True,
)
GPU_VM = Place(
    "gpu-vm",
    forms=(Form.CONTAINER,),
    accelerators=frozenset({Accelerator.CUDA, Accelerator.CPU}),
    has_gateway=True,
)
"""A machine with GPUs; with none (`gpu` is `none`) the same containers run on its processor."""
