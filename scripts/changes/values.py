"""Properties' values as the engine logs them: secrets, what is unknown, paths, differences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from scripts.changes.model import ABSENT, Property

# sdk/go/common/resource/plugin/rpc.go and sdk/go/common/resource/sig/sig.go of pulumi v3.210.0.
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105
_UNKNOWN = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)

SECRET = "[secret]"  # noqa: S105
UNKNOWN = "[known after up]"

_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_STEP = re.compile(r"""(?:^|\.)([^.\[\]"]+)|\[(\d+|\*)\]|\["((?:[^"\\]|\\.)*)"\]""")


def is_secret(value: object) -> bool:
    """Whether `value` is one that the engine knows as a secret."""
    return entries(value).get(SIGNATURE) == SECRET_SIGNATURE


def is_unknown(value: object) -> bool:
    """Whether `value` stands for one that only an `up` will tell."""
    return isinstance(value, str) and value in _UNKNOWN


def entries(value: object) -> dict[str, object]:
    """Return `value` where it is an object, else an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """Return `value` where it is a list, else an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def plain(value: object) -> object:
    """Return `value` to be shown: what is secret or unknown is a word in brackets."""
    if is_secret(value):
        return SECRET
    if is_unknown(value):
        return UNKNOWN
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in entries(cast("object", value)).items()}
    if isinstance(value, list):
        return [plain(inner) for inner in items(cast("object", value))]
    return value


def joined(path: str, step: str | int) -> str:
    """Return the path of `step` below `path`, as the engine writes it."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    if not _NAME.fullmatch(step):
        return f"{path}[{json.dumps(step)}]"
    return f"{path}.{step}" if path else step


def steps(path: str) -> tuple[str | int, ...]:
    """Return the names and indexes of a path such as `a.b[0]["c.d"]`."""
    found: list[str | int] = []
    for name, index, quoted in (match.groups() for match in _STEP.finditer(path)):
        if index is not None:
            found.append(int(index) if index.isdecimal() else index)
        else:
            found.append(name if name is not None else json.loads(f'"{quoted}"'))
    return tuple(found)


def at(value: object, path: str) -> object:
    """Return what stands at `path`, shown as `plain` does; `ABSENT` where nothing does.

    Of a secret no part is looked at: it is the whole that is returned.
    """
    for step in steps(path):
        if is_secret(value) or is_unknown(value):
            break
        if isinstance(step, int):
            held = items(value)
            if step >= len(held):
                return ABSENT
            value = held[step]
        else:
            held = entries(value)
            if step not in held:
                return ABSENT
            value = held[step]
    return plain(value)


def differences(before: object, after: object, path: str = "") -> Iterator[Property]:
    """Yield each property that differs, at the deepest path that both sides have."""
    if is_secret(before) or is_secret(after):
        if before != after:
            yield Property(path, plain(before), plain(after))
    elif isinstance(before, dict) and isinstance(after, dict):
        olds, news = entries(cast("object", before)), entries(cast("object", after))
        for key in sorted({*olds, *news}):
            yield from differences(olds.get(key, ABSENT), news.get(key, ABSENT), joined(path, key))
    elif isinstance(before, list) and isinstance(after, list):
        olds, news = items(cast("object", before)), items(cast("object", after))
        for index in range(max(len(olds), len(news))):
            yield from differences(_nth(olds, index), _nth(news, index), joined(path, index))
    elif before != after:
        yield Property(path, plain(cast("object", before)), plain(after))


def _nth(values: Sequence[object], index: int) -> object:
    return values[index] if index < len(values) else ABSENT


def top(path: str) -> str:
    """Return the first name of a path."""
    found = steps(path)
    return str(found[0]) if found else path


def leaves(value: object) -> Iterator[str]:
    """Yield every text in `value`, also those inside of texts that are JSON."""
    if isinstance(value, str):
        inner = json_container(value)
        if inner is None:
            yield value
        else:
            yield from leaves(inner)
    elif isinstance(value, dict):
        for one in entries(cast("object", value)).values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in items(cast("object", value)):
            yield from leaves(one)


def json_container(text: str) -> Mapping[str, object] | Sequence[object] | None:
    """Return the object or the list that `text` is the JSON of, or None."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    return entries(found) or items(found) or None
