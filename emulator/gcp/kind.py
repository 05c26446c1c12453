"""What a resource type is to the cloud: its id, what the cloud adds, what a change replaces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Plain = bool | float | str | list["Plain"] | dict[str, "Plain"] | None
Fields = dict[str, Plain]

ALL = frozenset({"*"})
"""Every input replaces."""

COMPUTE = "projects/{project}/global/"
ZONAL = "projects/{project}/zones/{zone}/"
REGIONAL = "projects/{project}/regions/{region}/"


@dataclass(frozen=True)
class Where:
    """The provider's own project, region and zone, for resources that name none."""

    project: str
    region: str
    zone: str


@dataclass(frozen=True)
class Kind:
    """One resource type.

    `id` is a format over the inputs, with `project`, `region` and `zone` filled in. `adds` returns
    what the cloud adds to the inputs, given the inputs (so filled) and the id. A change of an
    input in `replacing`, or of what is in it, makes another resource; a name in an object or a
    list follows a dot. `may_be_there`: making one that is there already is no error. `is_held`: it
    can't be deleted while another resource names it. `stays`: its id is taken for good, also by
    one that was deleted (a pool's for 30 days, a key's for ever).
    """

    id: str
    replacing: frozenset[str] = frozenset({"name", "project", "region", "zone"})
    adds: Callable[[Fields, str], Fields] = field(default=lambda inputs, identity: {})
    may_be_there: bool = False
    is_held: bool = False
    stays: bool = False


def number(text: str) -> str:
    """A number such as the cloud gives a resource, the same for the same text."""
    return str(int(hashlib.sha256(text.encode()).hexdigest()[:15], 16))


def linked(inputs: Fields, identity: str) -> Fields:
    """The link that Compute Engine adds."""
    return {"selfLink": f"https://www.googleapis.com/compute/v1/{identity}"}


def replaces(kind: Kind, path: Sequence[str | int]) -> bool:
    """Whether a change of the input at `path` makes another resource."""
    if kind.replacing == ALL:
        return True
    names = [step for step in path if isinstance(step, str)]
    return any(".".join(names[:count]) in kind.replacing for count in range(1, len(names) + 1))
