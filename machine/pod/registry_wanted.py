"""Which models of which registry a pod's server serves, as the deployment says it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from components.models.registry import (
    RegistryError,
    RegistryModel,
    RegistryUrl,
    parse_registry_model,
    parse_registry_url,
)
from machine.pod.wanted import VARIABLE as MODEL_VARIABLE
from machine.table import Table, WrongError

REGISTRY_VARIABLE = "LLM_ENDPOINT_POD_REGISTRY"
"""The environment variable with a JSON object of url and access."""
PREFIX = "registry:"
"""What begins a model reference that names a model of the registry."""


class Form(StrEnum):
    """In which form models lie on a volume."""

    OPENVINO = "openvino"
    """A folder of OpenVINO's files."""
    GGUF = "gguf"
    """A folder with one GGUF file in it."""
    CLASSIC = "classic"
    """Folders by name and version, as OpenVINO Model Server's repositories have them."""


class Access(StrEnum):
    """By what the pod may read its registry; the clients find it in their own places."""

    WORKLOAD_IDENTITY = "workload_identity"
    KEY = "key"
    SECRET = "secret"  # noqa: S105 - a name


@dataclass(frozen=True)
class Wanted:
    """`models` are one or more, one alone unless they are classic; `server` loads them."""

    server: str
    models: tuple[RegistryModel, ...]
    form: Form
    url: RegistryUrl
    access: Access


def parse(model: str, registry: str) -> Wanted:
    """Read what the two variables say. Raises `WrongError`, which names variable and key."""
    what = _table(MODEL_VARIABLE, model)
    where = _table(REGISTRY_VARIABLE, registry)
    form = Form(_one_of(what, "form", Form))
    named = "models" if form is Form.CLASSIC else "model"
    what.only("server", named, "form")
    where.only("url", "access")
    if not what.text("server").replace("-", "").isalnum():
        raise what.refuse("server", "a server's name: letters, digits and -")
    try:
        url = parse_registry_url(where.text("url"))
    except RegistryError as error:
        raise where.refuse("url", f"a registry's: {error}") from None
    access = Access(_one_of(where, "access", Access))
    return Wanted(what.text("server"), _models(what, form), form, url, access)


def _table(variable: str, text: str) -> Table:
    try:
        content: object = json.loads(text)
    except ValueError:
        raise WrongError(f"{variable}: it is not JSON") from None
    return Table(content, variable)


def _models(what: Table, form: Form) -> tuple[RegistryModel, ...]:
    if form is Form.CLASSIC:
        key, texts = "models", what.texts("models")
    else:
        key, texts = "model", (what.text("model").removeprefix(PREFIX),)
        if not what.text("model").startswith(PREFIX):
            raise what.refuse("model", f"{PREFIX}NAME@VERSION")
    try:
        models = tuple(parse_registry_model(text) for text in texts)
    except RegistryError as error:
        raise what.refuse(key, f"of a registry: {error}") from None
    if not models or len(set(models)) < len(models):
        raise what.refuse(key, "a list of one or more models, each named once")
    return models


def _one_of(table: Table, key: str, choices: type[Form] | type[Access]) -> str:
    if table.text(key) not in list(choices):
        raise table.refuse(key, " or ".join(choices))
    return table.text(key)
