"""What ours relies on of each pinned thing, as `relied.toml` lists it, and what has drifted.

A table is one thing by its everyday name. It says for which versions it was written (`pins`), whose
raise is judged by tests alone (`tested`), and what is relied on: `flags`, `variables`, `paths`,
`ports`, `commands`, `objects`. `records` names, for some of these, a list of all that the pinned
release takes, in a file of this checkout: what is relied on must be in there, and the list's head
must name the pinned version.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar, cast

from scripts.versions.pinned import Pinned, VersionsError

RELIED = "relied.toml"
KINDS = ("flags", "variables", "paths", "ports", "commands", "objects")
"""What may be relied on of a thing."""

_TEXTS = ("what", "renew")
_LISTS = ("tested", "held_by", "unrecorded_variables", *KINDS)
_MAPPINGS = ("pins", "records")
_HEAD = re.compile(r"^# (?:Build|Version): ([A-Za-z0-9.+-]*[A-Za-z0-9])", re.MULTILINE)

_T = TypeVar("_T", str, int)


@dataclass(frozen=True)
class Relied:
    """One thing: `pins` is the version of each pin that the table was written for.

    `tested` are pins whose raise the tests of `held_by` judge, by name or pattern (`go:k8s.io/*`).
    `renew` says how the table and its `records` are made anew; `unrecorded_variables` are those
    that a release reads through what it is built on, which no record lists.
    """

    name: str
    what: str
    renew: str = ""
    pins: Mapping[str, str] = field(default_factory=dict[str, str])
    tested: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    records: Mapping[str, str] = field(default_factory=dict[str, str])
    relies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    unrecorded_variables: tuple[str, ...] = ()

    def of(self, kind: str) -> frozenset[str]:
        """Return what is relied on of one of `KINDS`."""
        return frozenset(self.relies.get(kind, ()))

    def covers(self, pin: str) -> bool:
        """Whether this is the table of the pin of that name."""
        return pin in self.pins or any(fnmatchcase(pin, pattern) for pattern in self.tested)


def read(checkout: Path) -> tuple[Relied, ...]:
    """Return the tables of `relied.toml`. Raises `VersionsError` for what no table takes."""
    with (checkout / RELIED).open("rb") as file:
        content = cast("dict[str, dict[str, object]]", tomllib.load(file))
    return tuple(_relied(name, table) for name, table in content.items())


def thing(things: Sequence[Relied], name: str) -> Relied:
    """Return the table of that name. Raises `VersionsError`."""
    for one in things:
        if one.name == name:
            return one
    raise VersionsError(f"{RELIED} has no table {name}: it has {', '.join(t.name for t in things)}")


def _relied(name: str, table: Mapping[str, object]) -> Relied:
    unknown = sorted(set(table) - {*_TEXTS, *_LISTS, *_MAPPINGS})
    if unknown:
        takes = ", ".join((*_TEXTS, *_MAPPINGS, *_LISTS))
        raise VersionsError(f"{RELIED}: [{name}] has {', '.join(unknown)}: a table takes {takes}")
    texts = {key: _text(name, key, table.get(key, "")) for key in _TEXTS}
    mappings = {key: _mapping(name, key, table.get(key, {})) for key in _MAPPINGS}
    lists = {key: _list(name, key, table.get(key, [])) for key in _LISTS}
    return Relied(
        name=name,
        what=texts["what"],
        renew=texts["renew"],
        pins=mappings["pins"],
        tested=lists["tested"],
        held_by=lists["held_by"],
        records=mappings["records"],
        relies={kind: lists[kind] for kind in KINDS if lists[kind]},
        unrecorded_variables=lists["unrecorded_variables"],
    )


def _text(name: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise VersionsError(f"{RELIED}: {name}.{key} is {value!r}: it takes a text")
    return value


def _list(name: str, key: str, value: object) -> tuple[str, ...]:
    """Return a list's words; whole numbers, such as ports, as words too."""
    if not isinstance(value, list):
        raise VersionsError(f"{RELIED}: {name}.{key} is {value!r}: it takes a list")
    words = [str(one) for one in cast("list[object]", value)]
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise VersionsError(f"{RELIED}: {name}.{key} has {', '.join(twice)} twice")
    return tuple(words)


