"""Values of registrations, which come as JSON has them: found by their path, shown in few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast


def at(value: object, *path: str | int) -> object:
    """Return what lies at `path`, or None where nothing does."""
    for step in path:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = cast("Mapping[str, object]", value).get(step)
        elif isinstance(step, int) and isinstance(value, list):
            found = cast("list[object]", value)
            value = found[step] if -len(found) <= step < len(found) else None
        else:
            return None
    return value


def each(value: object, *path: str | int) -> list[object]:
    """Return what the list at `path` holds; nothing where none is."""
    found = at(value, *path)
    return cast("list[object]", found) if isinstance(found, list) else []


def pairs(value: object, *path: str | int) -> dict[str, object]:
    """Return what the object at `path` holds by its names; nothing where none is."""
    found = at(value, *path)
    return dict(cast("Mapping[str, object]", found)) if isinstance(found, Mapping) else {}


def text(value: object, *path: str | int) -> str:
    """Return what lies at `path` as a person writes it; "" where nothing does."""
    found = at(value, *path)
    if found is None:
        return ""
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, float):
        return f"{found:g}"
    if isinstance(found, list):
        return ", ".join(text(one) for one in cast("list[object]", found))
    if isinstance(found, Mapping):
        named = sorted(cast("Mapping[str, object]", found).items())
        return ", ".join(f"{name} {text(one)}" for name, one in named)
    return str(found)


def truth(value: object, *path: str | int) -> bool:
    """Whether True lies at `path`."""
    return at(value, *path) is True
