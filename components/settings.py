"""The configuration: its schema, and the only reader of Pulumi's configuration.

Values come as the raw strings that `pulumi config set` keeps. Every problem is reported at once,
each with its key, the value that came, what would do, and the next step.
"""

from __future__ import annotations

import json
import re
import shlex
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

import pulumi
from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from components.engines import llama_cpp
from components.engines.llama_cpp_flags import FlagError, parse
from components.model_reference import ModelReferenceError, parse_model_reference, shown

NAMESPACE = "llm-endpoint"

_KEY = re.compile(r"^(?P<name>[a-z0-9][a-z0-9_-]{0,62})(?:@(?P<generation>[1-9][0-9]{0,8}))?$")


class ConfigurationError(pulumi.RunError):
    """What is wrong with a stack's configuration: every problem, a line or more each.

    A `RunError`, so that the engine prints the message without a traceback.
    """


def _list(value: object) -> object:
    """Take a JSON list, or words split as a shell would split them (commas count as spaces)."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"starts like a JSON list and is none ({error})") from None
    return [word for word in value.replace(",", " ").split() if word]


def _words(value: object) -> object:
    """Take a JSON list, or one command line split as a shell would split it."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ValueError(f"is no command line: {error}") from None
    return _list(value)


def _reference(value: str) -> str:
    try:
        return str(parse_model_reference(value))
    except ModelReferenceError as error:
        raise ValueError(str(error)) from None


def _flags(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    for word in value:
        if llama_cpp.is_reserved(word):
            name = word.partition("=")[0]
            raise ValueError(
                f"{name} is not for engine_flags: another key sets it, or it would open the machine"
            )
    if info.data.get("llama_server") == "wheel":
        try:
            parse(list(value))
        except FlagError as error:
            raise ValueError(
                f"{error}; for any other flag, put a llama-server on PATH and set "
                "llama_server to path, or set it to native"
            ) from None
    return value


ModelReferenceText = Annotated[str, AfterValidator(_reference)]


class Settings(BaseModel):
    """The keys that every program takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str | None = Field(
        default=None,
        description="What is deployed. Unset: the stack's own name, if that is a program's.",
    )
    parked: bool = Field(
        default=False,
        description="Keep the stack and its keys, and run nothing.",
    )
    engine: Literal["llama_cpp"] = Field(default="llama_cpp", description="What serves the model.")
    model: ModelReferenceText = Field(
        description="The model: `owner/repo:file.gguf`, `owner/repo:QUANT`, `https://…/file.gguf`, "
        "a path, or `builtin:stand-in`.",
    )
    embeddings_model: ModelReferenceText | None = Field(
        default=None,
        description="The model that answers `/v1/embeddings`; on `local` only the model itself. "
        "Unset: none does.",
    )
    context_tokens: int = Field(
        default=4096,
        ge=256,
        le=1_048_576,
        description="Tokens that one request may use, prompt and answer together.",
    )
    slots: int = Field(
        default=4, ge=1, le=256, description="Requests that are answered at the same time."
    )
    keys: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
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


class LocalSettings(Settings):
    """The keys of `local`, the endpoint on the machine you sit at."""

    llama_server: Literal["wheel", "path", "native"] = Field(
        default="wheel",
        description="Which llama.cpp server: `wheel` (PyPI xllamacpp, nothing to compile), `path` "
        "(the `llama-server` on PATH), `native` (built for this CPU, some minutes once).",
    )
    engine_flags: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_flags)] = (
        Field(default=(), description="Further `llama-server` flags, as on its command line.")
    )
    port: int | None = Field(
        default=None,
        ge=1024,
        le=65535,
        description="TCP port on 127.0.0.1. Unset: the first free one from 8080 on, and then kept.",
    )

    @field_validator("embeddings_model")
    @classmethod
    def _same_model(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value != info.data.get("model", value):
            raise ValueError(
                "on local it can only be the model itself, since there is no gateway to route to a "
                f"second server: set it to {info.data['model']!r}, or leave it unset"
            )
        return value


S = TypeVar("S", bound=Settings)


def raw_configuration() -> dict[str, str]:
    """Return this project's configuration as the engine has it: bare key -> raw value."""
    prefix = f"{NAMESPACE}:"
    return {
        key.removeprefix(prefix): value
        for key, value in pulumi.runtime.get_config_env().items()
        if key.startswith(prefix)
    }


def load(schema: type[S], raw: Mapping[str, object], defaults: Mapping[str, object]) -> S:
    """Return the settings of `raw` over `defaults` (both: bare key -> value).

    Raises `ConfigurationError` with every problem.
    """
    try:
        return schema.model_validate({**defaults, **raw})
    except ValidationError as error:
        problems = [
            _problem(schema, str(detail["loc"][0]) if detail["loc"] else "", detail)
            for detail in error.errors()
        ]
        raise ConfigurationError(_message(problems)) from None


def _problem(schema: type[Settings], key: str, detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(key, schema.model_fields, n=1)
        meant = f"did you mean {near[0]}?" if near else "it takes none of that name;"
        return (
            f"{NAMESPACE}:{key} is unknown here: {meant} it takes {_join(schema.model_fields)}\n"
            f"    next: scripts/pulumi config rm {key}"
        )
    next_step = f"\n    next: scripts/pulumi config set {key} VALUE"
    if detail["type"] == "missing":
        return f"{NAMESPACE}:{key} is not set{next_step}"
    said = str(detail["msg"]).removeprefix("Value error, ").replace("\n", "\n    ")
    if detail["type"] != "value_error":
        said = f"it takes {takes(schema.model_fields[key])}"
    # Flags may hold a secret by mistake, and so may a URL.
    given = shown(detail["input"]) if isinstance(detail["input"], str) else detail["input"]
    value = "not as it should be" if key == "engine_flags" else repr(given)
    return f"{NAMESPACE}:{key} is {value}: {said}{next_step}"


def takes(field: FieldInfo) -> str:
    """Return in words which values `field` takes, such as `a whole number, from 1, to 256`."""
    bounds = [mark for mark in field.metadata if isinstance(mark, Ge | Gt | Le | Lt)]
    return _kind(field.annotation) + "".join(_bound(mark) for mark in bounds)


def _bound(mark: Ge | Gt | Le | Lt) -> str:
    match mark:
        case Ge(ge=low):
            return f", from {low}"
        case Gt(gt=low):
            return f", over {low}"
        case Le(le=high):
            return f", to {high}"
        case Lt(lt=high):
            return f", under {high:g}"


def _kind(annotation: object) -> str:
    plain = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "a text"}
    if isinstance(annotation, type) and annotation in plain:
        return plain[annotation]
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "a list of texts"
    if origin is typing.Annotated:
        return _kind(arguments[0])
    return _kind(next(part for part in arguments if part is not type(None)))


def _message(problems: Iterable[str]) -> str:
    listed = list(problems)
    count = "one problem" if len(listed) == 1 else f"{len(listed)} problems"
    return "\n".join(
        [f"the configuration of this stack has {count}:", *(f"  - {p}" for p in listed)]
    )


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))
