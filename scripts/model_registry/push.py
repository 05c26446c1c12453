"""A folder put into a registry as a version of a model: whole or not at all, and once for all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeGuard

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience, patiently
from scripts.model_registry.bucket import Bucket, ObjectExists, RegistryFault, Report, Stored
from scripts.model_registry.folder import LocalFile, digest, read_folder
from scripts.model_registry.listing import list_models
from scripts.model_registry.manifest import Manifest, ManifestFile, read_manifest
from scripts.models.progress import amount

_DEFAULT_PATIENCE = Patience()
_MOST_NAMED = 5


@dataclass(frozen=True)
class Pushed:
    """A version that is in the registry. `sent` names the files whose objects were written now."""

    model: RegistryModel
    manifest: Manifest
    sent: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.sent)


def push(
    bucket: Bucket,
    url: RegistryUrl,
    model: RegistryModel,
    folder: Path,
    report: Report,
    *,
    patience: Patience = _DEFAULT_PATIENCE,
) -> Pushed:
    """Have the files of `folder` in the registry as `model`.

    A push that was cut off goes on from where it was. The same content again changes nothing, but
    sends anew what has vanished from the bucket since, or was written anew by somebody. Another
    content is refused: a version never changes. Raises `RegistryFault`.
    """
    files = read_folder(folder, report)
    there = patiently(partial(read_manifest, bucket, url, model), patience, report)
    if there is not None and there.sha256 != digest(files):
        raise _other_content(url, model, _free(bucket, url, model), there, files)
    noted = {} if there is None else {file.path: file.object_version for file in there.files}
    entries: list[ManifestFile] = []
    sent: list[str] = []
    for file in files:
        key = url.key(f"{model.folder}/{file.path}")
        have = partial(_have, bucket, key, file, report, noted=noted.get(file.path))
        version, was_sent = patiently(have, patience, report)
        entries.append(ManifestFile(file.path, file.size_bytes, file.sha256, version))
        if was_sent:
            sent.append(file.path)
    if there is not None and not sent:
        report(f"{model} is in {url} with this content already: nothing changed")
        return Pushed(model, there, ())
    if there is None:
        # Files took their time: what is somebody's version by now is not touched.
        there = patiently(partial(read_manifest, bucket, url, model), patience, report)
        if there is not None and there.sha256 != digest(files):
            raise _theirs(bucket, url, model)
    patiently(partial(_only_these, bucket, url, model, files), patience, report)
    created = datetime.now(UTC).isoformat(timespec="seconds") if there is None else there.created
    manifest = Manifest(model, created, tuple(entries))
    write = partial(_write, bucket, url, manifest, only_new=there is None)
    manifest = patiently(write, patience, report)
    report(
        f"pushed {model} to {url}: {amount(manifest.size_bytes)} in {len(files)} file(s), of which "
        f"{len(sent)} were sent now; sha256 {manifest.sha256}"
    )
    return Pushed(model, manifest, tuple(sent))


def _have(
    bucket: Bucket, key: str, file: LocalFile, report: Report, *, noted: str | None
) -> tuple[str | None, bool]:
    """Have the file's object; return its version's name, and whether it was sent for that.

    Where a manifest has `noted` its version, no other one is taken for it.
    """
    there = bucket.stat(key)
    if _is(there, file) and (noted is None or there.version == noted):
        return there.version, False
    try:
        return bucket.put_file(key, file.place, file.sha256, report).version, True
    except OSError as error:
        raise RegistryFault(
            f"{file.place}: {(error.strerror or type(error).__name__).lower()}\n"
            "next: make it readable for this user, and push again",
            lasting=True,
        ) from None


def _only_these(
    bucket: Bucket, url: RegistryUrl, model: RegistryModel, files: tuple[LocalFile, ...]
) -> None:
    """Delete what an unfinished push of another content left, and see that all files are there.

    A model server that reads the bucket itself would take the rest for a part of the model.
    """
    wanted = {url.key(f"{model.folder}/{file.path}"): file for file in files}
    for stored in list(bucket.list(url.key(f"{model.folder}/"))):
        if stored.key not in wanted:
            bucket.delete(stored.key)
    for key, file in wanted.items():
        if not _is(bucket.stat(key), file):
            raise RegistryFault(
                f"{key} changed in the bucket while it was being pushed: another push of {model} "
                "is running\nnext: let one of them end, and run this again",
                lasting=True,
            )


def _is(there: Stored | None, file: LocalFile) -> TypeGuard[Stored]:
    """Whether an object has the size of `file`, and claims its digest."""
    return there is not None and (there.size_bytes, there.sha256) == (file.size_bytes, file.sha256)


def _write(bucket: Bucket, url: RegistryUrl, manifest: Manifest, *, only_new: bool) -> Manifest:
    """Write the manifest, by which the version begins to be; return the one that is there then."""
    key, data = url.key(manifest.model.manifest), manifest.to_json().encode()
    try:
        bucket.put_bytes(key, data, only_new=only_new)
    except ObjectExists:
        # Written by another push of the same, or by this one, whose answer was lost on the way.
        there = read_manifest(bucket, url, manifest.model)
        if there is None or there.sha256 != manifest.sha256:
            raise _theirs(bucket, url, manifest.model) from None
        return there
    return manifest


def _theirs(bucket: Bucket, url: RegistryUrl, model: RegistryModel) -> RegistryFault:
    return RegistryFault(
        f"{model} was pushed to {url} by someone else meanwhile, with another content\n"
        f"next: push yours as {_free(bucket, url, model)}",
        lasting=True,
    )


def _other_content(
    url: RegistryUrl,
    model: RegistryModel,
    free: RegistryModel,
    there: Manifest,
    files: tuple[LocalFile, ...],
) -> RegistryFault:
    before = {file.path: file.sha256 for file in there.files}
    now = {file.path: file.sha256 for file in files}
    differing = sorted(
        path for path in before.keys() | now.keys() if before.get(path) != now.get(path)
    )
    named = ", ".join(differing[:_MOST_NAMED]) + (", …" if len(differing) > _MOST_NAMED else "")
    return RegistryFault(
        f"{model} is in {url} since {there.created} with another content ({named}), and a version "
        f"never changes\nnext: push this as {free}, or a higher version",
        lasting=True,
    )


def _free(bucket: Bucket, url: RegistryUrl, model: RegistryModel) -> RegistryModel:
    """Return the first version after all that there are; where none are told, the next one."""
    taken = [model.version]
    with suppress(RegistryFault):
        there = list_models(bucket, url, model.name)
        taken += [one.version for one in (*there.models, *there.unfinished)]
    return RegistryModel(model.name, max(taken) + 1)
