"""How raw values are read: lists, command lines, model references, flags."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from components.engines import llama_cpp
from components.engines.llama_cpp_flags import FlagError, parse
from components.models.pod_model import is_of_a_registry
from components.models.reference import FORMS, ModelReferenceError, parse_model_reference


def words(value: object) -> object:
    """Take a JSON list, or words split at white space (commas count as spaces)."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"starts like a JSON list and is none ({error})") from None
    return [word for word in value.replace(",", " ").split() if word]


def command_line(value: object) -> object:
    """Take a JSON list, or one command line split as a shell would split it."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ValueError(f"is no command line: {error}") from None
    return words(value)


def _reference(value: str) -> str:
    if is_of_a_registry(value):
        raise ValueError(
            "a model of a registry is served by the pods of gke-ovms and gke-colab alone: here it "
            f"takes {FORMS}"
        )
    try:
        return str(parse_model_reference(value))
    except ModelReferenceError as error:
        raise ValueError(str(error)) from None


def flags(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Check `llama-server` flags against the other keys, and against what the wheel takes.

    Those of another engine are that engine's to check.
    """
    if info.data.get("engine") not in {None, llama_cpp.NAME}:
        return value
    for word in value:
        if llama_cpp.is_reserved(word):
            name = word.partition("=")[0]
            raise ValueError(
                f"{name} is not for engine_flags: another key sets it, or it would open the server"
            )
    if info.data.get("llama_server") == "wheel":
        try:
            parse(list(value))
        except FlagError as error:
            raise ValueError(f"{error}; for any other flag, {_REAL_SERVER}") from None
    return value


_REAL_SERVER = (
    "set llama_server to native, or on local put a llama-server on PATH and set it to path"
)

ModelReferenceText = Annotated[str, AfterValidator(_reference)]
