"""The objects of a backend: files in a folder, or objects in a bucket."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from scripts.backend.place import Place
from scripts.bootstrap.console import BootstrapError

if TYPE_CHECKING:
    from scripts.model_registry.bucket import Bucket
    from scripts.model_registry.s3_client import S3Client

# The engine's folders hold one beside each object: its content type, which nobody needs.
_SIDECAR = ".attrs"

T = TypeVar("T")


class ObjectThere(Exception):
    """There is an object of that name, where only a new one was to be written."""


class Objects(Protocol):
    """What a backend keeps, by name below it. Each method raises `BootstrapError`."""

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in order."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is none."""
        ...

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
        """Write an object whole. Raises `ObjectThere` where it is there and `only_new` is set."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        ...


def open_objects(place: Place, environ: Mapping[str, str], say: Callable[[str], None]) -> Objects:
    """Return what the backend at `place` keeps. Nothing is asked yet."""
    if place.folder is not None:
        return Folder(place.folder)
    if place.bucket is not None:
        return Cloud(place, environ, say)
    raise BootstrapError(
        f"{place.shown} keeps no files that can be copied", "scripts/state move knows another way"
    )


class Folder:
    """A folder of this machine. What is written there is its owner's alone."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in order."""
        start = self._root / prefix.rpartition("/")[0]
        found: list[str] = []
        with self._faults():
            for folder, _, files in os.walk(start, onerror=_raise_unless_missing):
                below = Path(folder).relative_to(self._root)
                found += [(below / name).as_posix() for name in files]
        return sorted(
            name for name in found if name.startswith(prefix) and not name.endswith(_SIDECAR)
        )

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is none."""
        with self._faults(), suppress(FileNotFoundError):
            return (self._root / name).read_bytes()
        return None

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
        """Write an object whole. Raises `ObjectThere` where it is there and `only_new` is set."""
        path = self._root / name
        # Where nobody takes it for an object.
        partial = self._root / f".llm-endpoint.{os.getpid()}.{path.name}.new"
        with self._faults():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                if only_new:
                    # Unlike a rename it fails where there is one.
                    os.link(partial, path)
                else:
                    partial.replace(path)
            except FileExistsError:
                raise ObjectThere(name) from None
            finally:
                partial.unlink(missing_ok=True)
            path.with_name(path.name + _SIDECAR).unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        path = self._root / name
        with self._faults():
            path.unlink(missing_ok=True)
            path.with_name(path.name + _SIDECAR).unlink(missing_ok=True)

    @contextmanager
    def _faults(self) -> Generator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise BootstrapError(
                f"{error.filename or self._root}: {(error.strerror or 'fails').lower()}",
                f"make room where {self._root} is, then run the same again"
                if full
                else f"make {self._root} readable and writable for this user",
            ) from None


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class Cloud:
    """A bucket, by the clients of the model registry: what may pass is tried again."""

    def __init__(
        self, place: Place, environ: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        if place.bucket is None:
            raise ValueError(f"{place.url} is no bucket")
        self._place = place
        self._url = place.bucket
        self._environ = environ
        self._say = say
        self._bucket = self._open()

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in order."""
        whole = self._url.key(prefix)
        cut = len(whole) - len(prefix)
        return self._try(lambda: sorted(one.key[cut:] for one in self._bucket.list(whole)))

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None where there is none."""
        from scripts.model_registry.bucket import MissingObject

        def once() -> bytes | None:
            key = self._url.key(name)
            with (
                suppress(MissingObject),
                self._bucket.open(key, version=None, start=0) as chunks,
            ):
                return b"".join(chunks)
            return None

        return self._try(once)

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
        """Write an object whole. Raises `ObjectThere` where it is there and `only_new` is set."""
        from scripts.model_registry.bucket import ObjectExists

        def once() -> None:
            try:
                self._bucket.put_bytes(self._url.key(name), content, only_new=only_new)
            except ObjectExists:
                raise ObjectThere(name) from None

        self._try(once)

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        self._try(lambda: self._bucket.delete(self._url.key(name)))

    def _try(self, job: Callable[[], T]) -> T:
        from scripts.model_registry.attempts import Patience, patiently
        from scripts.model_registry.bucket import MissingBucket, RegistryFault

        try:
            return patiently(job, Patience(), self._say)
        except MissingBucket:
            raise BootstrapError(
                f"{self._place.shown}: there is no bucket {self._url.bucket}, or these "
                "credentials may not know of it",
                "correct the URL, or make the bucket first: private, with versioning on",
            ) from None
        except RegistryFault as fault:
            problem, _, rest = fault.message.partition("\nnext: ")
            raise BootstrapError(problem, rest or "see that message") from None

    def _open(self) -> Bucket:
        from scripts.model_registry.uploads import Uploads

        if self._url.scheme == "gs":
            from scripts.model_registry.gcs import GcsBucket
            from scripts.model_registry.gcs_client import open_client as open_gcs

            return GcsBucket(self._url, lambda: open_gcs(self._url, self._environ), Uploads())
        from scripts.model_registry.s3 import S3Bucket

        return S3Bucket(self._url, self._connect, Uploads())

    def _connect(self) -> S3Client:
        from scripts.model_registry.s3_client import open_client

        if self._place.profile is not None:
            # The client looks there itself.
            os.environ["AWS_PROFILE"] = self._place.profile
        return open_client(self._url, self._environ)
