"""What the keys of `gpu-vm` must fit together for: GPUs, their machine, and what lies on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from components.catalogue.gcp import MachineType
from components.catalogue.gcp_gpu import (
    DEFAULT_TYPE,
    Gpu,
    check_attachment,
    find_gpu,
    gpus_of,
    which_fit,
)
from components.container_images import BUILD, ContainerImageError, container
from components.engines import vllm
from components.launch import Accelerator
from components.settings.base import Problem
from components.settings.gpu_serving import SYSTEM_BYTES
from components.sizing import gpu_fit

if TYPE_CHECKING:
    from components.settings.gpu_vm import GpuVmSettings

NO_GPU = "none"
"""The value of `gpu` that serves on the processor."""
DRIVER_IMAGE = "ubuntu-24.04-nvidia-580"
PLAIN_IMAGES = ("ubuntu-24.04", "debian-12")
VLLM_BOOT_GB = 120

_ATTACHABLE_TO = "n1"
_SMALLEST_ATTACHABLE = "n1-standard-8"
_COUNTS = (1, 2, 4, 8)
_VLLM_CAPABILITY = (7, 5)


def _gpus_go_with_the_type(settings: GpuVmSettings) -> Iterator[Problem]:
    machine, built_in = settings.machine(), gpus_of(settings.machine_type)
    if machine is None:
        if settings.gpu is None:
            yield Problem(
                "gpu",
                f"the catalogue does not know which GPUs {settings.machine_type} has built in: "
                "say it, with gpu_count where it is more than one",
                "scripts/pulumi config set gpu l4, or scripts/pulumi config set gpu none",
            )
    elif built_in is not None:
        yield from _built_in_are_not_attached(settings, *built_in)
    elif settings.gpu is None:
        yield _no_gpu(machine)
    elif settings.gpu == NO_GPU:
        if settings.gpu_count is not None:
            yield Problem("gpu_count", "gpu is none", "scripts/pulumi config rm gpu_count")
    else:
        gpu, count = find_gpu(settings.gpu), settings.gpu_count or 1
        if said := check_attachment(machine, gpu, count):
            key = "gpu" if settings.gpu_count is None else "gpu_count"
            yield Problem(key, said, _attachable(machine, gpu, count))


def _attachable(machine: MachineType, gpu: Gpu, asked: int) -> str:
    """Return the command that gives a machine with `gpu`, where `asked` can't be attached."""
    built_in = (fit.machine for fit in which_fit(0) if fit.gpu == gpu and " + " not in fit.machine)
    machines = (*built_in, _SMALLEST_ATTACHABLE)
    if machines[0] != _SMALLEST_ATTACHABLE or machine.series.name != _ATTACHABLE_TO:
        return f"scripts/pulumi config set machine_type {machines[0]}"
    counts = [count for count in _COUNTS if check_attachment(machine, gpu, count) is None]
    if not counts:
        return f"scripts/pulumi config set machine_type {_SMALLEST_ATTACHABLE}"
    count = next((count for count in counts if count >= asked), counts[-1])
    return f"scripts/pulumi config set gpu_count {count}"


def runs_vllm(gpu: Gpu) -> bool:
    """Whether vLLM takes a GPU of that generation."""
    return _numbers(gpu.compute_capability) >= _VLLM_CAPABILITY


def is_without_cuda(name: str, tag: str) -> bool:
    """Whether an image of that name and tag is one of llama.cpp's without CUDA."""
    return name.endswith("ggml-org/llama.cpp") and "cuda" not in tag


def _built_in_are_not_attached(settings: GpuVmSettings, gpu: Gpu, count: int) -> Iterator[Problem]:
    said = f"{settings.machine_type} has its GPUs built in ({count} {gpu.name})"
    if settings.gpu == NO_GPU:
        yield Problem(
            "gpu",
            f"{said}, which would be paid for and not used",
            "scripts/pulumi config rm gpu, or scripts/pulumi config set machine_type n2-standard-8",
        )
    elif settings.gpu not in {None, gpu.name}:
        yield Problem("gpu", said, "scripts/pulumi config rm gpu")
    if settings.gpu_count not in {None, count}:
        yield Problem("gpu_count", said, "scripts/pulumi config rm gpu_count")


