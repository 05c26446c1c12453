"""What differs between a resource's old and new inputs, in the terms of the engine's diff."""

from __future__ import annotations

import re
from enum import Enum

from .values import Properties, Property, Secret, Unknown, same

Path = tuple[str | int, ...]


class Change(Enum):
    """What happens to a property."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


def changed_paths(old: Properties, new: Properties) -> dict[Path, Change]:
    """The paths at which NEW differs from OLD, as deep as both are plain objects or lists.

    What the engine or the framework adds for itself (`version`, names that begin with two
    underscores) counts for nothing. A new secret that is not known yet counts as the same.
    """
    asked = {
        name: value
        for name, value in new.items()
        if name != "version" and not name.startswith("__")
    }
    found: dict[Path, Change] = {}
    _compare_objects((), old, asked, found)
    return found


def written(path: Path) -> str:
    """PATH as the engine reads it: `environment.KEY`, `environment["a.b"]`, `triggers[0]`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif re.fullmatch(r"[A-Za-z0-9_]*", step):
            parts.append(f".{step}" if parts else step)
        else:
            escaped = step.replace('"', '\\"')
            parts.append(f'["{escaped}"]')
    return "".join(parts)


def _unknown_secret(value: Property) -> bool:
    return isinstance(value, Secret) and isinstance(value.value, Unknown)


def _compare_objects(
    path: Path, old: Properties, new: Properties, found: dict[Path, Change]
) -> None:
    for name, before in old.items():
        if name not in new:
            if not _unknown_secret(before):
                found[*path, name] = Change.DELETE
        elif not _unknown_secret(new[name]):
            _compare((*path, name), before, new[name], found)
    for name, after in new.items():
        if name not in old and not _unknown_secret(after):
            found[*path, name] = Change.ADD


def _compare(path: Path, old: Property, new: Property, found: dict[Path, Change]) -> None:
    match old, new:
        case dict(), dict():
            _compare_objects(path, old, new, found)
        case list(), list():
            for index, (before, after) in enumerate(zip(old, new, strict=False)):
                _compare((*path, index), before, after, found)
            for index in range(len(old), len(new)):
                found[*path, index] = Change.ADD
            for index in range(len(new), len(old)):
                found[*path, index] = Change.DELETE
        case None, _ if new is not None:
            found[path] = Change.ADD
        case _, None if old is not None:
            found[path] = Change.DELETE
        case _:
            if not same(old, new):
                found[path] = Change.UPDATE
