"""Container images of engines, for the stage `engine`: pulled by digest, or built at a commit."""

from __future__ import annotations

import hashlib
import re
import shutil

from machine import docker, sources
from machine.commands import Command, Result
from machine.config import BuiltImage, Container, PulledImage
from machine.errors import Permanent, StageError, Temporary
from machine.world import World

RECIPE_LABEL = "llm-endpoint.recipe"
"""Label of an image that was built here: `recipe` of what it was built from."""

_PULL_SECONDS = 2 * 3600
_BUILD_SECONDS = 4 * 3600
_LAYER = re.compile(r"([0-9a-f]{12}): (.+)")
_LAYER_THERE = {"Pull complete", "Already exists"}
_LONGEST_STEP = 100

# What Docker and registries say: dockerd's errors of docker.io 20.10 (Debian 12) to 29 (Ubuntu
# 24.04), and the registries' codes (OCI distribution specification, "Error Codes").
_FULL = ("no space left on device",)
# The last is containerd's for a layer, which registries have elsewhere, at addresses that run out.
_PASSING = ("toomanyrequests", "too many requests", "httpreadseeker")
_ABSENT = (
    "manifest unknown",
    "name unknown",
    "no such manifest",
    ": not found",
    "invalid reference format",
)
_DENIED = (
    "pull access denied",
    "unauthorized",
    "requested access to the resource is denied",
    "error from registry: denied",
    "403 forbidden",
)
_OTHER_MACHINE = ("no matching manifest for",)


def have(engine: str, container: Container, world: World) -> str:
    """Have the image of `engine` here, and return what was done.

    Raises `Permanent` for an image that can't be had or that the disk has no room for, else
    `Temporary`.
    """
    version = docker.check(world)
    match container.image:
        case PulledImage() as image:
            return _have_pulled(engine, image, world)
        case BuiltImage() as image:
            return _have_built(engine, image, version, world)


def recipe(image: BuiltImage) -> str:
    """Return what tells one content of a built image from another, as 64 hex digits."""
    return hashlib.sha256(repr(image).encode()).hexdigest()


def layers(output: str) -> str:
    """Say how far `docker pull` is from what it has written without a terminal: a line a change."""
    found = (_LAYER.fullmatch(line.strip()) for line in output.splitlines())
    states = {line[1]: line[2] for line in found if line}
    there = sum(state in _LAYER_THERE for state in states.values())
    return f"{there} of {len(states)} layers are there" if states else ""


def last_step(output: str) -> str:
    """Return the last line that a build has written."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:_LONGEST_STEP] if lines else ""


def refused_pull(reference: str, result: Result) -> StageError:
    """Return why `docker pull` of `reference` failed, as its last words tell."""
    said = "\n".join(result.log).lower()
    if _any(_FULL, said):
        return _no_room(f"the image {reference}", result)
    if not _any(_PASSING, said):
        why = None
        if _any(_OTHER_MACHINE, said):
            why = "has no variant for this machine's processors"
        elif _any(_DENIED, said):
            why = "is not given without a login, or is not there"
        elif _any(_ABSENT, said):
            why = "is not in its registry"
        if why is not None:
            return Permanent(
                f"the image {reference} {why}\n"
                "next: name another one (scripts/pulumi config set container_image "
                "REPOSITORY:TAG), or take the one that this project pins (scripts/pulumi config rm "
                "container_image), then scripts/up",
                result.log,
            )
    return Temporary(
        f"pulling {reference} failed: docker ended with {result.code}\n"
        "next: it is tried again by itself; if it stays, see whether the machine reaches the "
        "registry",
        result.log,
    )


def _have_pulled(engine: str, image: PulledImage, world: World) -> str:
    if docker.inspect(image.reference, "{{.Id}}", world) is not None:
        return f"the image of {engine} is there"
    world.say(f"pulling {image.reference}")
    words = ("docker", "pull", image.reference)
    command = Command(f"pulling {image.reference}", words, _PULL_SECONDS, progress=layers)
    result = world.run(command)
    if result.code != 0:
        raise refused_pull(image.reference, result)
    # What Docker counts as there is taken for whole at the next boot.
    world.sync()
    return f"pulled the image of {engine}"


def _have_built(engine: str, image: BuiltImage, version: str, world: World) -> str:
    wanted = recipe(image)
    template = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    if docker.inspect(image.name, template, world) == wanted:
        return f"the image of {engine} is there"
    folder = world.paths.engine(engine)
    shutil.rmtree(folder, ignore_errors=True)
    checkout = folder / "source"
    checkout.mkdir(parents=True)
    context = sources.fetch(image.source, checkout, world)
    arguments = (f"--build-arg={key}={value}" for key, value in image.arguments)
    words = (
        *("docker", "build", "--network=host", f"--file={context / image.dockerfile}"),
        *(f"--target={image.stage}", f"--label={RECIPE_LABEL}={wanted}", *arguments),
        *(f"--tag={image.name}", str(context)),
    )
    what = f"building {image.name}"
    world.say(what)
    environment = _builder(version)
    result = world.run(Command(what, words, _BUILD_SECONDS, environment, progress=last_step))
    if result.code != 0:
        if _any(_FULL, "\n".join(result.log).lower()):
            raise _no_room(what, result)
        raise Temporary(
            f"{what} failed: docker ended with {result.code}\n"
            "next: it is tried again by itself; if it stays, take the image that is pinned "
            "(scripts/pulumi config rm container_image, then scripts/up)",
            result.log,
        )
    world.sync()
    shutil.rmtree(folder, ignore_errors=True)
    return f"built the image of {engine}"


def _builder(version: str) -> dict[str, str]:
    """Return what makes Docker build by BuildKit, which leaves out stages that are not needed.

    Before version 23 it has it built in and takes the older builder; after that it takes it by
    itself where buildx is installed, and fails where it isn't and BuildKit is asked for.
    """
    major = version.partition(".")[0]
    return {"DOCKER_BUILDKIT": "1"} if major.isdecimal() and int(major) < 23 else {}


def _no_room(what: str, result: Result) -> Permanent:
    return Permanent(
        f"the boot disk has no room for {what}\n"
        "next: make it larger (scripts/pulumi config set boot_gb NUMBER; vLLM's image needs 120), "
        "then scripts/up",
        result.log,
    )


def _any(texts: tuple[str, ...], said: str) -> bool:
    return any(text in said for text in texts)
