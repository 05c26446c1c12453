"""Which container image serves an engine: pins and a person's choice -> `Container`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict, TypeVar, cast

from components.engines import llama_cpp, ovms, vllm
from components.launch import Accelerator
from components.rendering.kubernetes.colab.plan import ColabImages
from components.rendering.kubernetes.plan import SupportImages
from components.rendering.machine.plan import BuiltImage, Container, GitSource, PulledImage

PINS = Path(__file__).resolve().parent.parent / "pins.toml"

BUILD = "build"
"""The `container_image` that the machine builds from the pinned Dockerfile."""

_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    llama_cpp.NAME: ("/app/llama-server",),
    vllm.NAME: ("vllm",),
    ovms.NAME: ("/ovms/bin/ovms",),
}
"""The program in each engine's images: the entrypoint of llama.cpp's `.devops/*.Dockerfile`, of
vLLM's `docker/Dockerfile`, whose `serve` is the launch's first argument, and what that of OpenVINO
Model Server's `Dockerfile.ubuntu` starts, by a shell from 2026.3 on."""

_LISTS_DEVICES: Mapping[str, tuple[str, ...]] = {
    llama_cpp.NAME: ("/app/llama-server", "--list-devices"),
}
"""What prints the devices that an engine computes on, of engines that have such a program."""

_PIN_NAMES: Mapping[tuple[str, Accelerator], str] = {
    (llama_cpp.NAME, Accelerator.CUDA): "llama_cpp_cuda",
    (llama_cpp.NAME, Accelerator.CPU): "llama_cpp_cpu",
    (vllm.NAME, Accelerator.CUDA): "vllm",
    (ovms.NAME, Accelerator.CPU): "ovms",
}
"""Where `pins.toml` has the image of an engine on an accelerator, and what builds it."""

_COMMIT_DIGITS = 12

_P = TypeVar("_P")


class ContainerImageError(ValueError):
    """An image that can't be had; the message says what can."""


class ImagePin(TypedDict):
    """An image as `pins.toml` has it. `cuda` is "" where it has none.

    `tag_is_inferred` says that the digest was seen, and not that this tag stood for it.
    """

    repository: str
    tag: str
    digest: str
    cuda: str
    seen: date
    tag_is_inferred: NotRequired[bool]


class DockerfilePin(TypedDict):
    """A Dockerfile as `pins.toml` has it, at the `commit` that its `tag` stands for.

    `cuda` is the version that it is given, "" for none.
    """

    url: str
    tag: str
    commit: str
    dockerfile: str
    stage: str
    cuda: str


class _Pins(TypedDict):
    images: dict[str, ImagePin]
    dockerfiles: dict[str, DockerfilePin]


@cache
def _pins() -> _Pins:
    return cast(_Pins, tomllib.loads(PINS.read_text(encoding="utf-8")))


def container(
    engine: str,
    accelerator: Accelerator,
    choice: str | None = None,
    compute_capability: str | None = None,
) -> Container:
    """Return the image that serves `engine` on `accelerator`, and the program in it.

    `choice` is the key `container_image`: None for the pinned image, `BUILD`, or a reference of
    one's own, which is passed on as it is. `compute_capability` of the GPUs, such as `8.9`, is what
    `BUILD` builds for; None is every GPU that the CUDA version knows, which takes much longer.
    Raises `ContainerImageError` where there is no such image, or none to build.
    """
    cuda = None
    if choice is None:
        cuda = pinned_cuda(engine, accelerator)
        image = PulledImage(pinned_reference(engine, accelerator))
    elif choice == BUILD:
        cuda = _of(_pins()["dockerfiles"], engine, accelerator)["cuda"] or None
        image = _built(engine, accelerator, compute_capability)
    else:
        image = PulledImage(choice)
    return Container(
        name=engine.replace("_", "-"),
        image=image,
        program=_PROGRAMS[engine],
        cuda=cuda,
        shared_memory_mb=vllm.SHARED_MEMORY_MB if engine == vllm.NAME else 64,
        lists_devices=_LISTS_DEVICES.get(engine, ()),
    )


def pinned_cuda(engine: str, accelerator: Accelerator) -> str | None:
    """Return the CUDA version of the pinned image, such as `12.8`; None where it has none.

    Raises `ContainerImageError` where there is no such image.
    """
    return _of(_pins()["images"], engine, accelerator)["cuda"] or None


def pinned_reference(engine: str, accelerator: Accelerator) -> str:
    """Return the pinned image as `docker pull` takes it, with its tag and digest.

    Raises `ContainerImageError` where there is no such image, or its digest is not pinned yet.
    """
    pin = _of(_pins()["images"], engine, accelerator)
    if not pin["digest"]:
        raise ContainerImageError(
            f"{_tagged(pin)} has no digest in pins.toml yet: run python -m scripts.pins where the "
            "internet is, or set container_image to a reference with a digest"
        )
    return f"{_tagged(pin)}@{pin['digest']}"