def _no_gpu(machine: MachineType) -> Problem:
    takes = machine.series.name == _ATTACHABLE_TO
    return Problem(
        "gpu",
        f"{machine.name} has no GPU built in{', but takes one' if takes else ''}; with none it "
        "serves on its processor",
        f"scripts/pulumi config set {'gpu t4' if takes else f'machine_type {DEFAULT_TYPE}'}, or "
        "scripts/pulumi config set gpu none",
    )


def _vllm_has_a_gpu(settings: GpuVmSettings) -> Iterator[Problem]:
    if settings.engine != vllm.NAME or settings.gpu != NO_GPU:
        return
    yield Problem(
        "engine",
        "vLLM serves on NVIDIA GPUs, and gpu is none",
        "scripts/pulumi config rm gpu, or scripts/pulumi config set engine llama_cpp",
    )


def _image_has_the_driver(settings: GpuVmSettings) -> Iterator[Problem]:
    if settings.gpus() is None or settings.image not in PLAIN_IMAGES:
        return
    yield Problem(
        "image",
        "it has no NVIDIA driver, which the machine's GPUs need",
        f"scripts/pulumi config set image {DRIVER_IMAGE}",
    )


def _engines_image_knows_the_gpu(settings: GpuVmSettings) -> Iterator[Problem]:
    gpus = settings.gpus()
    if settings.engine == vllm.NAME and (gpus is None or settings.container_image == BUILD):
        return
    if gpus is None and settings.gpu != NO_GPU:
        return
    accelerator = Accelerator.CPU if gpus is None else Accelerator.CUDA
    try:
        cuda = container(settings.engine, accelerator, settings.container_image).cuda
    except ContainerImageError as error:
        yield Problem("container_image", str(error))
        return
    # What an image of one's own is made for is not known: the machine asks it.
    if gpus is not None and not settings.has_own_image:
        yield from _gpu_is_supported(gpus[0], settings.engine, cuda)


