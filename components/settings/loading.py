"""From raw values to settings, or to every problem at once in words."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import pulumi
from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr, ValidationError, create_model
from pydantic.fields import FieldInfo

from components.models.reference import shown
from components.settings import secrets
from components.settings.base import Settings

NAMESPACE = "llm-endpoint"
PROVIDER_KEYS = ("gcp:project", "gcp:region", "gcp:zone")
"""Keys of other namespaces that settings read: where the provider itself looks for them."""

S = TypeVar("S", bound=Settings)


class ConfigurationError(pulumi.RunError):
    """What is wrong with a stack's configuration: every problem, a line or more each.

    A `RunError`, so that the engine prints the message without a traceback.
    """

    def for_stack(self, stack: str) -> ConfigurationError:
        """Return the same with `stack` named in each command, whichever one is selected."""
        said = _COMMAND.sub(rf"\g<set> --stack {stack}\g<value>", str(self))
        return ConfigurationError(_NAMED.sub(rf"\g<1> {stack}", said))


_ONLY = re.compile(r"`([^`]+)`")
_NAMED = re.compile(r"\b(scripts/up|scripts\.resolve) STACK\b")
_NEAR = re.compile(r"did you mean ([^\s?]+)")
_KNOWN = re.compile(
    r": take ([a-z]\w*-[\w-]+)|\bits zones are ([\w-]+)|\bwrite (world) "
    r"|address alone(?: is)? ([0-9a-f][^\s;]*)"
)
"""Where a sentence tells the value that would do, as that of one word which takes its place."""
_COMMAND = re.compile(
    r"(?P<set>scripts/pulumi config (?:set|rm) .+?)(?P<value> -- .+?)?"
    r"(?=, or scripts/| && scripts/|$)",
    re.MULTILINE,
)
"""A command, and a value that begins like an option: what comes after `--` is none."""


def raw_configuration() -> dict[str, str]:
    """Return this project's configuration as the engine has it: bare key -> raw value.

    Those of `PROVIDER_KEYS` that are set stand there under their full names. What was set with
    `--secret` is marked.
    """
    prefix = f"{NAMESPACE}:"
    given = secrets.marked(
        pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env()
    )
    return {
        key.removeprefix(prefix): value
        for key, value in given.items()
        if key.startswith(prefix) or key in PROVIDER_KEYS
    }


def load(schema: type[S], raw: Mapping[str, object], defaults: Mapping[str, object]) -> S:
    """Return the settings of `raw` over `defaults` (both: bare key -> value).

    Raises `ConfigurationError` with every problem: those of single keys, and those of keys that
    don't fit together, as far as each of these is good by itself.
    """
    fields = _fields_by_key(schema)
    # A stack may hold a provider's keys for others than this program.
    values = {
        key: value
        for key, value in {**defaults, **raw}.items()
        if key in fields or key not in PROVIDER_KEYS
    }
    hidden = secrets.secret_keys(schema)
    told = {
        key: SecretStr("") if key in hidden or isinstance(value, secrets.MarkedSecret) else value
        for key, value in values.items()
    }
    try:
        settings = schema.model_validate(values)
    except ValidationError as error:
        details = error.errors()
        bad = {str(detail["loc"][0]) if detail["loc"] else "" for detail in details}
        problems = [_problem(schema, fields, told, detail) for detail in details]
        problems += _misfits(_partial(schema, fields, values, bad), told, bad)
        said = _message(dict.fromkeys(problems))
        raise ConfigurationError(secrets.scrubbed(said, values)) from None
    problems = _misfits(settings, told, set())
    if problems:
        raise ConfigurationError(secrets.scrubbed(_message(problems), values))
    return settings


def _fields_by_key(schema: type[Settings]) -> dict[str, str]:
    """Return the attribute of each key: the same but for those of other namespaces."""
    return {field.alias or name: name for name, field in schema.model_fields.items()}


def _partial(
    schema: type[Settings], fields: Mapping[str, str], values: Mapping[str, object], bad: set[str]
) -> Settings:
    """Return the settings of the good values, in which every bad one is None."""
    blank: dict[str, Any] = {fields[key]: (object, None) for key in bad if key in fields}
    partial = create_model("Partial", __base__=schema, **blank)
    return partial.model_validate({key: value for key, value in values.items() if key not in bad})


def _misfits(settings: Settings, values: Mapping[str, object], bad: set[str]) -> list[str]:
    """Return the problems of keys that must fit together, where each of them is good."""
    return [
        _line(problem.key, values.get(problem.key), problem.said, problem.next_step)
        for check in settings.checks()
        if not check.reads & bad
        for problem in check.find()
    ]


def _problem(
    schema: type[Settings], fields: Mapping[str, str], values: Mapping[str, object], detail: Any
) -> str:
    key = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(key, fields, n=1)
        meant = f"did you mean {near[0]}?" if near else "it takes none of that name;"
        return (
            f"{NAMESPACE}:{key} is unknown here: {meant} it takes {', '.join(sorted(fields))}\n"
            f"    next: scripts/pulumi config rm {key}"
        )
    field = schema.model_fields[fields[key]]
    if detail["type"] == "missing":
        what = str(field.description).partition(": ")[0].rstrip(".")
        return f"{_full(key)} is not set ({what}){_next(_example_step(key, field))}"
    said = str(detail["msg"]).removeprefix("Value error, ")
    step = None
    if detail["type"] != "value_error":
        said = f"it takes {takes(field)}"
        only = _ONLY.fullmatch(takes(field))
        step = only and _step(key, only[1])
    if secrets.is_secret(field.annotation):
        step = secrets.step(key)
    return _line(key, values.get(key), said, step)


def _line(key: str, value: object, said: str, next_step: str | None) -> str:
    # Flags may hold a secret by mistake, and so may a URL.
    given = shown(value) if isinstance(value, str) else value
    unshown = key == "engine_flags" or isinstance(value, SecretStr)
    what = "not as it should be" if unshown else repr(given)
    if value is None:
        what = "not set"
    said = said.replace("\n", "\n    ")
    step = next_step or _step(key, _told(key, value, said) or "VALUE")
    return f"{_full(key)} is {what}: {said}{_next(step)}"


def _told(key: str, value: object, said: str) -> str | None:
    """Return the value that `said` tells would do; None where it tells none."""
    if key == "engine_flags":
        return None
    if near := _NEAR.search(said):
        return near[1]
    if not isinstance(value, str) or len(value.replace(",", " ").split()) != 1:
        return None
    known = _KNOWN.search(said)
    return known and next(word for word in known.groups() if word)


def _full(key: str) -> str:
    return key if ":" in key else f"{NAMESPACE}:{key}"


def _step(key: str, value: str) -> str:
    if key == "engine_flags" or value.startswith("-"):
        # What begins with a dash would be read as an option of the command's own.
        return f"scripts/pulumi config set {key} -- '{value}'"
    return f"scripts/pulumi config set {key} {value}"


def _example_step(key: str, field: FieldInfo) -> str:
    return _step(key, str(field.examples[0]) if field.examples else "VALUE")


def _next(step: str) -> str:
    return f"\n    next: {step}"


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
    """Return what a type's values are called in the docs."""
    if isinstance(annotation, type) and annotation in _PLAIN_KINDS:
        return _PLAIN_KINDS[annotation]
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case origin if origin in _GENERIC_KINDS:
            return _GENERIC_KINDS[origin]
        case typing.Annotated:
            return _kind(arguments[0])
        case _:
            return _kind(next(part for part in arguments if part is not type(None)))


_PLAIN_KINDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "`true` or `false`",
    str: "a text",
    SecretStr: "a text that is shown nowhere",
}
_GENERIC_KINDS: dict[object, str] = {
    tuple: "a list of texts",
    dict: "names with values, as in `team=research cost-centre=42`",
}


def _message(problems: Iterable[str]) -> str:
    listed = list(problems)
    count = "one problem" if len(listed) == 1 else f"{len(listed)} problems"
    return "\n".join(
        [f"the configuration of this stack has {count}:", *(f"  - {p}" for p in listed)]
    )