@dataclass(frozen=True)
class PodImage:
    """An image for a pod, with its digest, and the program in it."""

    reference: str
    program: tuple[str, ...]


def pod_image(engine: str, choice: str | None = None) -> PodImage:
    """Return the image that serves `engine` on the processors of a cluster's node.

    `choice` is the key `container_image`: None for the pinned image, or a reference of one's own.
    Raises `ContainerImageError` where there is none, its digest is not known, or for `BUILD`.
    """
    if choice == BUILD:
        raise ContainerImageError("a cluster builds no images: name one with its digest")
    reference = choice or pinned_reference(engine, Accelerator.CPU)
    return PodImage(reference, _PROGRAMS[engine])


def pinned_tag(engine: str) -> str:
    """Return the tag of the pinned image that serves `engine` on processors, such as `2026.4.0`."""
    return _of(_pins()["images"], engine, Accelerator.CPU)["tag"]


def support_images() -> SupportImages:
    """Return the pinned images of what is not an engine.

    Raises `ContainerImageError` where a digest is not pinned.
    """
    python, caddy = _with_digests("python", "caddy")
    return SupportImages(python=python, caddy=caddy)


def _with_digests(*names: str) -> list[str]:
    pins = [_pins()["images"][name] for name in names]
    missing = [_tagged(pin) for pin in pins if not pin["digest"]]
    if missing:
        raise ContainerImageError(
            f"{', '.join(missing)} has no digest in pins.toml yet: run python -m scripts.pins "
            "where the internet is"
        )
    return [f"{_tagged(pin)}@{pin['digest']}" for pin in pins]


def colab_images(choice: str | None = None) -> ColabImages:
    """Return the images of a Colab runtime's pod.

    `choice` is the key `runtime_image`: None for the pinned one, which is named by its dated tag
    alone as long as no digest of it is pinned. Raises `ContainerImageError` where the digest of
    another one is not.
    """
    restic, caddy, python = _with_digests("restic", "caddy", "python")
    runtime = choice or pinned_colab_image()
    return ColabImages(runtime=runtime, restic=restic, caddy=caddy, python=python)


def pinned_colab_image() -> str:
    """Return the pinned image of the Colab runtime, with its digest if that is pinned."""
    pin = _pins()["images"]["colab_cpu"]
    return f"{_tagged(pin)}@{pin['digest']}" if pin["digest"] else _tagged(pin)


def _tagged(pin: ImagePin) -> str:
    return f"{pin['repository']}:{pin['tag']}"


def image_name(container: Container) -> str:
    """Return what a container's image is known by: its reference, or what it is built from."""
    match container.image:
        case PulledImage(reference):
            return reference
        case BuiltImage(_, source, dockerfile):
            return f"{source.url} {dockerfile} {source.commit[:_COMMIT_DIGITS]}"


def _built(engine: str, accelerator: Accelerator, compute_capability: str | None) -> BuiltImage:
    """Return the image of the pinned Dockerfile for one kind of GPU, or for processors.

    `TARGETARCH` is what BuildKit sets by itself, and the older builder leaves empty.
    """
    pin = _of(_pins()["dockerfiles"], engine, accelerator)
    if accelerator is Accelerator.CUDA:
        architecture = "default" if compute_capability is None else _digits(compute_capability)
        arguments = {"CUDA_VERSION": pin["cuda"], "CUDA_DOCKER_ARCH": architecture}
        kind = f"cuda{pin['cuda']}-{architecture}"
    else:
        arguments, kind = {"TARGETARCH": "amd64"}, "cpu"
    commit = pin["commit"]
    return BuiltImage(
        name=f"llm-endpoint/{engine.replace('_', '-')}:{commit[:_COMMIT_DIGITS]}-{kind}",
        source=GitSource(pin["url"], commit, ""),
        dockerfile=pin["dockerfile"],
        stage=pin["stage"],
        arguments=tuple(arguments.items()),
    )


def _digits(compute_capability: str) -> str:
    """Return a compute capability as CMake's `CMAKE_CUDA_ARCHITECTURES` has it: 8.9 is 89."""
    return compute_capability.replace(".", "")


def _of(pins: Mapping[str, _P], engine: str, accelerator: Accelerator) -> _P:
    """Return the pin for an engine on an accelerator. Raises `ContainerImageError`."""
    name = _PIN_NAMES.get((engine, accelerator), "")
    if name not in pins:
        raise ContainerImageError(
            f"engine {engine!r} has no such image for {accelerator.value}; there is one for "
            f"{', '.join(sorted(pins))}"
        )
    return pins[name]