def _gpu_is_supported(gpu: Gpu, engine: str, cuda: str | None) -> Iterator[Problem]:
    other = (
        "scripts/pulumi config set gpu t4, or "
        f"scripts/pulumi config set machine_type {DEFAULT_TYPE}"
    )
    if engine == vllm.NAME and not runs_vllm(gpu):
        yield Problem(
            "gpu",
            f"vLLM takes GPUs of compute capability {'.'.join(map(str, _VLLM_CAPABILITY))} and "
            f"more, and the {gpu.name} has {gpu.compute_capability}; llama.cpp serves on it",
            f"{other}, or scripts/pulumi config set engine llama_cpp",
        )
    elif cuda and gpu.last_cuda and _numbers(cuda)[0] > gpu.last_cuda:
        yield Problem(
            "gpu",
            f"the pinned image is made with CUDA {cuda}, and the {gpu.name} ({gpu.generation}) is "
            f"supported up to CUDA {gpu.last_cuda}: an image of that may be set (container_image)",
            other,
        )
    elif cuda and _numbers(cuda) < _numbers(gpu.first_cuda):
        yield Problem(
            "container_image",
            f"the pinned image is made with CUDA {cuda}, and the {gpu.name} ({gpu.generation}) "
            f"takes {gpu.first_cuda} or later",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _several_gpus_are_split(settings: GpuVmSettings) -> Iterator[Problem]:
    gpus = settings.gpus()
    if settings.engine == vllm.NAME:
        return
    if settings.gpu == NO_GPU:
        given = {"split_mode": settings.split_mode, "gpu_layers": settings.offloaded_layers}
        for key in (key for key, value in given.items() if value is not None):
            yield Problem(key, "gpu is none", f"scripts/pulumi config rm {key}")
    elif settings.split_mode is not None and gpus is not None and gpus[1] == 1:
        yield Problem(
            "split_mode",
            f"the machine has one GPU ({gpus[0].name}), which nothing is split over",
            "scripts/pulumi config rm split_mode",
        )


def _boot_disk_holds_the_image(settings: GpuVmSettings) -> Iterator[Problem]:
    if settings.engine != vllm.NAME or settings.boot_disk_gb >= VLLM_BOOT_GB:
        return
    yield Problem(
        "boot_gb",
        "vLLM's image has 9 GB to fetch and over 20 unpacked, and what it compiles lies beside it: "
        f"it takes {VLLM_BOOT_GB} or more",
        f"scripts/pulumi config set boot_gb {VLLM_BOOT_GB}",
    )


def _group_waits_for_no_build(settings: GpuVmSettings) -> Iterator[Problem]:
    if settings.container_image != BUILD or settings.spot_recovery != "mig":
        return
    yield Problem(
        "spot_recovery",
        "a build (container_image) can outlast the hour after which the group makes the machine "
        "anew, and begins anew after each Spot stop",
        "scripts/pulumi config rm spot_recovery",
    )


def _model_fits_the_gpus(settings: GpuVmSettings) -> Iterator[Problem]:
    short = settings.shortfall()
    if short is None or not short.surely:
        return
    steps = [
        f"scripts/pulumi config set {change.key} {change.value}"
        for change in short.changes
        if change.key is not None
    ]
    without = "; what has GPUs of its own goes without gpu and gpu_count" if settings.gpu else ""
    yield Problem("model", f"{short.said}; {short.offered}{without}", ", or ".join(steps) or None)


def _rest_fits_the_memory(settings: GpuVmSettings) -> Iterator[Problem]:
    machine, gpus, need = settings.machine(), settings.gpus(), settings.need()
    if machine is None or need is None:
        return
    if gpus is not None:
        rest = gpu_fit.left_to_the_processor(need, settings.asked(gpus)).least
    else:
        rest = need.weights.least if settings.gpu == NO_GPU else 0
    missing = rest + SYSTEM_BYTES - machine.memory_bytes
    if missing <= 0:
        return
    layers = f" for what gpu_layers {settings.gpu_layers} leaves to the processor" if gpus else ""
    yield Problem(
        "machine_type",
        f"it has {machine.memory_bytes / 2**30:g} GB of memory, and by its name the model takes at "
        f"least {gpu_fit.gb(rest)} of it{layers}: {gpu_fit.gb(missing)} are missing; take a "
        "smaller model or quantisation, fewer slots or context_tokens, or a machine with more "
        "memory",
    )


_MEMORY_KEYS = (
    *("engine", "model", "embeddings_model", "context_tokens", "slots", "kv_type", "threads"),
    *("split_mode", "flash_attention", "gpu_layers", "machine_type", "gpu", "gpu_count"),
    *("gcp:zone", "spot"),
)
CHECKS: tuple[tuple[tuple[str, ...], Callable[[GpuVmSettings], Iterator[Problem]]], ...] = (
    (("machine_type", "gpu", "gpu_count"), _gpus_go_with_the_type),
    (("engine", "gpu"), _vllm_has_a_gpu),
    (("image", "machine_type", "gpu"), _image_has_the_driver),
    (("engine", "machine_type", "gpu", "container_image"), _engines_image_knows_the_gpu),
    (
        ("engine", "split_mode", "gpu_layers", "machine_type", "gpu", "gpu_count"),
        _several_gpus_are_split,
    ),
    (("engine", "boot_gb"), _boot_disk_holds_the_image),
    (("container_image", "spot_recovery"), _group_waits_for_no_build),
    (_MEMORY_KEYS, _model_fits_the_gpus),
    (_MEMORY_KEYS, _rest_fits_the_memory),
)
