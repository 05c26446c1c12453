"""What a command of the registry is told: by its words, or by the environment of a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from components.models.reference import shown
from components.models.registry import (
    RegistryError,
    RegistryModel,
    RegistryUrl,
    parse_registry_model,
    parse_registry_url,
)

URL = "LLM_ENDPOINT_REGISTRY"
UPLOADS = "LLM_ENDPOINT_REGISTRY_UPLOADS"
"""JSON: [{"model": "NAME@VERSION", "folder": "…"}, …]."""
FORCE_DESTROY = "LLM_ENDPOINT_FORCE_DESTROY"


class UsageError(ValueError):
    """Words or variables that no command takes; the message says what would do."""


@dataclass(frozen=True)
class Upload:
    """A folder, and what it is to be in the registry."""

    model: RegistryModel
    folder: Path


def registry_of(
    words: Sequence[str], environ: Mapping[str, str]
) -> tuple[RegistryUrl, tuple[str, ...]]:
    """Return the registry, and the words that are left. Raises `UsageError`."""
    if words and "://" in words[0]:
        text, rest = words[0], tuple(words[1:])
    else:
        text, rest = environ.get(URL, ""), tuple(words)
    if not text:
        raise UsageError(f"no registry is named: give its URL first, or set {URL}")
    try:
        return parse_registry_url(text), rest
    except RegistryError as error:
        # An endpoint may come with a password by mistake.
        raise UsageError(str(error).replace(repr(text), repr(shown(text)))) from None


def models_of(words: Sequence[str]) -> tuple[RegistryModel, ...]:
    """Read words that each are NAME@VERSION. Raises `UsageError`."""
    try:
        return tuple(parse_registry_model(word) for word in words)
    except RegistryError as error:
        raise UsageError(str(error)) from None


def uploads_of(words: Sequence[str], environ: Mapping[str, str]) -> tuple[Upload, ...]:
    """Return what to push: NAME@VERSION and FOLDER, else what `UPLOADS` has."""
    if words:
        if len(words) != 2:
            raise UsageError(f"push takes NAME@VERSION and FOLDER, not {len(words)} word(s)")
        return (Upload(models_of(words[:1])[0], Path(words[1])),)
    text = environ.get(UPLOADS)
    if text is None:
        raise UsageError(f"push takes NAME@VERSION and FOLDER, or {UPLOADS} in the environment")
    uploads = tuple(_upload(entry) for entry in _entries(text))
    twice = [str(one.model) for one in uploads if [o.model for o in uploads].count(one.model) > 1]
    if twice:
        raise UsageError(f"{UPLOADS} has {twice[0]} twice")
    return uploads


def _entries(text: str) -> list[object]:
    try:
        value: object = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise UsageError(f'{UPLOADS} is no JSON list of {{"model": …, "folder": …}}')
    return cast(list[object], value)


def _upload(entry: object) -> Upload:
    fields = cast(dict[str, object], entry) if isinstance(entry, dict) else {}
    model, folder = fields.get("model"), fields.get("folder")
    if not isinstance(model, str) or not isinstance(folder, str) or not folder:
        raise UsageError(f"an entry of {UPLOADS} has no model or no folder")
    return Upload(models_of([model])[0], Path(folder))
