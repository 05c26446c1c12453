"""Which objects of a backend are a stack's, and what its checkpoint says.

As in Pulumi 3.210, pkg/backend/diy: one checkpoint a stack with the one before it as `.bak`, a
pair of files an update under `history/`, a copy an update under `backups/`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from scripts.backend.objects import Objects
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import PROJECT

META = ".pulumi/meta.yaml"
_VERSION = re.compile(rb"^version:\s*(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Files:
    """The names of a stack's objects. `current` is its checkpoint, None where it has none."""

    current: str | None
    older: tuple[str, ...]
    history: tuple[str, ...]
    backups: tuple[str, ...]

    @property
    def before_current(self) -> tuple[str, ...]:
        """Everything but the checkpoint, which makes the stack be there."""
        return (*self.history, *self.backups, *self.older)

    @property
    def updates(self) -> int:
        """How many updates the history has."""
        return sum(".history.json" in name for name in self.history)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says: how many resources, what was begun and not ended, how it encrypts.

    `encrypted_by` is the secrets provider: `passphrase`, `service`, or the URL of a key; None where
    it has none yet.
    """

    resources: int
    pending: int
    encrypted_by: str | None


def short(stack: str) -> str:
    """Return a stack's name without organization and project."""
    return stack.rsplit("/", 1)[-1]


def lock_folder(stack: str) -> str:
    """Return where a stack's locks lie, with a slash at its end."""
    return f".pulumi/locks/organization/{PROJECT}/{short(stack)}/"


def files(objects: Objects, stack: str) -> Files:
    """Return what a backend has of a stack. Raises `BootstrapError`."""
    name = short(stack)
    own = re.compile(rf"{re.escape(name)}\.json(\.gz)?(\.bak|\.\d+|\.\d+\.gz)?")
    folder = f".pulumi/stacks/{PROJECT}/"
    there = [one for one in objects.names(f"{folder}{name}.json") if own.fullmatch(_last(one))]
    current = [one for one in there if one.endswith((f"/{name}.json", f"/{name}.json.gz"))]
    if len(current) > 1:
        raise BootstrapError(
            f"the backend has the state of {name} twice: {' and '.join(map(_last, current))}",
            f"scripts/up {name}, which leaves one of them",
        )
    return Files(
        current[0] if current else None,
        tuple(one for one in there if one not in current),
        tuple(objects.names(f".pulumi/history/{PROJECT}/{name}/")),
        tuple(objects.names(f".pulumi/backups/{PROJECT}/{name}/")),
    )


def require_layout(meta: bytes | None, shown: str, *, empty_will_do: bool) -> None:
    """Raise `BootstrapError` unless a backend's `meta.yaml` names the layout that is known here."""
    if meta is None and empty_will_do:
        return
    found = None if meta is None else _VERSION.search(meta)
    if found is None or int(found[1]) != 1:
        raise BootstrapError(
            f"{shown} has no layout that is known here (its .pulumi/meta.yaml should say "
            "version: 1)",
            "bring it up to date with a current CLI: scripts/pulumi state upgrade",
        )


def read_checkpoint(name: str, content: bytes) -> Checkpoint:
    """Read the checkpoint in the object `name`. Raises `BootstrapError`; quotes nothing of it."""
    try:
        text = gzip.decompress(content) if name.endswith(".gz") else content
        read = _object(json.loads(text))
        latest = _object(_object(read.get("checkpoint")).get("latest"))
    except (OSError, ValueError, EOFError):
        raise BootstrapError(
            f"{name} is no state that can be read: it is cut off, or was written by something else",
            "put the one before it (.bak, beside it) in its place",
        ) from None
    provider = _object(latest.get("secrets_providers"))
    kind = provider.get("type")
    url = _object(provider.get("state")).get("url")
    return Checkpoint(
        len(_list(latest.get("resources"))),
        len(_list(latest.get("pending_operations"))),
        str(url or kind) if kind else None,
    )


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _last(name: str) -> str:
    return name.rpartition("/")[2]
