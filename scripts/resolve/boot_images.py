"""A family of boot images, and the image that it stands for now.

A family moves on to its next image, and another boot image is another machine: the one that a
machine was made of belongs into the configuration.
"""

from __future__ import annotations

import re

from components.settings.gcp_vm import FAMILY_OF
from scripts.gcp.rest import COMPUTE, ApiError, GoogleApi
from scripts.resolve.errors import ResolveError
from scripts.verify.shape import dig_text

_FAMILY = re.compile(r"projects/(?P<project>[^/]+)/global/images/family/(?P<family>[^/]+)")
_NOT_FOUND = 404


def family_of(image: str) -> str | None:
    """Return the path of the family that the key `image` names; None for an image of its own."""
    path = FAMILY_OF.get(image, image)
    return path if _FAMILY.fullmatch(path) else None


def newest(api: GoogleApi, family: str, stack: str) -> str:
    """Return the path of the image that the path `family` stands for now.

    Raises `ResolveError` where there is no such family, and `ApiError`, `CredentialsError` where
    Compute Engine does not tell.
    """
    named = _FAMILY.fullmatch(family)
    if named is None:
        raise ValueError(f"{family!r} is no path of an image family")
    try:
        found = api.get(COMPUTE, family)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        raise ResolveError(
            f"image: Compute Engine has no image family {named['family']} in {named['project']}",
            f"scripts/pulumi config rm image --stack {stack} (for the default), or "
            f"gcloud compute images list --project {named['project']} and one of those",
        ) from None
    name = dig_text(found, "name")
    if not name:
        raise ApiError(f"{family}: the answer names no image")
    return f"projects/{named['project']}/global/images/{name}"


def has_machine(api: GoogleApi, project: str, zone: str, name: str) -> bool:
    """Whether Compute Engine has the machine `name`, its own or that of a group.

    Raises `ApiError`, `CredentialsError`.
    """
    try:
        api.get(COMPUTE, f"projects/{project}/zones/{zone}/instances/{name}")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return False
        raise
    return True
