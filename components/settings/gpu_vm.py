"""The keys of `gpu-vm`, the endpoint on a GPU machine in Google Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from components.catalogue.gcp import CatalogueError, MachineType, catalogue, find_machine_type
from components.catalogue.gcp_gpu import (
    DEFAULT_TYPE,
    Fit,
    Gpu,
    ending,
    find_gpu,
    find_gpu_machine_type,
    gpu_not_in_zone,
    gpus_of,
    machine_not_in_zone,
    only_spot,
    which_fit,
)
from components.engines import vllm
from components.models.reference import shown
from components.settings.base import Check
from components.settings.gcp_vm import GcpVmSettings, image_of
from components.settings.gpu_machine import (
    CHECKS,
    DRIVER_IMAGE,
    NO_GPU,
    PLAIN_IMAGES,
    VLLM_BOOT_GB,
    is_without_cuda,
    runs_vllm,
)
from components.settings.gpu_serving import GpuServing
from components.sizing import gpu_fit

_IMAGES = (DRIVER_IMAGE, *PLAIN_IMAGES)
_BOOT_GB = 60


def _machine_type(value: str) -> str:
    try:
        find_gpu_machine_type(value)
    except CatalogueError as error:
        # Without a GPU (gpu none) any machine serves.
        try:
            find_machine_type(value)
        except CatalogueError as other:
            of_processors = value.partition("-")[0] in catalogue().series
            raise ValueError(str(other if of_processors else error)) from None
    return value


def _gpu(value: str) -> str:
    if value == NO_GPU:
        return value
    try:
        return find_gpu(value).name
    except CatalogueError as error:
        raise ValueError(f"{error} (or {NO_GPU}, to serve on the processor)") from None


def _image(value: str) -> str:
    return image_of(value, _IMAGES)


class GpuVmSettings(GpuServing, GcpVmSettings):
    """The keys of `gpu-vm`, the endpoint on a GPU machine in Google Cloud."""

    machine_type: Annotated[str, AfterValidator(_machine_type)] = Field(
        default=DEFAULT_TYPE,
        description="A machine type of the zone: one with GPUs built in (`g2-standard-8` has one "
        "L4), or an `n1` machine with `gpu`.",
    )
    gpu: Annotated[str, AfterValidator(_gpu)] | None = Field(
        default=None,
        description="The GPU to attach to an `n1` machine, such as `t4`. `none`: serve on the "
        "processor, from the same containers. Unset: what the machine type has.",
    )
    gpu_count: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="How many GPUs are attached to an `n1` machine. Unset: one.",
    )
    image: Annotated[str, AfterValidator(_image)] = Field(
        default=DRIVER_IMAGE,
        description="What the machine boots: `ubuntu-24.04-nvidia-580`, which has NVIDIA's driver, "
        "or an image's or image family's path; without a GPU also `ubuntu-24.04` or `debian-12`. "
        "`scripts/up` records the image that a family stands for.",
    )
    boot_gb: int | None = Field(
        default=None,
        ge=30,
        le=2000,
        description="GB of the boot disk, which holds the system and the engine's image. Unset: "
        "60, and 120 for vLLM's, which takes no less.",
    )

    @property
    def boot_disk_gb(self) -> int:
        """The size of the boot disk in GB."""
        return self.boot_gb or (VLLM_BOOT_GB if self.engine == vllm.NAME else _BOOT_GB)

    def machine(self) -> MachineType | None:
        """Return the machine type's facts; None where the catalogue does not know it."""
        try:
            return find_gpu_machine_type(self.machine_type)
        except CatalogueError:
            return find_machine_type(self.machine_type)

    def gpus(self) -> tuple[Gpu, int] | None:
        """Return the machine's GPUs and how many; None where it serves on its processor.

        Of a machine type that the catalogue does not know, they are what `gpu` says.
        """
        if self.gpu == NO_GPU:
            return None
        built_in = gpus_of(self.machine_type)
        if built_in is not None or self.gpu is None:
            return built_in
        return find_gpu(self.gpu), self.gpu_count or 1

    @property
    def attached(self) -> bool:
        """Whether the GPUs are attached to the machine, rather than built into its type."""
        machine = self.machine()
        return (
            machine is not None and self.gpus() is not None and gpus_of(self.machine_type) is None
        )

    def not_in(self, zone: str) -> str | None:
        """Return why the machine or its GPU can't be had in `zone`; None where it can be."""
        gpus = self.gpus()
        if gpus_of(self.machine_type) is not None:
            return machine_not_in_zone(self.machine_type, zone)
        missing = super().not_in(zone)
        return missing or (gpu_not_in_zone(gpus[0], zone) if gpus and self.attached else None)

    def shortfall(self) -> gpu_fit.Shortfall | None:
        """Return what the GPUs lack for the chat model; None where it is likely to fit."""
        gpus, need = self.gpus(), self.need()
        if gpus is None or need is None:
            return None
        offers = self._offers(gpus[0])
        return gpu_fit.shortfall(need, self.asked(gpus), self.sharing(gpus), offers)

    def asked(self, gpus: tuple[Gpu, int]) -> gpu_fit.Asked:
        """Return how the chat model is served on `gpus`, for reckoning their memory."""
        tuned = self.tuned(gpus, self.machine())
        return gpu_fit.Asked(
            engine=self.engine,
            context_tokens=tuned.context_tokens,
            slots=tuned.slots,
            kv_type=tuned.kv_type,
            gpu_layers=self.offloaded_layers,
            beside=self.beside(),
        )

    @property
    def _later(self) -> str:
        """What finds out, once the machine is there, whether the model fits."""
        if self.engine == vllm.NAME:
            return "vLLM finds out when it loads it"
        return "the machine reckons with the model's own header before it serves"

    def _offers(self, gpu: Gpu) -> list[Fit]:
        """Return the machines with GPUs that can be had in the zone and that the engine takes.

        Those whose end is known are among them only for who has such a `gpu` already.
        """
        return [
            fit
            for fit in which_fit(0)
            if gpu_not_in_zone(fit.gpu, self.zone) is None
            and machine_not_in_zone(fit.machine, self.zone) is None
            and (self.split_mode != "none" or fit.gpus == 1)
            and (self.spot or only_spot(fit.machine) is None)
            and (fit.gpu == gpu or ending(fit.gpu) is None)
            and (self.engine != vllm.NAME or runs_vllm(fit.gpu))
        ]

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for reads, find in CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, what ends, and what may not do."""
        said = [*super().warnings()]
        gpus = self.gpus()
        if not self.spot:
            said.append(only_spot(self.machine_type) or "")
        if gpus is not None:
            said.append(ending(gpus[0]) or "")
        short = self.shortfall()
        if short is not None and not short.surely:
            said.append(f"model {shown(self.model)}: {short.said}; {self._later}; {short.offered}")
        if gpus is not None and self.need() is None:
            said.append(
                f"model {shown(self.model)}: its name does not tell its size, so that nothing says "
                f"here whether it fits; {self._later}"
            )
        if gpus is not None and is_without_cuda(*self.own_image):
            said.append(
                f"container_image {self.container_image}: its tag does not say cuda, and llama.cpp "
                "publishes images for processors and other GPUs beside those"
            )
        return tuple(one for one in said if one)
