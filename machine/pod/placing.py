"""A server's model pulled to its volume, and put where the server looks for it.

It imports the downloader, which needs `requests`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from components.models.reference import (
    HubFile,
    ModelReference,
    ModelReferenceError,
    UrlFile,
    parse_model_reference,
)
from machine.errors import Permanent, StageError, Temporary
from machine.pod.wanted import Form, Wanted
from scripts.models.ensure import ModelError, ModelFile, Patience, ensure_model
from scripts.models.progress import amount
from scripts.models.snapshot import ensure_snapshot
from scripts.models.store import Form as SnapshotForm
from scripts.models.transport import Obstacle

PAUSES_SECONDS = (15.0, 60.0, 120.0)
"""Between the tries of one run, each of which has tries of its own for every file."""
ONE_FILE = "model.gguf"
"""What a GGUF model of one file is called beside its own name."""

Say = Callable[[str], None]


def place_with_patience(
    wanted: Wanted, volume: Path, say: Say, sleep: Callable[[float], None]
) -> str:
    """Place the model as `place` does, trying again after `PAUSES_SECONDS`."""
    patience = Patience(sleep=sleep)
    for pause in PAUSES_SECONDS:
        try:
            return place(wanted, volume, say, patience)
        except Temporary as error:
            say(f"{error.message.splitlines()[0]}; trying again in {pause:.0f} s")
            sleep(pause)
    return place(wanted, volume, say, patience)


def place(wanted: Wanted, volume: Path, say: Say, patience: Patience) -> str:
    """Have the model in `volume`/served/SERVER, and return in words what is there.

    That is a link to a folder for OpenVINO, and a folder of links to the model's files for GGUF.
    Raises `Permanent` or `Temporary`.
    """
    cache, served = volume / "store", volume / "served" / wanted.server
    try:
        reference = _hosted(parse_model_reference(wanted.model))
        if wanted.form is Form.OPENVINO:
            whole = ensure_snapshot(
                _repository(reference),
                cache=cache,
                report=say,
                patience=patience,
                form=SnapshotForm.OPENVINO,
            )
            _link(served, whole.path)
            return f"{wanted.model}: {amount(whole.size_bytes)}, commit {whole.commit}"
        file = ensure_model(reference, cache=cache, report=say, patience=patience)
        _check_first_named(reference, file)
        _link_each(served, file)
    except ModelReferenceError as error:
        raise Permanent(str(error)) from None
    except ModelError as error:
        raise _refused(error) from None
    except OSError as error:
        raise Temporary(f"{error.filename or served}: {error.strerror}") from None
    return f"{wanted.model}: {amount(file.size_bytes)}, sha256 {file.sha256}"


def _hosted(reference: ModelReference) -> HubFile | UrlFile:
    if isinstance(reference, HubFile | UrlFile):
        return reference
    raise Permanent(
        f"{reference} is not on any server that a pod could pull it from\n"
        "next: set model to a repository of the hub, or to a URL"
    )


def _repository(reference: HubFile | UrlFile) -> HubFile:
    if isinstance(reference, HubFile):
        return reference
    raise Permanent(
        f"{reference} is one file, and OpenVINO Model Server needs a folder of them\n"
        "next: set model to OWNER/REPO, or OWNER/REPO@REVISION"
    )


def _check_first_named(reference: HubFile | UrlFile, file: ModelFile) -> None:
    """Raise `Permanent` unless the server knows the name of the model's first file."""
    if len(file.parts) == 1 or isinstance(reference, UrlFile) or reference.names_file:
        return
    repository = str(reference).partition(":")[0]
    raise Permanent(
        f"{reference} has its model in {len(file.parts)} parts, and the server has to be told the "
        f"first one's name\nnext: set model to {repository}:{file.path.name}"
    )


def _link_each(folder: Path, file: ModelFile) -> None:
    """Make `folder` anew with a link to each part of the model, which are found by their names."""
    links = {part.path.name: part.path for part in file.parts}
    if len(file.parts) == 1:
        links[ONE_FILE] = file.path
    fresh = folder.with_name(f".{folder.name}")
    _remove(fresh)
    fresh.mkdir(parents=True)
    for name, path in links.items():
        # As it is seen from where the folder will be.
        (fresh / name).symlink_to(os.path.relpath(path, folder))
    _remove(folder)
    fresh.rename(folder)


def _link(place: Path, folder: Path) -> None:
    """Make `place` a link to `folder`, relative to it, so that it holds wherever it is mounted."""
    fresh = place.with_name(f".{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove(fresh)
    fresh.symlink_to(os.path.relpath(folder, place.parent))
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    fresh.replace(place)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refused(error: ModelError) -> StageError:
    match error.obstacle:
        case Obstacle.PASSING:
            return Temporary(str(error))
        case Obstacle.SPACE:
            # The downloader's own advice is for a person's machine.
            return Permanent(
                f"{str(error).splitlines()[0]}\nnext: set cache_gb higher, which makes larger "
                "volumes at the next up, or choose a smaller model"
            )
        case Obstacle.LASTING:
            return Permanent(str(error))
