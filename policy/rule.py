"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from policy.resources import Resource

Level = Literal["mandatory", "advisory"]
Options = Mapping[str, object]
"""What the pack's configuration says to a rule, besides its level and its exceptions."""


@dataclass(frozen=True)
class Violation:
    """What a rule refuses. `what` is what an exception may name: a port, an image, a role."""

    resource: Resource
    what: str
    message: str
    """What is wrong with which resource, and the fix: the key of ours to set. No secret."""


@dataclass(frozen=True)
class Rule:
    """One thing that is refused, judged by each resource alone, as it is registered.

    `options` are the JSON schemas of what its configuration may hold besides `exceptions`.
    """

    name: str
    description: str
    level: Level
    check: Callable[[Resource, Options], Iterable[Violation]]
    options: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]]
    )


@dataclass(frozen=True)
class StackRule:
    """One thing that is refused, judged by all resources of a stack together, at the end."""

    name: str
    description: str
    level: Level
    check: Callable[[Sequence[Resource], Options], Iterable[Violation]]
    options: Mapping[str, Mapping[str, object]] = field(
        default_factory=dict[str, Mapping[str, object]]
    )


AnyRule = Rule | StackRule
