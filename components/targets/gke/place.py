"""What a GKE pool takes: here, so that asking loads no provider."""

from __future__ import annotations

from components.compose import Place
from components.launch import Accelerator, Form

GKE_POOL = Place(
    "gke-ovms",
    forms=(Form.POD,),
    accelerators=frozenset({Accelerator.CPU}),
    has_gateway=True,
)
"""A pool of nodes that serve on their processors, behind a gateway in the same cluster."""
