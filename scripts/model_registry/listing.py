"""What a registry has: its models, their versions, and what was begun and not ended."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from components.models.registry import (
    MANIFESTS,
    MODELS,
    RegistryError,
    RegistryModel,
    RegistryUrl,
    parse_registry_model,
)
from scripts.model_registry.bucket import (
    COMMAND,
    Bucket,
    MissingBucket,
    MissingObject,
    RegistryFault,
)

_MANIFEST = re.compile(rf"{MANIFESTS}/([^/]+)/([^/]+)\.json")
_FILE = re.compile(rf"{MODELS}/([^/]+)/([^/]+)/.+")
_MOST_NAMED = 8


@dataclass(frozen=True)
class Contents:
    """The versions of a registry in order; those of `unfinished` have files and no manifest."""

    models: tuple[RegistryModel, ...]
    unfinished: tuple[RegistryModel, ...]


def list_models(bucket: Bucket, url: RegistryUrl, name: str | None = None) -> Contents:
    """Return what the registry has, or what it has of the model `name`. Raises `RegistryFault`."""
    below = "" if name is None else f"{name}/"
    models = _found(bucket, url, f"{MANIFESTS}/{below}", _MANIFEST)
    begun = _found(bucket, url, f"{MODELS}/{below}", _FILE)
    return Contents(tuple(sorted(models)), tuple(sorted(begun - models)))


def missing(bucket: Bucket, url: RegistryUrl, model: RegistryModel) -> RegistryFault:
    """Return the fault of a version that a registry does not have, with what it has instead."""
    there = "what it has can't be listed with these credentials"
    next_step = f"push it: {COMMAND} push '{url}' {model} FOLDER"
    try:
        contents = list_models(bucket, url)
    except MissingBucket as fault:
        return fault
    except RegistryFault:
        return MissingObject(f"{url} has no {model}; {there}\nnext: {next_step}")
    versions = [one for one in contents.models if one.name == model.name]
    if model in contents.unfinished:
        there = "its upload was begun and did not end"
        next_step = f"run the same push again, which goes on with it; {next_step}"
    elif versions:
        there = f"it has {_named(versions)}"
    elif contents.models:
        there = f"it has {_named(contents.models)}"
    else:
        there = "it has no models"
    return MissingObject(f"{url} has no {model}: {there}\nnext: {next_step}")


def _found(
    bucket: Bucket, url: RegistryUrl, prefix: str, form: re.Pattern[str]
) -> set[RegistryModel]:
    found: set[RegistryModel] = set()
    root = url.key("")
    for stored in bucket.list(url.key(prefix)):
        seen = form.fullmatch(stored.key.removeprefix(root))
        if seen is not None:
            with suppress(RegistryError):
                found.add(parse_registry_model(f"{seen[1]}@{seen[2]}"))
    return found


def _named(models: tuple[RegistryModel, ...] | list[RegistryModel]) -> str:
    more = len(models) - _MOST_NAMED
    return ", ".join(map(str, models[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
