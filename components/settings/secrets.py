"""Configuration values that are secrets: how they come in, and how a schema takes them.

They come marked, are `SecretStr` in settings, and leave by `as_output` alone. No message about a
configuration shows one, whichever key it was set for.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, Final

import pulumi
from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr

_LEAST_SCRUBBED = 4
"""Characters: what is shorter stands in any text."""


class MarkedSecret(str):
    """A raw value that the configuration keeps encrypted: it was set with `--secret`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(secret)'"


ENCRYPTED: Final = MarkedSecret("encrypted")
"""Stands for a secret where the configuration is read without Pulumi, which alone decrypts."""


def marked(raw: Mapping[str, str], secret_keys: typing.Container[str]) -> dict[str, str]:
    """Return `raw` with the values of `secret_keys` marked."""
    return {key: MarkedSecret(value) if key in secret_keys else value for key, value in raw.items()}


def scrubbed(text: str, raw: Mapping[str, object]) -> str:
    """Return `text` without the marked values of `raw`, which a value's own refusal may repeat."""
    for value in raw.values():
        if isinstance(value, MarkedSecret) and len(value) >= _LEAST_SCRUBBED:
            text = text.replace(value, "(secret)")
    return text


def is_secret(annotation: object) -> bool:
    """Whether a field of that type holds a secret."""
    return annotation is SecretStr or any(map(is_secret, typing.get_args(annotation)))


def secret_keys(schema: type[BaseModel]) -> frozenset[str]:
    """Return the keys of `schema` whose values are secrets."""
    fields = schema.model_fields.items()
    return frozenset(field.alias or name for name, field in fields if is_secret(field.annotation))


def step(key: str) -> str:
    """Return the command that sets a secret: it asks for the value, which no history then has."""
    return f"scripts/pulumi config set {key} --secret"


def as_output(value: SecretStr) -> pulumi.Output[str]:
    """Return the value as what the engine keeps encrypted, in the state too."""
    return pulumi.Output.secret(value.get_secret_value())


def _encrypted(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, MarkedSecret):
        raise ValueError(
            "it stands in the configuration's file in the clear, and whoever sees that file has "
            "it: set it as a secret, and if others may have seen it, make a new one"
        )
    return value


def _one_word(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError("it is empty, or has a line end or a space at one of its ends")
    return value


HiddenText = Annotated[SecretStr, AfterValidator(_one_word)]
"""A value that is shown nowhere; its key may be set without `--secret`."""
SecretText = Annotated[HiddenText, BeforeValidator(_encrypted)]
"""A secret: one that was set without `--secret` is refused."""
