"""A bucket as a registry uses it, and what may go wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

COMMAND = ".venv/bin/python -m scripts.model_registry"
"""How a person calls the registry's commands from a checkout."""

Report: TypeAlias = Callable[[str], None]
"""Takes a line about how far things are."""

SHA256 = "sha256"
"""The key of an object's own metadata that holds the digest of its content."""


class RegistryFault(Exception):
    """Why a registry can't be read or written: one message with the next step, and no credential.

    `lasting` says that it stays so until a person changes something.
    """

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.message = message
        self.lasting = lasting


class MissingBucket(RegistryFault):
    """There is no bucket of that name."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasting=True)


class MissingObject(RegistryFault):
    """There is no object of that name, or not that version of it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasting=True)


class ObjectExists(RegistryFault):
    """There is an object of that name, where only a new one was to be written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasting=True)


class Denied(RegistryFault):
    """The storage refuses these credentials, or what they may do."""


class DiskFull(RegistryFault):
    """There is no room on the local disk for what is pulled."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasting=True)


@dataclass(frozen=True)
class Stored:
    """An object as its bucket has it.

    `version` names this very content, and is None where the bucket keeps no versions. `sha256` is
    what whoever wrote it said of its content, and None where that was not asked for or not said.
    """

    key: str
    size_bytes: int
    version: str | None
    sha256: str | None


class Bucket(Protocol):
    """A bucket's objects. Each method tries once, and raises `RegistryFault`."""

    def list(self, prefix: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `prefix`. Raises `MissingBucket`."""
        ...

    def stat(self, key: str) -> Stored | None:
        """Return what is known of an object; None where there is none."""
        ...

    def open(
        self, key: str, *, version: str | None, start: int
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Give an object's content from byte `start` on: nothing where it has no more.

        `version` None is the newest. Raises `MissingObject`.
        """
        ...

    def put_file(self, key: str, path: Path, sha256: str, report: Report) -> Stored:
        """Write a file, which has the digest `sha256`, going on with what was sent before.

        No object is made where the file has another content than that by now.
        """
        ...

    def put_bytes(self, key: str, data: bytes, *, only_new: bool) -> Stored:
        """Write a small object. Raises `ObjectExists` where it is there and `only_new` is set."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        ...
