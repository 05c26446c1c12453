"""One file brought from a bucket: resumed where it was left, and held to its digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from scripts.model_registry.attempts import Attempts, Patience
from scripts.model_registry.bucket import (
    COMMAND,
    Bucket,
    MissingObject,
    RegistryFault,
    Report,
)
from scripts.model_registry.manifest import ManifestFile
from scripts.models.progress import Progress

_READ_BYTES = 1024 * 1024
_PROGRESS_BYTES = 1024 * 1024
"""A try that brought this much counts as progress, so that tries are bounded by the size."""
_MOST_FETCHES = 2


def fetch(
    bucket: Bucket,
    key: str,
    file: ManifestFile,
    partial: Path,
    report: Report,
    *,
    patience: Patience,
) -> int:
    """Bring the object `key` into the file `partial`, going on with what is there.

    Returns how many bytes came. What is there by now stays after a fault, unless it is wrong. A
    content with another digest than `file`'s is brought anew, once if none of it was there before.
    Raises `RegistryFault`.
    """
    attempts = Attempts(patience, report)
    version = file.object_version
    fetches = 0
    received = 0
    with _Part(partial, file) as part:
        if part.size == 0:
            fetches = 1
        while True:
            before = part.size
            try:
                _receive(bucket, key, version, part, report)
            except MissingObject as fault:
                if version is None:
                    raise _gone(file, fault) from None
                # An older version may be deleted while the newest has the same content.
                version = None
                continue
            except RegistryFault as fault:
                received += part.size - before
                if part.size - before >= _PROGRESS_BYTES:
                    attempts.progressed()
                attempts.failed(fault)
                continue
            received += part.size - before
            seen = part.finish()
            if seen == file.sha256:
                return received
            size = part.size
            part.restart()
            if fetches == _MOST_FETCHES:
                raise _damaged(file, seen, size)
            fetches += 1
            report(f"{file.path} is damaged (its sha256 is {seen}): pulling it again")


class _Part:
    """The beginning of a file on disk, and its running digest."""

    def __init__(self, path: Path, file: ManifestFile) -> None:
        self.file = file
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("ab", buffering=0)
        self._path = path

    def __enter__(self) -> _Part:
        with self._path.open("rb") as there:
            while chunk := there.read(_READ_BYTES):
                self._digest.update(chunk)
                self.size += len(chunk)
        if self.size > self.file.size_bytes:
            self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def missing(self) -> int:
        """How many bytes are not there yet."""
        return self.file.size_bytes - self.size

    def add(self, chunk: bytes) -> None:
        """Append `chunk`."""
        view = memoryview(chunk)
        while view:
            count = os.write(self._file.fileno(), view)
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]

    def restart(self) -> None:
        """Throw away what has come."""
        self._file.truncate(0)
        self.size = 0
        self._digest = hashlib.sha256()

    def finish(self) -> str:
        """Have all of it on disk, and return its sha256."""
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()


def _receive(bucket: Bucket, key: str, version: str | None, part: _Part, report: Report) -> None:
    """Try once to bring what is missing; an object that is shorter ends it early."""
    if part.missing == 0:
        return
    with bucket.open(key, version=version, start=part.size) as chunks:
        progress = Progress("pulling", part.file.path, part.file.size_bytes, report, done=part.size)
        for chunk in chunks:
            part.add(chunk[: part.missing])
            progress.add(len(chunk))
            if part.missing == 0:
                return


def _damaged(file: ManifestFile, seen: str, size: int) -> RegistryFault:
    what = f"has {size} bytes" if size != file.size_bytes else f"has the sha256 {seen}"
    expected = file.size_bytes if size != file.size_bytes else file.sha256
    return RegistryFault(
        f"{file.path} in the registry {what}, where its manifest says {expected}: it was changed "
        "there, or is damaged on the way each time\n"
        f"next: look with {COMMAND} check; whoever has the model can mend it by pushing it again",
        lasting=True,
    )


def _gone(file: ManifestFile, fault: MissingObject) -> RegistryFault:
    return MissingObject(
        f"{fault.message.splitlines()[0]}, though its manifest names {file.path}\n"
        "next: push the model again, which mends it"
    )