def _mapping(name: str, key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise VersionsError(f"{RELIED}: {name}.{key} is {value!r}: it takes a table")
    return {
        inner: _text(name, f"{key}.{inner}", one)
        for inner, one in cast("dict[str, object]", value).items()
    }


def recorded(text: str) -> frozenset[str]:
    """Return what a record lists: the first word of each line that is no comment."""
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return frozenset(words[0] for words in lines if words)


def recorded_version(text: str) -> str | None:
    """Return the version that a record's head names, `Build:` or `Version:`; None without one."""
    found = _HEAD.search(text)
    return None if found is None else found[1]


def is_of(recorded: str, pinned: str) -> bool:
    """Whether a record of the version `recorded` is one of the pin's.

    A pin may say more: `2026.3.1-gpu` is of `2026.3`, `server-cuda-b11459` of `b11459`.
    """
    return re.search(rf"(?<![0-9.]){re.escape(recorded)}(?![0-9])", pinned) is not None


def drift(checkout: Path, pins: Sequence[Pinned], things: Sequence[Relied]) -> Iterator[str]:
    """Yield what of `relied.toml` does not fit the pins and records, each with what to do."""
    versions = {pin.name: pin for pin in pins}
    yield from _uncovered(pins, things)
    for one in things:
        for name, version in one.pins.items():
            pin = versions.get(name)
            if pin is None:
                yield f"{RELIED}: [{one.name}] names {name}, and nothing pins it: take it out"
            elif pin.version != version:
                yield (
                    f"{name} is {pin.version} in {pin.file}, and {RELIED}'s [{one.name}] was "
                    f'written for {version}: {one.renew}; then set pins."{name}" there'
                )
        for pattern in one.tested:
            if not any(fnmatchcase(name, pattern) for name in versions):
                yield f"{RELIED}: [{one.name}] names {pattern}, and nothing pins it: take it out"
        yield from _records(
            checkout, one, [versions[name] for name in one.pins if name in versions]
        )
        for file in one.held_by:
            if not (checkout / file).exists():
                yield f"{RELIED}: [{one.name}] is held by {file}, which is not there"


def _uncovered(pins: Sequence[Pinned], things: Sequence[Relied]) -> Iterator[str]:
    for pin in pins:
        tables = [one.name for one in things if one.covers(pin.name)]
        if not tables:
            yield (
                f"{pin.name} is pinned in {pin.file}, and {RELIED} does not say what ours relies "
                "on of it: name it in a table's pins or tested"
            )
        elif len(tables) > 1:
            yield f"{pin.name} is in {len(tables)} tables of {RELIED}: {', '.join(tables)}"


def _records(checkout: Path, one: Relied, pins: Sequence[Pinned]) -> Iterator[str]:
    for kind, file in one.records.items():
        try:
            text = (checkout / file).read_text(encoding="utf-8")
        except OSError as error:
            yield f"{RELIED}: {one.name}.records.{kind} can't be read: {error}"
            continue
        version = recorded_version(text)
        if version is None:
            yield f"{file} does not say of which version it is: write `# Version: …` at its head"
        else:
            for pin in pins:
                if not is_of(version, pin.version):
                    yield f"{file} is of {version}, and {pin.name} of {pin.version}: {one.renew}"
        known = recorded(text)
        missing = sorted(one.of(kind) - known - frozenset(one.unrecorded_variables))
        if missing:
            yield (
                f"{one.name} lacks {', '.join(missing)}, which ours relies on: {file} has no such "
                f"{kind}; find what says the same now, or stay at the version before"
            )
