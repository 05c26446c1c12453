"""The engines of a plan: what is installed, which images are run, and the packages both take."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from components.rendering.machine.plan import (
    BuiltImage,
    Container,
    Installation,
    MachinePlan,
    PulledImage,
)

BASE_PACKAGES = ("ca-certificates", "e2fsprogs", "python3-venv", "util-linux")
"""Debian and Ubuntu packages that every machine needs; most have them."""
CONTAINER_PACKAGES = ("apparmor", "docker.io")
"""Of machines that run containers. dockerd loads a profile by AppArmor's parser where the kernel
has AppArmor, and docker.io only recommends it."""
GPU_PACKAGES = ("nvidia-container-toolkit",)
"""Of machines whose containers have GPUs, out of NVIDIA's own archive."""
BUILD_PACKAGES = ("docker-buildx",)
"""Of machines that build an image, as far as their distribution has them: Ubuntu's docker.io has
BuildKit only with it, and Debian 12's without."""

_Engine = TypeVar("_Engine", Installation, Container)

_PINNED = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


def check(plan: MachinePlan) -> None:
    """Raise ValueError for engines that the machine of `plan` can't have, naming them."""
    installed = {each.requirements for each in installations(plan)}
    run = containers(plan)
    for container in run:
        if container.name in installed:
            raise ValueError(
                f"an installation and a container are both called {container.name!r}: give the "
                "container another name"
            )
        _check_container(container)
    for server in plan.servers:
        if isinstance(server.installation, Container) and server.pull is not None:
            raise ValueError(
                f"server {server.name!r} runs in a container, and its engine pulls the model by a "
                "command of its own, which is for a process: leave pull out"
            )
    if plan.gpus is not None and not run:
        raise ValueError(
            f"the machine has {plan.gpus.count} {plan.gpus.model}, and no server runs in a "
            "container: processes have no GPU; give a server a Container, or leave gpus out"
        )


def installations(plan: MachinePlan) -> list[Installation]:
    """Return the installations of `plan`, each once, by the name of its lock.

    Raises ValueError where two that differ share that name.
    """
    found = [each.installation for each in plan.servers]
    return _once(
        ((each.requirements, each) for each in found if isinstance(each, Installation)),
        "two servers install {0!r} in different ways into one virtual environment: give one of "
        "them a lock of its own",
    )


def containers(plan: MachinePlan) -> list[Container]:
    """Return the containers of `plan`, each once, by their names.

    Raises ValueError where two that differ share a name.
    """
    found = [each.installation for each in plan.servers]
    return _once(
        ((each.name, each) for each in found if isinstance(each, Container)),
        "two servers run different containers called {0!r}: give one of them another name",
    )


def packages(plan: MachinePlan) -> list[str]:
    """Return the Debian and Ubuntu packages that the machine has to have, sorted."""
    names: set[str] = set(BASE_PACKAGES)
    for installation in installations(plan):
        names |= {*installation.packages, *(("git",) if installation.source else ())}
    if containers(plan):
        names |= {*CONTAINER_PACKAGES, *(GPU_PACKAGES if plan.gpus else ())}
    if _builds(plan):
        names.add("git")
    return sorted(names)


def optional_packages(plan: MachinePlan) -> list[str]:
    """Return the packages that the machine has to have where its distribution has them, sorted."""
    return sorted(BUILD_PACKAGES) if _builds(plan) else []


def _once(named: Iterable[tuple[str, _Engine]], refusal: str) -> list[_Engine]:
    """Return each engine of `named` once, by its name.

    Raises ValueError, with `refusal` of that name, where two that differ share one.
    """
    by_name: dict[str, _Engine] = {}
    for name, engine in named:
        if by_name.setdefault(name, engine) != engine:
            raise ValueError(refusal.format(name))
    return [by_name[name] for name in sorted(by_name)]


def _builds(plan: MachinePlan) -> bool:
    return any(isinstance(container.image, BuiltImage) for container in containers(plan))


def _check_container(container: Container) -> None:
    if not container.program:
        raise ValueError(f"container {container.name!r} names no program: name what runs in it")
    image = container.image
    if isinstance(image, PulledImage) and not _PINNED.fullmatch(image.reference):
        raise ValueError(
            f"the image of container {container.name!r} is {image.reference!r}: it has no digest, "
            "and a tag may be another image tomorrow; write it as REPOSITORY:TAG@sha256:… "
            "(python -m scripts.resolve STACK looks it up)"
        )
