"""A registry read again, all of it: does every version have the content its manifest says?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Attempts, Patience, patiently
from scripts.model_registry.bucket import (
    Bucket,
    MissingBucket,
    MissingObject,
    RegistryFault,
    Report,
)
from scripts.model_registry.listing import list_models, missing
from scripts.model_registry.manifest import ManifestFile, read_manifest
from scripts.models.progress import Progress

SCHEMA_VERSION = 1
_LANGUAGE_MODEL = frozenset({"openvino_tokenizer.xml", "openvino_language_model.xml"})
"""Files that OpenVINO's form of a language model has, and other models do not."""
_PROGRESS_BYTES = 1024 * 1024
_DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True)
class CheckedModel:
    """What was found of one version. `sha256` is None where there is no manifest to read.

    `language_model`: its files are of the kind that `model` or `embeddings_model` names.
    """

    model: RegistryModel
    files: int
    size_bytes: int
    sha256: str | None
    problems: tuple[str, ...]
    language_model: bool = False

    def as_json(self) -> dict[str, object]:
        """Return it as in the receipt."""
        return {
            "model": str(self.model),
            "status": "failed" if self.problems else "passed",
            "files": self.files,
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "language_model": self.language_model,
            "problems": list(self.problems),
        }


@dataclass(frozen=True)
class Checked:
    """What was found of a registry. `unfinished` are pushes that began and did not end."""

    url: RegistryUrl
    models: tuple[CheckedModel, ...]
    unfinished: tuple[RegistryModel, ...]

    @property
    def passed(self) -> bool:
        """Whether every version that was looked at is whole."""
        return not any(model.problems for model in self.models)

    def as_json(self) -> dict[str, object]:
        """Return the receipt."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": "passed" if self.passed else "failed",
            "registry": str(self.url),
            "models": [model.as_json() for model in self.models],
            "unfinished": [str(model) for model in self.unfinished],
        }


def check(
    bucket: Bucket,
    url: RegistryUrl,
    models: Sequence[RegistryModel],
    report: Report,
    *,
    patience: Patience = _DEFAULT_PATIENCE,
) -> Checked:
    """Read every file of `models`, or of all that there are, and compare their digests.

    Raises `RegistryFault` where the registry can't be read.
    """
    there = patiently(partial(list_models, bucket, url), patience, report)
    chosen = tuple(models) or there.models
    checked = tuple(_model(bucket, url, model, report, patience) for model in chosen)
    return Checked(url, checked, there.unfinished)


def _model(
    bucket: Bucket, url: RegistryUrl, model: RegistryModel, report: Report, patience: Patience
) -> CheckedModel:
    try:
        manifest = patiently(partial(read_manifest, bucket, url, model), patience, report)
        if manifest is None:
            raise missing(bucket, url, model)
    except MissingBucket:
        raise
    except RegistryFault as fault:
        if not fault.lasting:
            raise
        return CheckedModel(model, 0, 0, None, (fault.message.splitlines()[0],))
    problems: list[str] = []
    for file in manifest.files:
        key = url.key(f"{model.folder}/{file.path}")
        problem = _file(bucket, key, file, report, patience)
        if problem is not None:
            problems.append(f"{file.path} {problem}")
            report(f"{model}: {problems[-1]}")
    count, size = len(manifest.files), manifest.size_bytes
    if not problems:
        report(f"{model}: all {count} file(s) are as they were pushed")
    names = [PurePosixPath(file.path).name for file in manifest.files]
    return CheckedModel(
        model,
        count,
        size,
        manifest.sha256,
        tuple(problems),
        any(name in _LANGUAGE_MODEL or name.endswith(".gguf") for name in names),
    )


def _file(
    bucket: Bucket, key: str, file: ManifestFile, report: Report, patience: Patience
) -> str | None:
    """Return what is wrong with a file; None where nothing is."""
    now = patiently(partial(bucket.stat, key), patience, report)
    if now is None:
        return "is not there"
    try:
        seen, size = _digest(bucket, key, file, report, patience)
    except MissingObject:
        return "is not there in the version that the manifest names"
    if size != file.size_bytes:
        return f"has {size} bytes, not {file.size_bytes}"
    if seen != file.sha256:
        return f"has the sha256 {seen}, not {file.sha256}"
    if None not in {now.version, file.object_version} and now.version != file.object_version:
        return "was overwritten since; the version that the manifest names is still there"
    return None


def _digest(
    bucket: Bucket, key: str, file: ManifestFile, report: Report, patience: Patience
) -> tuple[str, int]:
    """Return the sha256 and size of an object, read whole."""
    attempts = Attempts(patience, report)
    digest = hashlib.sha256()
    size = 0
    progress = Progress("checking", file.path, file.size_bytes, report)
    while True:
        before = size
        try:
            with bucket.open(key, version=file.object_version, start=size) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    progress.add(len(chunk))
        except RegistryFault as fault:
            if size - before >= _PROGRESS_BYTES:
                attempts.progressed()
            attempts.failed(fault)
        else:
            return digest.hexdigest(), size
