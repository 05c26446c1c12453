"""The GPUs of this machine as NVIDIA's driver tells them, and which CUDA a driver runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from machine.commands import Command, Result
from machine.errors import Permanent, StageError, Temporary
from machine.world import World

QUERY = (
    "--query-gpu=name,driver_version,memory.total,compute_cap",
    "--format=csv,noheader,nounits",
)
"""Arguments of nvidia-smi for what `parse` reads: one line a GPU, memory in MiB."""

BOOT_IMAGE = "ubuntu-24.04-nvidia-580"
"""The boot image with NVIDIA's driver that GPU machines have by default."""
_BOOT_IMAGE_DRIVER = (580,)

# The first driver of each CUDA version, from the table "CUDA Toolkit and Corresponding Driver
# Versions" of CUDA's release notes (13.2 Update 2, and 13.3 and 13.4 for themselves). Newer drivers
# run older CUDA. Within a major version older drivers than these run some programs, but not PTX,
# which is all that llama.cpp's images have for several GPUs.
_FIRST_DRIVERS = {
    (11, 8): "520.61.05",
    (12, 0): "525.60.13",
    (12, 1): "530.30.02",
    (12, 2): "535.54.03",
    (12, 3): "545.23.06",
    (12, 4): "550.54.14",
    (12, 5): "555.42.02",
    (12, 6): "560.28.03",
    (12, 8): "570.26",
    (12, 9): "575.51.03",
    (13, 0): "580.65.06",
    (13, 1): "590.44.01",
    (13, 2): "595.45.04",
    (13, 3): "610.43.02",
    (13, 4): "615",
}
# CUDA 13 has no code for GPUs before these (release notes of 13.0: Maxwell, Pascal, Volta).
_CUDA_13_CAPABILITY = (7, 5)
# docs/getting_started/installation/gpu.cuda.inc.md in vLLM v0.31.0.
_VLLM_CAPABILITY = (7, 5)

_NO_PROGRAM = 127
# Exit statuses of nvidia-smi(1), "RETURN VALUE".
_BAD_QUERY = 2
_NOTHING_FOUND = 6
_MISMATCH = "version mismatch"
_SECONDS = 120


@dataclass(frozen=True)
class Gpu:
    """One GPU. `driver` is NVIDIA's version, such as 580.95.05, `compute_capability` such as 8.9.

    `memory_bytes` is all of its memory; None where it has none of its own.
    """

    name: str
    driver: str
    memory_bytes: int | None
    compute_capability: str


def ask(world: World) -> tuple[Gpu, ...]:
    """Return the GPUs that the driver sees, none too.

    Raises `Permanent` where there is no driver, or none that fits the kernel, and `Temporary` where
    it does not answer.
    """
    result = world.run(Command("asking for the GPUs", ("nvidia-smi", *QUERY), _SECONDS))
    if result.code == _NOTHING_FOUND:
        return ()
    if result.code != 0:
        raise _unanswered(result)
    try:
        return parse(result.output)
    except ValueError as error:
        raise Temporary(f"nvidia-smi can't be understood: {error}", result.log) from None


def parse(output: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's answer to `QUERY`; raises `ValueError` with the line that it is not."""
    found: list[Gpu] = []
    for line in output.splitlines():
        if not line.strip():
            continue
        words = [word.strip() for word in line.rsplit(",", 3)]
        if len(words) != 4 or not re.fullmatch(r"\d+(\.\d+)+", words[1]):
            raise ValueError(repr(line))
        name, driver, mib, capability = words
        memory = int(mib) * 1024 * 1024 if mib.isdecimal() else None
        found.append(Gpu(name, driver, memory, capability))
    return tuple(found)


def listed(output: str) -> tuple[str, ...]:
    """Return CUDA's devices in what llama.cpp's `--list-devices` printed, such as CUDA0.

    A line of it is `  CUDA0: NVIDIA L4 (22563 MiB, 22333 MiB free)` (`common/arg.cpp`); those of
    other kinds, such as Vulkan0, and `(none)` are left out.
    """
    return tuple(re.findall(r"^\s+(CUDA\d+): ", output, re.MULTILINE))


def least_driver(cuda: str) -> str | None:
    """Return the first driver that runs programs of a CUDA version, such as 12.8 or 13.0.2.

    None for CUDA before 11.8, which every driver of today runs. For a version that is not known
    yet it is the driver of the last one before it.
    """
    wanted = numbers(cuda)[:2]
    known = [version for version in _FIRST_DRIVERS if version <= wanted]
    return _FIRST_DRIVERS[max(known)] if known else None


def runs(driver: str, cuda: str) -> bool:
    """Whether `driver` runs programs of the CUDA version."""
    least = least_driver(cuda)
    return least is None or numbers(driver) >= numbers(least)


def has_code(capability: str, cuda: str) -> bool:
    """Whether programs of the CUDA version have code for GPUs of the compute capability."""
    return numbers(cuda)[0] < 13 or numbers(capability) >= _CUDA_13_CAPABILITY


def older_image(reference: str, driver: str, capability: str) -> str | None:
    """Return the image in the place of `reference` whose CUDA such a driver and GPU run.

    None where none is known. llama.cpp publishes `server-cuda` (CUDA 12.8) beside `server-cuda13`
    for each build. vLLM's `-cu129` images are of CUDA 12.9, of which v0.31.0's does not start: it
    needs a library of CUDA 13.
    """
    cuda, least, image = "", (0,), ""
    if found := re.match(r"(.*/llama\.cpp):server-cuda13-(b\d+)", reference):
        cuda, image = "12.8", f"{found[1]}:server-cuda-{found[2]}"
    elif re.match(r"(docker\.io/)?vllm/vllm-openai:(?!.*-cu12)", reference):
        cuda, least, image = "12.9", _VLLM_CAPABILITY, "vllm/vllm-openai:v0.30.0-cu129"
    fits = runs(driver, cuda) and numbers(capability) >= least
    return image if image and fits else None


def newer_driver(cuda: str) -> str | None:
    """Return the boot image whose driver runs the CUDA version; None where it does not, either."""
    least = least_driver(cuda)
    fits = least is None or numbers(least)[:1] <= _BOOT_IMAGE_DRIVER
    return BOOT_IMAGE if fits else None


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as the numbers that it compares by; (0,) where it has none."""
    return tuple(int(word) for word in re.findall(r"\d+", version)) or (0,)


def _unanswered(result: Result) -> StageError:
    if result.code == _NO_PROGRAM:
        return Permanent(
            "nvidia-smi is not there: the boot image has no NVIDIA driver\n"
            f"next: scripts/pulumi config set image {BOOT_IMAGE}, then scripts/up"
        )
    if result.code == _BAD_QUERY:
        return Permanent(
            "nvidia-smi does not know compute_cap, which drivers tell since 510: the driver is too "
            f"old\nnext: scripts/pulumi config set image {BOOT_IMAGE}, then scripts/up",
            result.log,
        )
    if any(_MISMATCH in line.lower() for line in result.log):
        return Permanent(
            "the NVIDIA driver was updated, and the kernel still has the one before\n"
            "next: restart the machine",
            result.log,
        )
    return Temporary(
        f"the NVIDIA driver does not answer: nvidia-smi ended with {result.code}\n"
        "next: it is tried again by itself; if it stays, the boot image's driver does not fit the "
        "GPU or the kernel, or Secure Boot refuses its module, which nobody signed: "
        f"scripts/pulumi config set image {BOOT_IMAGE}, then scripts/up",
        result.log,
    )
