"""The keys of `cpu-vm`, the endpoint on a CPU machine in Google Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from components.catalogue.gcp import CatalogueError, MachineType, find_machine_type
from components.settings.base import Check, Problem
from components.settings.cpu_serving import CpuServing
from components.settings.gcp_vm import GcpVmSettings, image_of

_IMAGES = ("debian-12", "ubuntu-24.04")
_SYSTEM_BYTES = 2**30


def _machine_type(value: str) -> str:
    try:
        find_machine_type(value)
    except CatalogueError as error:
        raise ValueError(str(error)) from None
    return value


def _image(value: str) -> str:
    return image_of(value, _IMAGES)


class CpuVmSettings(GcpVmSettings, CpuServing):
    """The keys of `cpu-vm`, the endpoint on a CPU machine in Google Cloud."""

    machine_type: Annotated[str, AfterValidator(_machine_type)] = Field(
        default="e2-standard-16",
        description="A machine type of the zone, predefined or custom (`n2-custom-8-65536`).",
    )
    image: Annotated[str, AfterValidator(_image)] = Field(
        default="debian-12",
        description="What the machine boots: `debian-12`, `ubuntu-24.04`, or an image's or image "
        "family's path.",
    )

    def machine(self) -> MachineType | None:
        """Return the machine type's facts; None where the catalogue does not know it."""
        return find_machine_type(self.machine_type)

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        yield Check(
            frozenset({"machine_type", "model", "embeddings_model"}),
            partial(_models_fit_the_memory, self),
        )

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, and what the catalogue does not know."""
        machine = self.machine()
        if machine is None or machine.series.avx2 or self.llama_server != "wheel":
            return super().warnings()
        return (
            *super().warnings(),
            f"some processors of {machine.series.name} lack AVX2, without which llama.cpp's "
            "wheel does not start: another series, or llama_server native, works on all",
        )


def _models_fit_the_memory(settings: CpuVmSettings) -> Iterator[Problem]:
    machine, models = settings.machine(), settings.models_bytes()
    if machine is None or models is None or models + _SYSTEM_BYTES <= machine.memory_bytes:
        return
    yield Problem(
        "machine_type",
        f"it has {machine.memory_bytes / 2**30:g} GB of memory, and by their names the models "
        f"alone take about {models / 1e9:.1f} GB: take a smaller model or quantisation, or a "
        "machine with more memory",
    )
