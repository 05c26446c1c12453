"""What a CPU machine of Google Cloud takes: here, so that asking loads no provider."""

from __future__ import annotations

from components.compose import Place
from components.launch import Accelerator, Form

PLACE = Place(
    "cpu-vm",
    forms=(Form.PROCESS,),
    accelerators=frozenset({Accelerator.CPU}),
    has_gateway=True,
)
