"""Which container image serves an engine."""

import re
import tomllib
from pathlib import Path

import pytest

from components import container_images
from components.container_images import (
    BUILD,
    ContainerImageError,
    container,
    image_name,
    pinned_cuda,
    pinned_reference,
    pinned_tag,
    pod_image,
    support_images,
)
from components.launch import Accelerator
from components.rendering.machine.plan import BuiltImage, PulledImage

PINS = tomllib.loads((Path(__file__).resolve().parents[2] / "pins.toml").read_text("utf-8"))
CUDA, CPU = Accelerator.CUDA, Accelerator.CPU
PAIRS = [("llama_cpp", CUDA), ("llama_cpp", CPU), ("vllm", CUDA), ("ovms", CPU)]
PINNED = re.compile(r"[a-z0-9.]+(/[a-z0-9._-]+)+:[\w.-]+@sha256:[0-9a-f]{64}")


def built(engine: str, accelerator: Accelerator, capability: str | None) -> BuiltImage:
    image = container(engine, accelerator, BUILD, capability).image
    assert isinstance(image, BuiltImage)
    return image


@pytest.mark.parametrize(("engine", "accelerator"), PAIRS)
def test_the_pinned_image_is_named_with_its_tag_and_digest(engine: str, accelerator: Accelerator):
    found = container(engine, accelerator)
    assert isinstance(found.image, PulledImage)
    assert PINNED.fullmatch(found.image.reference)
    assert found.cuda == pinned_cuda(engine, accelerator)


def test_only_an_image_for_gpus_has_a_cuda_version():
    assert pinned_cuda("llama_cpp", CPU) is None
    for engine in ("llama_cpp", "vllm"):
        assert re.fullmatch(r"\d+\.\d+", pinned_cuda(engine, CUDA) or "")


def test_each_engine_has_its_own_program():
    assert container("llama_cpp", CUDA).program == ("/app/llama-server",)
    assert container("llama_cpp", CPU).program == ("/app/llama-server",)
    assert container("vllm", CUDA).program == ("vllm",)


@pytest.mark.parametrize("choice", [None, BUILD, "ghcr.io/me/llama:mine@sha256:" + "a" * 64])
def test_llama_cpp_lists_its_devices_in_any_of_its_images(choice: str | None):
    listing = container("llama_cpp", CUDA, choice, "8.9").lists_devices
    assert listing == ("/app/llama-server", "--list-devices")


def test_vllm_has_no_program_that_lists_devices():
    assert container("vllm", CUDA).lists_devices == ()


def test_only_vllm_needs_more_shared_memory_than_docker_gives():
    assert container("llama_cpp", CUDA).shared_memory_mb == 64
    assert container("vllm", CUDA).shared_memory_mb > 1024


def test_a_reference_of_ones_own_is_passed_on_and_its_cuda_is_the_machines_to_find_out():
    mine = "ghcr.io/me/llama:mine@sha256:" + "a" * 64
    found = container("llama_cpp", CUDA, mine, "8.9")
    assert found.image == PulledImage(mine)
    assert found.cuda is None
    assert found.program == ("/app/llama-server",)


@pytest.mark.parametrize(
    ("capability", "architecture"),
    [("8.9", "89"), ("9.0", "90"), ("12.0", "120"), (None, "default")],
)
def test_a_build_is_for_the_gpus_alone(capability: str | None, architecture: str):
    image = built("llama_cpp", CUDA, capability)
    assert dict(image.arguments)["CUDA_DOCKER_ARCH"] == architecture
    assert image.name.endswith(f"-{architecture}")


def test_a_build_is_of_the_pinned_commit_and_dockerfile():
    for accelerator, kind in ((CUDA, "cuda"), (CPU, "cpu")):
        pin = PINS["dockerfiles"][f"llama_cpp_{kind}"]
        image = built("llama_cpp", accelerator, "8.9" if accelerator is CUDA else None)
        assert (image.source.url, image.source.commit) == (pin["url"], pin["commit"])
        assert (image.dockerfile, image.stage) == (f".devops/{kind}.Dockerfile", "server")
        assert pin["commit"].startswith(image.name.partition(":")[2].partition("-")[0])


