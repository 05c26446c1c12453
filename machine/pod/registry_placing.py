"""Models pulled from a registry to a volume, and put where their server looks for them.

It imports the clients of the clouds' storage.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from components.models.registry import RegistryModel
from machine.errors import Permanent, StageError, Temporary
from machine.pod.registry_wanted import Access, Form, Wanted
from scripts.model_registry.bucket import Denied, DiskFull, RegistryFault
from scripts.model_registry.opening import open_bucket
from scripts.model_registry.pull import Pulled, pull
from scripts.models.progress import amount

PAUSES_SECONDS = (15.0, 60.0, 120.0, 240.0)
"""Between the tries of one run, each of which has tries of its own for every file. In all more than
the 7 minutes that Google takes to tell its servers of a role that was granted (Google Cloud's
documentation, "Access change propagation")."""
ONE_FILE = "model.gguf"
"""What the GGUF file of a model is called beside its own name."""

Say = Callable[[str], None]


def place_with_patience(
    wanted: Wanted,
    environment: Mapping[str, str],
    volume: Path,
    say: Say,
    sleep: Callable[[float], None],
) -> str:
    """Place the models as `place` does, trying again after `PAUSES_SECONDS`."""
    for pause in PAUSES_SECONDS:
        try:
            return place(wanted, environment, volume, say)
        except Temporary as error:
            say(f"{error.message.splitlines()[0]}; trying again in {pause:.0f} s")
            sleep(pause)
    return place(wanted, environment, volume, say)


def place(wanted: Wanted, environment: Mapping[str, str], volume: Path, say: Say) -> str:
    """Have the models in `volume`/served/SERVER, remove others, and return in words what is there.

    Raises `Permanent` or `Temporary`.
    """
    store, served = volume / "registry", volume / "served" / wanted.server
    try:
        pulled = _pulled(wanted, environment, store, say)
        _link(wanted, served, {one.model: one.folder for one in pulled})
        _keep_only(store, wanted.models)
    except RegistryFault as fault:
        raise _stage_error(fault, wanted) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(f"{volume} is full", wanted) from None
        raise Temporary(f"{error.filename or served}: {error.strerror}") from None
    return "; ".join(_told(one) for one in pulled)


def _pulled(wanted: Wanted, environment: Mapping[str, str], store: Path, say: Say) -> list[Pulled]:
    """Pull each model to `store`, where others make room where there is none."""
    bucket = open_bucket(wanted.url, environment)

    def pull_all() -> list[Pulled]:
        return [pull(bucket, wanted.url, model, store, say) for model in wanted.models]

    try:
        return pull_all()
    except DiskFull:
        say("there is no room: removing the models that are served no more")
        _keep_only(store, wanted.models)
        return pull_all()


def _told(one: Pulled) -> str:
    return f"{one.model}: {amount(one.manifest.size_bytes)}, sha256 {one.manifest.sha256}"


def _link(wanted: Wanted, served: Path, folders: Mapping[RegistryModel, Path]) -> None:
    """Make `served` anew: links to `folders`, relative, so that they hold wherever that is."""
    if wanted.form is Form.OPENVINO:
        links = {served: folders[wanted.models[0]]}
    elif wanted.form is Form.GGUF:
        file = _only_gguf(wanted.models[0], folders[wanted.models[0]])
        links = {served / file.name: file, served / ONE_FILE: file}
    else:
        links = {served / one.name / str(one.version): path for one, path in folders.items()}
    _remove(served)
    for place, target in links.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(target, place.parent))


def _only_gguf(model: RegistryModel, folder: Path) -> Path:
    """Return the one GGUF file in a model's folder. Raises `Permanent` unless there is one."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".gguf")
    if len(files) == 1:
        return files[0]
    found = ", ".join(path.name for path in files[:5]) or "none"
    raise Permanent(
        f"{model} has to hold one GGUF file for the engine llama_cpp, and has {found}\n"
        "next: push a folder with that file alone as another version, or a model in parts from a "
        "hub; engine ovms loads folders of OpenVINO's files"
    )


def _keep_only(store: Path, models: tuple[RegistryModel, ...]) -> None:
    """Remove what is none of `models`, to which no server's link leads any more."""
    versions: dict[str, set[str]] = {}
    for one in models:
        versions.setdefault(one.name, set()).add(str(one.version))
    for folder in _entries(store):
        kept = versions.get(folder.name)
        if kept is None:
            _remove(folder)
            continue
        for entry in _entries(folder):
            # A version's own folder, and what the puller notes of it beside: `.VERSION.json`.
            if entry.name.lstrip(".").partition(".")[0] not in kept:
                _remove(entry)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _stage_error(fault: RegistryFault, wanted: Wanted) -> StageError:
    if isinstance(fault, DiskFull):
        return _full(fault.message.splitlines()[0], wanted)
    granted_lately = isinstance(fault, Denied) and wanted.access is not Access.SECRET
    if fault.lasting and not granted_lately:
        return Permanent(fault.message)
    return Temporary(fault.message)


def _full(what: str, wanted: Wanted) -> Permanent:
    key = "classic_disk_gb" if wanted.form is Form.CLASSIC else "cache_gb"
    return Permanent(
        f"{what}\nnext: set {key} higher, which makes larger volumes at the next up, or choose "
        "smaller models"
    )
