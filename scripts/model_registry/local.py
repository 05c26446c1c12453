"""Where a pulled version lies on a disk, and whether it is whole: no bucket is asked for that.

    <into>/NAME/VERSION/FILES…      the version, whole: it comes there by one rename
    <into>/NAME/.VERSION.json       its manifest, and each file's size and time when it was checked
    <into>/NAME/.VERSION.part/      what is being pulled: files/ has those that are whole,
                                    SHA256.partial is the beginning of one
    <into>/NAME/.VERSION.lock       held by the process that pulls it

Names that begin with a dot are none that a model server takes for a version.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience
from scripts.model_registry.bucket import DiskFull, RegistryFault, Report
from scripts.model_registry.manifest import (
    Manifest,
    ManifestError,
    ManifestFile,
    parse_manifest,
)
from scripts.models.progress import Progress, amount

_READ_BYTES = 1024 * 1024
_POLL_SECONDS = 1.0
_SPARE_BYTES = 16 * 1024 * 1024
"""What a file system needs besides the files themselves."""


@dataclass(frozen=True)
class Place:
    """The place of `model` below the folder `into`."""

    into: Path
    model: RegistryModel

    @property
    def folder(self) -> Path:
        """The version's own folder."""
        return self.into / self.model.name / str(self.model.version)

    @property
    def record(self) -> Path:
        """What is known of the version that is there."""
        return self._beside("json")

    @property
    def incoming(self) -> Path:
        """The folder of what is being pulled."""
        return self._beside("part")

    @property
    def arrived(self) -> Path:
        """The folder of the files that are whole, while others are not."""
        return self.incoming / "files"

    def partial(self, file: ManifestFile) -> Path:
        """The beginning of a file, by its content."""
        return self.incoming / f"{file.sha256}.partial"

    def whole(self, url: RegistryUrl, report: Report) -> Manifest | None:
        """Return the manifest of the version that is there whole, as it came from `url`.

        A file that has another size or time than when it was checked is checked anew.
        """
        noted = self._noted(url)
        if noted is None:
            return None
        manifest, seen = noted
        again = False
        for file in manifest.files:
            path = self.folder / file.path
            try:
                status = path.stat()
            except OSError:
                return None
            if seen.get(file.path) != [status.st_size, status.st_mtime_ns]:
                if not is_file(path, file, report):
                    report(f"{path} is damaged: pulling it again")
                    return None
                again = True
        if again:
            # A volume that is mounted for reading alone costs a check at every start.
            with suppress(OSError):
                self.note(manifest, url, self.folder)
        return manifest

    def begin(self, manifest: Manifest) -> None:
        """Have the folders for what is pulled, and in them what is there of `manifest` alone.

        Links are followed nowhere: what lies elsewhere is somebody else's.
        """
        self.record.unlink(missing_ok=True)
        self.incoming.mkdir(parents=True, exist_ok=True)
        if self.arrived.is_symlink():
            self.arrived.unlink()
        if self.folder.is_dir() and not (self.folder.is_symlink() or self.arrived.exists()):
            self.folder.rename(self.arrived)
        remove(self.folder)
        self.arrived.mkdir(exist_ok=True)
        listed = {self.arrived / file.path for file in manifest.files}
        for path in sorted(self.arrived.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                with suppress(OSError):
                    path.rmdir()
            elif path.is_symlink() or path not in listed:
                path.unlink()
        partials = {self.partial(file) for file in manifest.files}
        for path in self.incoming.iterdir():
            if path != self.arrived and (path.is_symlink() or path not in partials):
                remove(path)

    def settle(self, manifest: Manifest, url: RegistryUrl) -> None:
        """Put the version, all of whose files have arrived, where it belongs."""
        self.note(manifest, url, self.arrived)
        self.arrived.rename(self.folder)
        shutil.rmtree(self.incoming, ignore_errors=True)

    def note(self, manifest: Manifest, url: RegistryUrl, folder: Path) -> None:
        """Write down that the files in `folder` are those of `manifest`."""
        seen: dict[str, list[int]] = {}
        for file in manifest.files:
            status = (folder / file.path).stat()
            seen[file.path] = [status.st_size, status.st_mtime_ns]
        record = {"registry": str(url), "manifest": manifest.to_json(), "seen": seen}
        fresh = self.record.with_name(f"{self.record.name}.{os.getpid()}.new")
        with fresh.open("w", encoding="utf-8") as written:
            written.write(json.dumps(record) + "\n")
            written.flush()
            os.fsync(written.fileno())
        fresh.replace(self.record)

    def check_space(self, missing_bytes: int) -> None:
        """Raise `DiskFull` unless there is room for so many bytes more."""
        free = shutil.disk_usage(self.incoming).free
        if free < missing_bytes + _SPARE_BYTES:
            raise DiskFull(
                f"{self.into} has {amount(free)} free, and {self.model} needs "
                f"{amount(missing_bytes)} more there\n"
                "next: free some space, or pull it to a larger disk"
            )

    @contextmanager
    def locked(self, patience: Patience, report: Report) -> Generator[None]:
        """Hold the right to pull this version here, which ends with the process at the latest."""
        path = self._beside("lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait_for(descriptor, patience, report)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, patience: Patience, report: Report) -> None:
        for tick in range(int(patience.lock_seconds / _POLL_SECONDS) + 1):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if tick % 30 == 0:
                    report(f"another process is pulling {self.model}: waiting for it")
                patience.sleep(_POLL_SECONDS)
            else:
                return
        raise RegistryFault(
            f"another process has been pulling {self.model} to {self.into} for more than "
            f"{patience.lock_seconds / 60:.0f} min\nnext: wait for it, or end it",
            lasting=False,
        )

    def _noted(self, url: RegistryUrl) -> tuple[Manifest, dict[str, object]] | None:
        try:
            record: object = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict):
            return None
        fields = cast(dict[str, object], record)
        text, seen = fields.get("manifest"), fields.get("seen")
        if fields.get("registry") != str(url) or not isinstance(text, str):
            return None
        try:
            manifest = parse_manifest(text, self.model)
        except ManifestError:
            return None
        return manifest, cast(dict[str, object], seen) if isinstance(seen, dict) else {}

    def _beside(self, ending: str) -> Path:
        return self.into / self.model.name / f".{self.model.version}.{ending}"


def is_file(path: Path, file: ManifestFile, report: Report) -> bool:
    """Whether the file at `path` has the content that the manifest gives, read whole."""
    if not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    digest = hashlib.sha256()
    progress = Progress("checking", path.name, file.size_bytes, report)
    with path.open("rb") as read:
        while chunk := read.read(_READ_BYTES):
            digest.update(chunk)
            progress.add(len(chunk))
    return digest.hexdigest() == file.sha256


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, where there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def disk_faults(folder: Path) -> Generator[None]:
    """Raise errors of the file system at `folder` as `RegistryFault`, with the next step."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"the disk of {folder} filled up\n"
                "next: free some space, or pull to a larger disk, and run it again, which goes on "
                "from where it was"
            ) from None
        raise RegistryFault(
            f"{error.filename or folder}: {(error.strerror or type(error).__name__).lower()}\n"
            f"next: make {folder} readable and writable for this user",
            lasting=True,
        ) from None
