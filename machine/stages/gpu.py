"""Stage `gpu`: what has to hold before a server may count on the machine's GPUs.

The driver answers and sees them all, it runs the CUDA version of each image, a container of each
image sees them too, and so does the engine in it, where it can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from machine import docker, gpus
from machine.commands import Command, Result
from machine.config import Config, Container, MachineGpus, PulledImage
from machine.errors import Permanent, StageError, Temporary
from machine.gpus import Gpu
from machine.world import World

# The kernel makes no nodes of nvidia-uvm's, which CUDA needs and nvidia-smi does not. Docker since
# 28.3 may hand a container what NVIDIA's description of the GPUs listed before they were there.
_MAKE_DEVICES = (
    *("nvidia-ctk", "system", "create-device-nodes"),
    *("--control-devices", "--load-kernel-modules"),
)
_DESCRIBE = ("systemctl", "restart", "nvidia-cdi-refresh.service")
_CUDA_DEVICE = "/dev/nvidia-uvm"
# With cgroups of systemd's, a `systemctl daemon-reload` takes the GPUs from running containers
# unless their devices are found below /dev/char (NVIDIA/nvidia-container-toolkit, issue 48).
_LINK_DEVICES = ("nvidia-ctk", "system", "create-dev-char-symlinks", "--create-all")
_TOOLKIT = "nvidia-container-toolkit"
_RUN_SECONDS = 300
# What Docker says where it found no toolkit as it started: before version 28.3, and since.
_NO_TOOLKIT = ("could not select device driver", "no known gpu vendor found")
# What `docker run` ends with where the image has no such program, or it can't be run.
_NO_PROGRAM = (126, 127)
_UNKNOWN_FLAG = "invalid argument"
# How llama.cpp's ggml-cuda says that CUDA failed, and the reasons of CUDA's that stay.
_FAILED_CUDA = re.compile(r"failed to initialize CUDA: (.+)", re.IGNORECASE)
_LASTING_REASONS = ("driver version is insufficient", "forward compatibility")
_SHOWN_LINES = 4
_LISTING = "llm-endpoint-devices"
_UNSATISFIED = re.compile(r"unsatisfied condition: ([^,\n]+)")
_CUDA_VARIABLE = "CUDA_VERSION="


def run(config: Config, world: World) -> str:
    """Have the GPUs ready for containers; raises `Permanent` with both versions that don't agree.

    Raises `Temporary` where the driver or Docker does not answer.
    """
    if config.gpus is None:
        return "the machine is to have no GPUs"
    found = gpus.ask(world)
    check_count(config.gpus, found)
    images = {
        name: engine for name, engine in config.engines.items() if isinstance(engine, Container)
    }
    versions = {name: _cuda(container, world) for name, container in images.items()}
    for name, container in images.items():
        check_driver(container, versions[name], found)
    # Both are missing from older toolkits, whose hook does the first for each container.
    world.run(Command("making CUDA's devices", _MAKE_DEVICES))
    world.run(Command("describing the GPUs to Docker", _DESCRIBE))
    for container in images.values():
        _try(container, config.gpus, found, world)
        _find_cuda_device(container, world)
        if container.lists_devices:
            _ask_engine(container, config.gpus, found, world)
    # Only now, since a first container may be what loads nvidia-uvm.
    linked = world.run(Command("linking the GPUs' devices", _LINK_DEVICES))
    return _told(found, versions, linked)


def check_count(wanted: MachineGpus, found: tuple[Gpu, ...]) -> None:
    """Raise `Permanent` unless the driver sees as many GPUs as the plan has."""
    if len(found) >= wanted.count:
        return
    seen = f"sees {len(found)}: {', '.join(gpu.name for gpu in found)}" if found else "sees none"
    raise Permanent(
        f"the machine is to have {wanted.count} GPUs ({wanted.model}), and its driver {seen}\n"
        "next: see whether the machine type has that many (config keys machine_type, gpu, "
        "gpu_count), and whether the boot image's driver is for this GPU (scripts/pulumi config "
        f"set image {gpus.BOOT_IMAGE}), then scripts/up"
    )


def check_driver(container: Container, cuda: str | None, found: tuple[Gpu, ...]) -> None:
    """Raise `Permanent` where the driver, or a GPU, does not run the CUDA version of an image.

    `cuda` None is not known, and not checked: Docker and the program in the image tell then.
    """
    if cuda is None:
        return
    name = container.image.name
    for gpu in found:
        if not gpus.has_code(gpu.compute_capability, cuda):
            raise Permanent(
                f"the image {name} is of CUDA {cuda}, which has no code for the {gpu.name} "
                f"(compute capability {gpu.compute_capability}; CUDA 13 begins at 7.5)\n"
                f"next: {_other_image(container, gpu) or 'take an image of CUDA 12'}, or take a "
                "machine with a newer GPU, then scripts/up"
            )
        if not gpus.runs(gpu.driver, cuda):
            raise Permanent(
                f"the image {name} is of CUDA {cuda}, which needs the NVIDIA driver "
                f"{gpus.least_driver(cuda)} or later, and the machine has {gpu.driver}\n"
                f"next: {_ways(container, cuda, gpu)}, then scripts/up"
            )


def _cuda(container: Container, world: World) -> str | None:
    """Return the CUDA version of an image: the plan's, else what NVIDIA's base images state."""
    if container.cuda is not None:
        return container.cuda
    template = "{{range .Config.Env}}{{println .}}{{end}}"
    variables = docker.inspect(container.image.name, template, world) or ""
    for line in variables.splitlines():
        if line.startswith(_CUDA_VARIABLE):
            return line.removeprefix(_CUDA_VARIABLE)
    return None


def _try(container: Container, wanted: MachineGpus, found: tuple[Gpu, ...], world: World) -> None:
    """Run nvidia-smi in a container of the image, bounded as servers are."""
    image = container.image.name
    words = (
        *("docker", "run", *docker.SERVER_OPTIONS, "--gpus=all", "--network=none"),
        *("--env=NVIDIA_DRIVER_CAPABILITIES=compute,utility", "--entrypoint=nvidia-smi"),
        *(image, *gpus.QUERY),
    )
    command = Command(f"asking for the GPUs in {image}", words, _RUN_SECONDS)
    result = world.run(command)
    if _finds_no_toolkit(result):
        # Docker looks for the toolkit when it starts, and may have been there before it.
        world.say(f"restarting Docker, which has to find {_TOOLKIT}")
        docker.restart(world)
        result = world.run(command)
    if result.code != 0:
        raise _refused(container, found, result)
    try:
        seen = len(gpus.parse(result.output))
    except ValueError as error:
        raise Temporary(f"nvidia-smi in {image} can't be understood: {error}", result.log) from None
    if seen < wanted.count:
        raise Temporary(
            f"a container of {image} sees {seen} GPUs, and the machine has {len(found)}", result.log
        )


def _find_cuda_device(container: Container, world: World) -> None:
    """Raise `Temporary` where a container lacks what CUDA computes by.

    nvidia-smi does not tell, and llama.cpp would go on with the processor alone.
    """
    image = container.image.name
    words = (
        *("docker", "run", *docker.SERVER_OPTIONS, "--gpus=all", "--network=none"),
        *("--entrypoint=test", image, "-c", _CUDA_DEVICE),
    )
    result = world.run(Command(f"looking for CUDA's device in {image}", words, _RUN_SECONDS))
    # Any other status is Docker's own, such as of an image that has no such program.
    if result.code == 1:
        raise Temporary(
            f"a container of {image} has no {_CUDA_DEVICE}, without which CUDA computes nothing\n"
            "next: it is tried again by itself; if it stays, see whether the kernel module "
            "nvidia-uvm loads (sudo modprobe nvidia-uvm)",
            result.log,
        )


def _ask_engine(
    container: Container, wanted: MachineGpus, found: tuple[Gpu, ...], world: World
) -> None:
    """Have the engine in an image list its devices, as it is run for serving.

    Raises `Permanent` where it lists fewer GPUs than the plan has: it would serve all the same, on
    the processor. `Temporary` where CUDA failed in a way that may pass.
    """
    image = container.image.name
    program, *rest = container.lists_devices
    words = (
        *("docker", "run", f"--name={_LISTING}", *docker.SERVER_OPTIONS),
        *("--gpus=all", "--network=none", "--tmpfs=/tmp:rw,exec,nosuid,nodev", "--env=HOME=/tmp"),
        *(f"--entrypoint={program}", image, *rest),
    )
    remove = Command("removing a container", ("docker", "rm", "--force", _LISTING))
    world.run(remove)
    try:
        result = world.run(Command(f"listing the engine's devices in {image}", words, _RUN_SECONDS))
    except Temporary:
        # Its time was over: that ended Docker's client, and not the container.
        world.run(remove)
        raise
    devices = gpus.listed("\n".join(result.log))
    if result.code != 0 or not devices:
        raise _unlisted(container, found, result)
    if len(devices) < wanted.count:
        raise Permanent(
            f"{' '.join(container.lists_devices)} in {image} {_printed(result)}; that is "
            f"{len(devices)} of the {wanted.count} GPUs that the machine is to have\n"
            "next: see whether the image sets CUDA_VISIBLE_DEVICES (scripts/pulumi config rm "
            "container_image takes the pinned one); if not, restart the machine, and see what the "
            "kernel says of the others (sudo dmesg | grep NVRM)",
            result.log,
        )


def _unlisted(container: Container, found: tuple[Gpu, ...], result: Result) -> StageError:
    """Return why an engine lists none of CUDA's devices; what it printed comes first."""
    image = container.image.name
    program, said = container.lists_devices[0], "\n".join(result.log)
    told = f"{' '.join(container.lists_devices)} in {image} {_printed(result)}"
    if result.code in _NO_PROGRAM or _UNKNOWN_FLAG in said:
        return Permanent(
            f"{told}; the image of this engine has to have {program}, of a build that knows "
            f"{' '.join(container.lists_devices[1:])}\n"
            "next: scripts/pulumi config rm container_image, which takes the pinned image, then "
            "scripts/up",
            result.log,
        )
    failed = _FAILED_CUDA.search(said)
    if failed is not None and any(reason in failed[1].lower() for reason in _LASTING_REASONS):
        return Permanent(
            f"{told}; the machine has the NVIDIA driver {found[0].driver}\n"
            f"next: {_ways(container, container.cuda, found[0])}, then scripts/up",
            result.log,
        )
    if failed is not None or result.code != 0:
        return Temporary(
            f"{told}, and docker ended with {result.code}\n"
            "next: it is tried again by itself; if it stays, restart the machine, and see what the "
            "kernel says of the GPUs (sudo dmesg | grep NVRM)",
            result.log,
        )
    return Permanent(
        f"{told}; with no CUDA device it would serve on the processor\n"
        "next: take an image of llama.cpp that is made for CUDA, in which libcuda.so.1 is found: "
        "scripts/pulumi config rm container_image takes the pinned one, then scripts/up",
        result.log,
    )


