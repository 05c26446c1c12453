"""A resource as a rule sees it: what is not known yet told apart from what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast


class _Unknown(Enum):
    UNKNOWN = "not known yet"


UNKNOWN = _Unknown.UNKNOWN
"""Stands for a value that a preview can't know."""

_SENTINELS = frozenset(
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
"""What the engine sends for a value that it does not know: one for each type
(pulumi sdk/go/common/resource/plugin/rpc.go)."""


class NotKnownError(Exception):
    """A rule asked for a value that is not known yet. `path` says which, as in `a.b.0`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not known yet")
        self.path = path


@dataclass(frozen=True)
class Resource:
    """One resource as it is registered: its inputs by the engine's names, secrets opened.

    A rule's message must never quote one of these but to name what it is about.
    """

    type: str
    name: str
    stack: str
    props: Mapping[str, object]
    protect: bool = False
    urn: str = ""

    @property
    def kind(self) -> str:
        """The last part of its type: `Firewall` of `gcp:compute/firewall:Firewall`.

        What patches an object of Kubernetes (`ServicePatch`) is of that object's kind.
        """
        kind = self.type.rpartition(":")[2]
        return kind.removesuffix("Patch") if self.type.startswith("kubernetes:") else kind

    def is_of(self, package: str, *kinds: str) -> bool:
        """Whether it is of the provider `package`, and one of `kinds`."""
        return self.type.partition(":")[0] == package and self.kind in kinds


def the_stack(resources: Sequence[Resource]) -> Resource:
    """Return what stands for the stack as a whole: its own resource where it is among them."""
    return next((one for one in resources if one.kind == "Stack"), resources[0])


class _Never(Exception):
    pass


def known(value: object, unknown: type[Exception] = _Never) -> object:
    """Return `value` with `UNKNOWN` for what is marked as not known, or raises `unknown`."""
    if isinstance(value, str):
        return UNKNOWN if value in _SENTINELS else value
    if isinstance(value, Mapping):
        held = cast("Mapping[str, object]", value)
        return {name: _known_at(held, name, unknown) for name in held}
    if isinstance(value, Sequence):
        row = cast("Sequence[object]", value)
        return [_known_at(row, index, unknown) for index in range(len(row))]
    return value


def _known_at(holder: object, step: object, unknown: type[Exception]) -> object:
    try:
        inner = cast("Mapping[object, object]", holder)[step]
    except unknown:
        return UNKNOWN
    return known(inner, unknown)


def at(holder: object, *path: str) -> object:
    """Return what `holder` has at `path`, None where it has nothing there.

    Raises `NotKnownError`.
    """
    for depth, name in enumerate(path, 1):
        if not isinstance(holder, Mapping):
            return None
        holder = cast("Mapping[str, object]", holder).get(name)
        if holder is UNKNOWN:
            raise NotKnownError(".".join(path[:depth]))
    return holder


def text(holder: object, *path: str) -> str:
    """Return the text at `path`, "" where there is none. Raises `NotKnownError`."""
    value = at(holder, *path)
    return value if isinstance(value, str) else ""


def each(holder: object, *path: str) -> Iterator[object]:
    """Yield what the list at `path` holds. Raises `NotKnownError`."""
    value = at(holder, *path)
    if isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            if inner is UNKNOWN:
                raise NotKnownError(".".join([*path, str(index)]))
            yield inner


def texts(holder: object, *path: str) -> tuple[str, ...]:
    """Return the texts in the list at `path`. Raises `NotKnownError`."""
    return tuple(str(inner) for inner in each(holder, *path))


def pairs(holder: object, *path: str) -> Mapping[str, object]:
    """Return the mapping at `path`, an empty one where there is none. Raises `NotKnownError`."""
    value = at(holder, *path)
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
