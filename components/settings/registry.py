"""How keys that name a model registry, and what it asks for, are read: of several programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from components.models.reference import shown
from components.models.registry import RegistryError, RegistryUrl, parse_registry_url
from components.settings.base import Problem
from components.settings.secrets import step


def _registry(value: str) -> str:
    try:
        return str(parse_registry_url(value))
    except RegistryError as error:
        # An endpoint may come with a password by mistake.
        raise ValueError(str(error).replace(repr(value), repr(shown(value)))) from None


RegistryText = Annotated[str, AfterValidator(_registry)]
"""A registry's URL in its canonical form."""


def credential_problems(
    registry: RegistryUrl | None,
    key_id: SecretStr | None,
    secret_key: SecretStr | None,
    *,
    needed: bool,
) -> Iterator[Problem]:
    """Yield what of `registry_key_id` and `registry_secret_key` is missing, or too much.

    `needed`: storage that speaks S3 is asked with these, and with nothing else.
    """
    given = {"registry_key_id": key_id, "registry_secret_key": secret_key}
    if registry is None or registry.scheme != "s3":
        for key, value in given.items():
            if value is not None:
                said = "it is for a registry in storage that speaks S3 (registry s3://…)"
                yield Problem(key, said, f"scripts/pulumi config rm {key}")
        return
    if not needed and key_id is None and secret_key is None:
        return
    for key, value in given.items():
        if value is None:
            said = f"the registry {registry.scheme}://{registry.bucket} is asked with both of these"
            yield Problem(key, said, step(key))
