"""A folder that is to be pushed: which files of it are the model, and whether it is one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.model_registry.bucket import RegistryFault, Report
from scripts.model_registry.manifest import (
    MOST_FILES,
    ManifestError,
    check_path,
    content_digest,
)
from scripts.models.progress import Progress

_READ_BYTES = 1024 * 1024

FORMATS = (
    "an OpenVINO IR (NAME.xml with NAME.bin), .onnx, .pdmodel with .pdiparams, .tflite, a "
    "TensorFlow SavedModel (saved_model.pb), a GGUF file, or OpenVINO's files of a language model "
    "(openvino_model.xml)"
)


@dataclass(frozen=True)
class LocalFile:
    """A file below the folder: `path` with slashes, `place` on this machine."""

    path: str
    place: Path
    size_bytes: int
    sha256: str


def read_folder(folder: Path, report: Report) -> tuple[LocalFile, ...]:
    """Return the folder's files in the order of their paths, each with its digest.

    Hidden files and folders are left out, which is said. Raises `RegistryFault`, which is lasting.
    """
    try:
        paths = _paths(folder, report)
        _check_model(folder, paths)
        return tuple(_hashed(folder, path, report) for path in paths)
    except OSError as error:
        raise _refuse(
            f"{error.filename or folder}: {(error.strerror or type(error).__name__).lower()}",
            "make it readable for this user",
        ) from None


def digest(files: tuple[LocalFile, ...]) -> str:
    """Return the digest of the content, as a manifest has it."""
    return content_digest([(file.path, file.size_bytes, file.sha256) for file in files])


def _paths(folder: Path, report: Report) -> list[str]:
    if not folder.is_dir():
        there = "is a file" if folder.exists() else "is not there"
        raise _refuse(f"{folder} {there}", "name the folder that the model's files are in")
    root = folder.resolve()
    hidden: list[str] = []
    found: list[str] = []
    for path in _walk(folder, PurePosixPath(), hidden):
        place = folder / path
        if not place.resolve().is_relative_to(root):
            raise _refuse(
                f"{place} is a link out of the folder",
                "put the file itself there: what is pushed should not change with what lies "
                "elsewhere",
            )
        if not place.is_file():
            raise _refuse(f"{place} is no file that can be read", "take it out of the folder")
        try:
            check_path(str(path))
        except ManifestError as error:
            raise _refuse(f"{folder}: {error}", "rename it") from None
        found.append(str(path))
        if len(found) > MOST_FILES:
            raise _refuse(f"{folder} has more than {MOST_FILES} files", "name the model's folder")
    if hidden:
        shown = ", ".join(sorted(hidden)[:5]) + (", …" if len(hidden) > 5 else "")
        report(f"left out, since hidden: {shown}")
    return sorted(found)


def _walk(folder: Path, below: PurePosixPath, hidden: list[str]) -> Iterator[PurePosixPath]:
    with os.scandir(folder / below) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = below / entry.name
            if entry.name.startswith("."):
                hidden.append(str(path))
            elif entry.is_dir(follow_symlinks=False):
                yield from _walk(folder, path, hidden)
            elif entry.is_symlink() and entry.is_dir():
                raise _refuse(
                    f"{folder / path} is a link to a folder", "put the folder itself there"
                )
            else:
                yield path


def _check_model(folder: Path, paths: list[str]) -> None:
    """Raise `RegistryFault` unless there is a model that is served."""
    if not paths:
        raise _refuse(f"{folder} has no files", f"name a folder with {FORMATS}")
    known = set(paths)
    for path in paths:
        stem, _, ending = path.rpartition(".")
        if ending in {"onnx", "tflite", "gguf"} or PurePosixPath(path).name == "saved_model.pb":
            return
        partner = {"xml": "bin", "pdmodel": "pdiparams"}.get(ending)
        if partner is not None and f"{stem}.{partner}" in known:
            return
    alone = [path for path in paths if path.endswith((".xml", ".pdmodel"))]
    if alone:
        raise _refuse(
            f"{folder / alone[0]} is without its weights, the file of the same name that ends in "
            f"{'.bin' if alone[0].endswith('.xml') else '.pdiparams'}",
            "put it beside",
        )
    if any(path.split("/")[0].isdigit() for path in paths):
        raise _refuse(
            f"{folder} has versions of a model, not a model",
            f"push each version by itself: NAME@1 {folder / '1'}",
        )
    raise _refuse(f"{folder} has no model that can be served", f"name a folder with {FORMATS}")


def _hashed(folder: Path, path: str, report: Report) -> LocalFile:
    place = folder / path
    taken = hashlib.sha256()
    size = 0
    progress = Progress("checking", path, place.stat().st_size, report)
    with place.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            taken.update(chunk)
            size += len(chunk)
            progress.add(len(chunk))
    return LocalFile(path, place, size, taken.hexdigest())


def _refuse(what: str, next_step: str) -> RegistryFault:
    return RegistryFault(f"{what}\nnext: {next_step}", lasting=True)
