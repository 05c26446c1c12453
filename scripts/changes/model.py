"""What a preview tells: changes by resource, policy, diagnostics, what bills, rendered files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

Kind = Literal["replace", "delete", "create", "update", "change", "import", "read"]
"""What happens to a resource. `change`: update or replacement, which mocks can't tell apart."""

KINDS: Final[tuple[Kind, ...]] = (
    "replace",
    "delete",
    "create",
    "update",
    "change",
    "import",
    "read",
)
"""In the order in which they are told: what loses something first."""


class Absent(Enum):
    """Stands where a property has no value at all."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True)
class Property:
    """One property that changes: its path, and what is shown of it before and after.

    `before` and `after` hold no secret: `[secret]` stands for one. `replaces`: it causes the
    replacement of its resource.
    """

    path: str
    before: object
    after: object
    replaces: bool = False


@dataclass(frozen=True)
class Change:
    """What happens to one resource. `token` is its type.

    `why` are the properties that cause a replacement, where the engine names them. `protected`: it
    is deleted or replaced, and its protection forbids that.
    """

    kind: Kind
    token: str
    name: str
    properties: tuple[Property, ...] = ()
    why: tuple[str, ...] = ()
    protected: bool = False

    @property
    def causes(self) -> tuple[str, ...]:
        """The properties that cause the replacement."""
        paths = [one.path for one in self.properties if one.replaces]
        # Of what the engine names by its first name, the paths below it say more.
        named = [name for name in self.why if not any(_is_below(path, name) for path in paths)]
        return tuple(dict.fromkeys((*named, *paths)))


def _is_below(path: str, name: str) -> bool:
    return path == name or path.startswith((f"{name}.", f"{name}["))


@dataclass(frozen=True)
class Drift:
    """A resource that the cloud has otherwise than the state; `gone`: not at all any more."""

    token: str
    name: str
    gone: bool
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Violation:
    """What a policy says of a resource, or of the stack where `resource` is empty."""

    policy: str
    mandatory: bool
    resource: str
    message: str


@dataclass(frozen=True)
class Diagnostic:
    """What the engine, the program or a plugin said; `severity` is `error` or `warning`."""

    severity: Literal["error", "warning"]
    resource: str
    message: str


@dataclass(frozen=True)
class Bill:
    """What costs money, and whether while the stack runs, and while it is parked."""

    resource: str
    running: bool
    parked: bool


@dataclass(frozen=True)
class Billing:
    """What bills after an `up`; `before` is what did, None where that is not known.

    `mocked`: it comes of a mocked run, since the preview can't know it yet.
    """

    after: tuple[Bill, ...]
    before: tuple[Bill, ...] | None
    mocked: bool


@dataclass(frozen=True)
class FileChange:
    """A rendered file that changes, with the lines of its unified diff."""

    kind: Literal["added", "removed", "changed"]
    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """How the rendered files differ from those of `base`; `problem` is why that can't be told."""

    base: str
    changes: tuple[FileChange, ...] = ()
    count: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Preview:
    """All that is told of one stack.

    `mocked` is why no engine was asked, empty where one was. `outputs` are the stack's own.
    `failed`: the preview did not come to its end. `notes` are said below the heading.
    """

    stack: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    outputs: tuple[Property, ...] = ()
    drift: tuple[Drift, ...] = ()
    violations: tuple[Violation, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    billing: Billing | None = None
    files: Files | None = None
    mocked: str = ""
    notes: tuple[str, ...] = ()
    failed: bool = False

    @property
    def mandatory(self) -> tuple[Violation, ...]:
        """The violations that forbid an `up`."""
        return tuple(one for one in self.violations if one.mandatory)

    def of_kind(self, kind: Kind) -> tuple[Change, ...]:
        """Return the changes of one kind."""
        return tuple(change for change in self.changes if change.kind == kind)

    def noting(self, notes: Sequence[str]) -> Preview:
        """Return it with more `notes`."""
        return replace(self, notes=(*self.notes, *notes))
