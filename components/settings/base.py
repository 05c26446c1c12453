"""The keys that every program takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from components.settings.values import ModelReferenceText, words

_KEY = re.compile(r"^(?P<name>[a-z0-9][a-z0-9_-]{0,62})(?:@(?P<generation>[1-9][0-9]{0,8}))?$")


@dataclass(frozen=True)
class Problem:
    """What is wrong with the value of `key`, and the command that mends it where it is known."""

    key: str
    said: str
    next_step: str | None = None


@dataclass(frozen=True)
class Check:
    """Something that several keys must fit together for: it runs where all of `reads` are good."""

    reads: frozenset[str]
    find: Callable[[], Iterator[Problem]]


class Settings(BaseModel):
    """The keys that every program takes."""

    # Only the program that is deployed has its schema built.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    program: str | None = Field(
        default=None,
        description="What is deployed. Unset: the stack's own name, if that is a program's.",
    )

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from ()

    def warnings(self) -> tuple[str, ...]:
        """Return what the configuration says that nobody here can judge."""
        return ()


class EndpointSettings(Settings):
    """The keys of every program that serves a model."""

    parked: bool = Field(
        default=False,
        description="Keep the stack and its keys, and run nothing.",
    )
    model: ModelReferenceText = Field(
        description="The model: `owner/repo:file.gguf`, `owner/repo:QUANT`, `https://…/file.gguf`, "
        "a path, or `builtin:stand-in`.",
    )
    keys: Annotated[tuple[str, ...], BeforeValidator(words)] = Field(
        default=("default",),
        description="Names of API keys. A name with a new generation, as in `default@2`, "
        "gets a new key.",
    )
    ready_minutes: int = Field(
        default=10,
        ge=1,
        le=240,
        description="Minutes that verification waits for the server to have loaded its model.",
    )
    verify_streams: int = Field(
        default=3,
        ge=1,
        le=64,
        description="Streams that verification runs at the same time.",
    )
    min_tokens_per_second: float | None = Field(
        default=None,
        gt=0,
        lt=1e9,
        allow_inf_nan=False,
        description="Verification fails when a stream is slower, in tokens a second.",
    )

    @field_validator("keys")
    @classmethod
    def _key_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names: list[str] = []
        for entry in value:
            match = _KEY.match(entry)
            if match is None:
                raise ValueError(
                    f"{entry!r} names no key: lower-case letters, digits, - and _, at most 63 of "
                    "them, with a generation from 1 if you like, as in alice@2"
                )
            names.append(match["name"])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        if "default" not in names:
            raise ValueError("the key named default must be among them: api_key is that one")
        return value

    def key_generations(self) -> dict[str, int]:
        """Return each key's generation by its name, sorted, so that their order means nothing."""
        matches = (_KEY.match(entry) for entry in sorted(self.keys))
        return {match["name"]: int(match["generation"] or 1) for match in matches if match}