def test_a_build_has_the_cuda_version_that_its_pin_names():
    pin = PINS["dockerfiles"]["llama_cpp_cuda"]
    assert dict(built("llama_cpp", CUDA, "8.9").arguments)["CUDA_VERSION"] == pin["cuda"]
    assert container("llama_cpp", CUDA, BUILD, "8.9").cuda == pin["cuda"]
    assert container("llama_cpp", CPU, BUILD).cuda is None


def test_two_kinds_of_gpus_have_two_images():
    names = {built("llama_cpp", CUDA, one).name for one in ("8.9", "9.0", None)}
    assert len({*names, built("llama_cpp", CPU, None).name}) == 4


def test_image_and_dockerfile_are_pinned_of_the_same_cuda_version():
    image, file = PINS["images"]["llama_cpp_cuda"], PINS["dockerfiles"]["llama_cpp_cuda"]
    assert file["cuda"].startswith(f"{image['cuda']}.")


def test_an_engine_without_an_image_for_the_machine_is_refused_with_those_there_are():
    with pytest.raises(ContainerImageError, match=r"'vllm' .* cpu; .*llama_cpp_cuda"):
        container("vllm", CPU)
    with pytest.raises(ContainerImageError, match=r"'vllm' .* cuda; .*llama_cpp_cuda"):
        container("vllm", CUDA, BUILD, "8.9")


def test_an_image_whose_digest_is_not_pinned_is_refused_with_what_to_type(monkeypatch):
    image = {**PINS["images"]["vllm"], "digest": ""}
    unseen = {**PINS, "images": {**PINS["images"], "vllm": image}}
    monkeypatch.setattr(container_images, "_pins", lambda: unseen)
    with pytest.raises(ContainerImageError, match=r"python -m scripts\.pins"):
        pinned_reference("vllm", CUDA)


def test_an_image_is_known_by_its_reference_or_by_what_it_is_built_from():
    assert image_name(container("vllm", CUDA)) == pinned_reference("vllm", CUDA)
    commit = PINS["dockerfiles"]["llama_cpp_cuda"]["commit"]
    assert commit[:12] in image_name(container("llama_cpp", CUDA, BUILD, "8.9"))


@pytest.mark.parametrize(
    ("engine", "program"), [("ovms", "/ovms/bin/ovms"), ("llama_cpp", "/app/llama-server")]
)
def test_a_pod_has_the_pinned_image_for_processors_and_its_program(engine: str, program: str):
    image = pod_image(engine)
    assert image.reference == pinned_reference(engine, CPU)
    assert f":{pinned_tag(engine)}@" in image.reference
    assert image.program == (program,)


def test_a_pod_has_an_image_of_ones_own_but_none_is_built_for_it():
    mine = "docker.io/me/model_server:2026.4.0@sha256:" + "a" * 64
    assert pod_image("ovms", mine).reference == mine
    with pytest.raises(ContainerImageError, match="a cluster builds no images"):
        pod_image("ovms", BUILD)
    with pytest.raises(ContainerImageError, match="'vllm' has no such image for cpu"):
        pod_image("vllm")


def test_what_runs_beside_an_engine_is_pinned_too():
    images = support_images()
    for reference in (images.python, images.caddy):
        assert PINNED.fullmatch(reference)
    assert "/python:3.13" in images.python
    assert "/caddy:2." in images.caddy


def test_an_image_beside_an_engine_without_a_digest_is_refused(monkeypatch):
    caddy = {**PINS["images"]["caddy"], "digest": ""}
    monkeypatch.setattr(
        container_images, "_pins", lambda: {**PINS, "images": {**PINS["images"], "caddy": caddy}}
    )
    with pytest.raises(ContainerImageError, match=r"caddy:2\..* has no digest"):
        support_images()
