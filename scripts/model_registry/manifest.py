"""What a version of a model consists of: its files, their sizes and digests. Written last.

Where there is no manifest there is no version: what lies in the model's folder is then the
beginning of an upload.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.bucket import COMMAND, Bucket, MissingObject, RegistryFault

SCHEMA_VERSION = 1
MOST_BYTES = 16 * 1024 * 1024
MOST_FILES = 20_000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_MOST_NAME_BYTES = 255
_MOST_PATH_BYTES = 700
"""Object names have at most 1024 bytes in either kind of storage; the folders before need some."""
_MOST_FILE_BYTES = 2**50
"""More than an object has in either kind of storage, and few enough to be reckoned with."""


class ManifestError(ValueError):
    """A text that is no manifest; the message says what is wrong with it."""


@dataclass(frozen=True)
class ManifestFile:
    """A file of a version. `path` is below the version's folder, with slashes.

    `object_version` names the object's content in the bucket, None where that keeps no versions.
    """

    path: str
    size_bytes: int
    sha256: str
    object_version: str | None


@dataclass(frozen=True)
class Manifest:
    """A version of a model, its files in the order of their paths. `created` is ISO 8601, UTC."""

    model: RegistryModel
    created: str
    files: tuple[ManifestFile, ...]

    @property
    def sha256(self) -> str:
        """The digest of the content: of every path, size and digest, and of nothing else."""
        return content_digest([(file.path, file.size_bytes, file.sha256) for file in self.files])

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> str:
        """Return the manifest as it is stored."""
        record = {
            "schema_version": SCHEMA_VERSION,
            "name": self.model.name,
            "version": self.model.version,
            "created": self.created,
            "files": [
                {
                    "path": file.path,
                    "bytes": file.size_bytes,
                    "sha256": file.sha256,
                    "object_version": file.object_version,
                }
                for file in self.files
            ],
            "sha256": self.sha256,
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def content_digest(files: Sequence[tuple[str, int, str]]) -> str:
    """Return the sha256 over paths, sizes in bytes and digests of files, in hex."""
    text = json.dumps(sorted(files), ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_path(path: str) -> None:
    """Raise `ManifestError` unless `path` is one that any file system and bucket takes."""
    if len(path.encode(errors="surrogatepass")) > _MOST_PATH_BYTES:
        raise ManifestError(f"{path!r} is longer than {_MOST_PATH_BYTES} bytes")
    for name in path.split("/"):
        if _NAME.fullmatch(name) is None or name.startswith("."):
            raise ManifestError(f"{path!r} is no path that a model's file may have")
        try:
            if len(name.encode()) > _MOST_NAME_BYTES:
                raise ManifestError(f"{path!r} has a name longer than {_MOST_NAME_BYTES} bytes")
        except UnicodeEncodeError:
            raise ManifestError(f"{path!r} is not written in UTF-8") from None


def parse_manifest(text: str, model: RegistryModel) -> Manifest:
    """Read the manifest of `model`. Raises `ManifestError`."""
    try:
        record: object = json.loads(text)
    except (ValueError, RecursionError):
        raise ManifestError("it is no JSON") from None
    if not isinstance(record, dict):
        raise ManifestError("it is no JSON object")
    fields = cast(dict[str, object], record)
    if fields.get("schema_version") != SCHEMA_VERSION:
        raise ManifestError(
            f"its schema_version is {fields.get('schema_version')!r}; "
            f"this project reads {SCHEMA_VERSION}"
        )
    if (fields.get("name"), fields.get("version")) != (model.name, model.version):
        raise ManifestError("it names another model or version")
    listed = fields.get("files")
    if not isinstance(listed, list) or not listed:
        raise ManifestError("it lists no files")
    entries = cast(list[object], listed)
    if len(entries) > MOST_FILES:
        raise ManifestError(f"it lists more than {MOST_FILES} files")
    files = tuple(sorted((_file(entry) for entry in entries), key=lambda file: file.path))
    _check_tree([file.path for file in files])
    created = fields.get("created")
    readable = isinstance(created, str) and created.isprintable()
    manifest = Manifest(model, cast(str, created) if readable else "", files)
    if fields.get("sha256") != manifest.sha256:
        raise ManifestError("its own sha256 is not that of what it lists")
    return manifest


def read_manifest(bucket: Bucket, url: RegistryUrl, model: RegistryModel) -> Manifest | None:
    """Return the manifest of a version; None where there is no such version.

    Raises `RegistryFault`, which is lasting where the manifest is damaged.
    """
    key = url.key(model.manifest)
    data = bytearray()
    try:
        with bucket.open(key, version=None, start=0) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > MOST_BYTES:
                    raise _damaged(url, model, f"it has more than {MOST_BYTES} bytes")
    except MissingObject:
        return None
    try:
        return parse_manifest(data.decode(), model)
    except UnicodeDecodeError:
        raise _damaged(url, model, "it is no text") from None
    except ManifestError as error:
        raise _damaged(url, model, str(error)) from None


def _damaged(url: RegistryUrl, model: RegistryModel, what: str) -> RegistryFault:
    return RegistryFault(
        f"the manifest of {model} in {url} is damaged: {what}\n"
        f"next: {COMMAND} remove '{url}' {model}, and push it again",
        lasting=True,
    )


def _file(entry: object) -> ManifestFile:
    if not isinstance(entry, dict):
        raise ManifestError("a file in it is no JSON object")
    fields = cast(dict[str, object], entry)
    path, size, sha256 = fields.get("path"), fields.get("bytes"), fields.get("sha256")
    version = fields.get("object_version")
    if not isinstance(path, str):
        raise ManifestError("a file in it has no path")
    check_path(path)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_FILE_BYTES:
        raise ManifestError(f"{path!r} has no size in it")
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None:
        raise ManifestError(f"{path!r} has no sha256 in it")
    if version is not None and not isinstance(version, str):
        raise ManifestError(f"{path!r} has no object_version that is a text")
    return ManifestFile(path, size, sha256, version or None)


def _check_tree(paths: Sequence[str]) -> None:
    """Raise `ManifestError` where a path comes twice, or is a file and a folder at once."""
    files = set(paths)
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    if len(files) != len(paths) or files & folders:
        raise ManifestError("a path in it comes twice")
