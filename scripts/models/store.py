"""The cache of model files: where a file lies, what is known of it, and who may work on it.

    <cache>/models/contents/<digest>/<name>          a model's file, or all of a split model's,
                                                     or of what is taken of a whole repository
    <cache>/models/references/<digest>.json          what a reference was when pulled: its pin
    <cache>/models/incoming/<digest>/<name>.partial  what is being pulled for a reference
    <cache>/models/locks/<digest>.lock               held by the process that pulls for it
    <cache>/models/paths/<digest>.json               the digests of a file that lies elsewhere
    <cache>/models/builtin/<recipe>/<name>.gguf      a model that this project made

Files lie by content, since several references may name one. A pin is found by its reference, not
beside the file, since it has to outlive a file that was deleted or damaged: it is what the next
pull is held to.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from components.models.reference import HubFile, ModelReference, shown
from scripts.models.download import hash_file
from scripts.models.transport import ModelError, Obstacle, Patience

_POLL_SECONDS = 1.0
_SAY_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class StoredFile:
    """A file as it was when its digest was taken."""

    name: str
    sha256: str
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, sha256: str, name: str | None = None) -> StoredFile:
        """Note the file at `path`, whose digest is known. `name` is its own unless given."""
        status = path.stat()
        return cls(name or path.name, sha256, status.st_size, status.st_mtime_ns)

    def is_unchanged(self, path: Path) -> bool:
        """Whether the file at `path` has the size and time that were noted."""
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (self.size_bytes, self.mtime_ns)


def recheck(path: Path, noted: StoredFile, report: Callable[[str], None]) -> StoredFile | None:
    """Return the file at `path` if it is the one `noted`, hashing what has another size or time.

    None where it is missing, and where it is damaged, which is said; it is deleted then.
    """
    try:
        if noted.is_unchanged(path):
            return noted
    except FileNotFoundError:
        return None
    digest = hash_file(path, report)
    if digest == noted.sha256:
        return StoredFile.of(path, digest, noted.name)
    report(f"{path} is damaged: its sha256 is {digest}, not {noted.sha256}; pulling it again")
    path.unlink(missing_ok=True)
    return None


class Form(StrEnum):
    """What is taken of a whole repository, by what its engine loads."""

    SAFETENSORS = "safetensors"
    OPENVINO = "OpenVINO"


@dataclass(frozen=True)
class Whole:
    """What an engine needs of a whole repository, in place of one model of it."""

    repository: HubFile
    form: Form = Form.SAFETENSORS

    def __str__(self) -> str:
        # A repository may have both forms, and each has a pin of its own.
        what = "all" if self.form is Form.SAFETENSORS else f"all {self.form} files"
        return f"{what} of {self.repository}"


Pulled = ModelReference | Whole


@dataclass(frozen=True)
class Pin:
    """What a reference was when it was pulled, first part first. `when` is ISO 8601, UTC.

    `folder` is the name of the folder that the files are in, "" where `digests` give it.
    """

    reference: str
    url: str
    commit: str | None
    files: tuple[StoredFile, ...]
    when: str
    folder: str = ""

    @property
    def digests(self) -> tuple[str, ...]:
        """The sha256 of each part."""
        return tuple(file.sha256 for file in self.files)


class Store:
    """The cache of model files under one folder."""

    def __init__(self, cache: Path) -> None:
        self._root = cache / "models"

    def folder(self, digests: Sequence[str]) -> Path:
        """Return where the model whose parts have these digests lies."""
        name = digests[0] if len(digests) == 1 else _digest("".join(digests))
        return self.contents(name[:16])

    def contents(self, name: str) -> Path:
        """Return the folder of that name among those of the models."""
        return self._root / "contents" / name

    def incoming(self, reference: Pulled) -> Path:
        """Return the folder for what is being pulled for `reference`, which now exists."""
        folder = self._root / "incoming" / _digest(str(reference))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def pin_file(self, reference: Pulled) -> Path:
        """Return where the pin of `reference` is, or would be."""
        return self._root / "references" / f"{_digest(str(reference))}.json"

    def path_file(self, path: Path) -> Path:
        """Return where the digests of the file at `path`, outside of the cache, are noted."""
        return self._root / "paths" / f"{_digest(str(path))}.json"

    def builtin(self, recipe: str) -> Path:
        """Return the folder for what the code with the digest `recipe` makes, which now exists."""
        folder = self._root / "builtin" / recipe
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def locked(
        self, reference: Pulled, patience: Patience, report: Callable[[str], None]
    ) -> Generator[None]:
        """Hold the right to pull for `reference`, which ends with the process at the latest.

        Waits for another process that has it; raises `ModelError` after `lock_seconds`.
        """
        path = self._root / "locks" / f"{_digest(str(reference))}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait_for(descriptor, path, reference, patience, report)
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)


def read_pin(path: Path) -> Pin | None:
    """Return the pin in the file at `path`; None where there is no file.

    Raises `ModelError` for a damaged one: to ignore it would be to pull anything.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        record = json.loads(text)
        files = tuple(StoredFile(**file) for file in record.pop("files"))
        return Pin(files=files, **record)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ModelError(
            f"{path} is damaged\nnext: delete it; the model is then pulled and pinned anew"
        ) from None


def write_pin(path: Path, pin: Pin) -> None:
    """Write `pin` so that no reader ever sees a part of it, not even after a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(pin), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _wait_for(
    descriptor: int,
    path: Path,
    reference: Pulled,
    patience: Patience,
    report: Callable[[str], None],
) -> None:
    name = shown(str(reference))
    for tick in range(int(patience.lock_seconds / _POLL_SECONDS) + 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if tick % int(_SAY_EVERY_SECONDS / _POLL_SECONDS) == 0:
                report(f"{_holder(descriptor)} is pulling {name}: waiting for it")
            patience.sleep(_POLL_SECONDS)
        else:
            return
    raise ModelError(
        f"{_holder(descriptor)} has been pulling {name} for more than "
        f"{patience.lock_seconds / 60:.0f} min\n"
        f"next: wait for it, or end that process, which holds {path}",
        Obstacle.PASSING,
    )


def _holder(descriptor: int) -> str:
    pid = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
    return f"another process ({pid})" if pid else "another process"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
