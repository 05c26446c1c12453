"""Values that a server sent: picked out of JSON without trusting its form, shown in a few words."""

from __future__ import annotations

import json
import re
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

EXCERPT_CHARACTERS = 160
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def parse_json(text: str | bytes) -> Json:
    """Return the value in `text`. Raises `ValueError` where it is not JSON."""
    try:
        value: Json = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dig(value: Json, *path: str | int) -> Json:
    """Return what lies at `path` (keys of objects, indexes of lists), else None."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        else:
            if not isinstance(value, list) or not -len(value) <= step < len(value):
                return None
            value = value[step]
    return value


def dig_text(value: Json, *path: str | int) -> str:
    """Return the string at `path`, or "" where there is none."""
    found = dig(value, *path)
    return found if isinstance(found, str) else ""


def dig_count(value: Json, *path: str | int) -> int | None:
    """Return the whole number ≥ 0 at `path`, or None where there is none."""
    found = dig(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def one_line(text: str) -> str:
    """Return `text` with each run of control characters and line ends made one space.

    What a server sends must not steer the terminal that it is shown on.
    """
    return _CONTROL.sub(" ", text).strip()


def excerpt(text: str, characters: int = EXCERPT_CHARACTERS) -> str:
    """Return the start of `text` on one line, at most `characters` long."""
    line = one_line(text)
    return line if len(line) <= characters else line[: characters - 1] + "…"
