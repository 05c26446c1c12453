"""A container image's tag, and the digest that pins what it stands for now."""

from __future__ import annotations

from collections.abc import Callable

from scripts import registry
from scripts.resolve.errors import ResolveError

BUILD = "build"
"""The `container_image` that the machine builds."""

Ask = Callable[[registry.Image], str]


def pinned(
    configured: str | None, stack: str, ask: Ask = registry.digest_of, key: str = "container_image"
) -> str | None:
    """Return the image that `key` is configured with, and its digest; None without anything to do.

    That is where it is unset, is built, has its digest, or is no image's name, which the program
    refuses with all else that is wrong. Raises `ResolveError` where the registry does not tell.
    """
    if configured is None or configured == BUILD:
        return None
    try:
        image = registry.parse(configured)
    except ValueError:
        return None
    if image.digest is not None:
        return None
    try:
        return f"{configured}@{ask(image)}"
    except registry.RegistryError as error:
        raise ResolveError(
            f"{key} is {configured!r}, and its digest can't be looked up: {error}",
            f"scripts/up {stack} again where the registry can be reached, or with the digest: "
            f"scripts/pulumi config set {key} {configured}@sha256:… --stack {stack}"
            if error.passing
            else f"scripts/pulumi config set {key} REPOSITORY:TAG --stack {stack}, or "
            f"scripts/pulumi config rm {key} --stack {stack} for the pinned one",
        ) from None