def _printed(result: Result) -> str:
    lines = [line.strip() for line in result.log[-_SHOWN_LINES:]]
    return f"printed {' / '.join(lines)!r}" if lines else "printed nothing"


def _refused(container: Container, found: tuple[Gpu, ...], result: Result) -> StageError:
    image = container.image.name
    if _finds_no_toolkit(result):
        return Permanent(
            f"Docker gives no GPUs to containers: it does not find {_TOOLKIT}\n"
            "next: render the stack anew with the same version of this project as the machine has",
            result.log,
        )
    condition = _UNSATISFIED.search("\n".join(result.log))
    if condition is not None and found:
        text = condition[1].strip()
        cuda = ".".join(map(str, gpus.numbers(text))) if "cuda" in text else None
        return Permanent(
            f"the image {image} requires {text}, and the machine has the NVIDIA driver "
            f"{found[0].driver}\nnext: {_ways(container, cuda, found[0])}, then scripts/up",
            result.log,
        )
    return Temporary(
        f"nvidia-smi failed in a container of {image}: docker ended with {result.code}\n"
        "next: it is tried again by itself; if it stays, see the log",
        result.log,
    )


def _ways(container: Container, cuda: str | None, gpu: Gpu) -> str:
    """Return what would bring driver and image together, as commands."""
    ways: list[str] = []
    if other := _other_image(container, gpu):
        ways.append(other)
    if newer := gpus.newer_driver(cuda or ""):
        ways.append(f"scripts/pulumi config set image {newer}")
    else:
        ways.append(f"set image to one with the NVIDIA driver {gpus.least_driver(cuda or '')}")
    return ", or ".join(ways)


def _other_image(container: Container, gpu: Gpu) -> str | None:
    if not isinstance(container.image, PulledImage):
        return None
    reference = container.image.reference
    other = gpus.older_image(reference, gpu.driver, gpu.compute_capability)
    return other and f"scripts/pulumi config set container_image {other}"


def _told(found: tuple[Gpu, ...], versions: Mapping[str, str | None], linked: Result) -> str:
    cudas = ", ".join(
        f"{name} of CUDA {cuda}" if cuda else f"{name} of an unknown CUDA version"
        for name, cuda in versions.items()
    )
    told = f"{len(found)} × {found[0].name}, driver {found[0].driver}, for {cudas or 'no image'}"
    if linked.code != 0:
        told += (
            f"; nvidia-ctk ended with {linked.code}, so that a daemon-reload of systemd's may take "
            "the GPUs from a running server"
        )
    return told


def _finds_no_toolkit(result: Result) -> bool:
    said = "\n".join(result.log).lower()
    return result.code != 0 and any(text in said for text in _NO_TOOLKIT)
