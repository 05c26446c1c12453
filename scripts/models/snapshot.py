"""A whole Hugging Face repository on this machine: what an engine loads by its folder.

It is pulled once, at the commit that its revision stands for then, and held to that commit: a file
that is lost or damaged is pulled again from there, whatever the revision has become.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from components.models.reference import HubFile, shown
from scripts.models import hub, openvino, safetensors
from scripts.models.download import Wanted, cache_faults, check_space, download, hash_file, keep
from scripts.models.ensure import ModelPart
from scripts.models.progress import amount
from scripts.models.store import Form, Pin, Store, StoredFile, Whole, read_pin, recheck, write_pin
from scripts.models.transport import Client, ModelError, Obstacle, Patience

_CHOOSERS = {Form.SAFETENSORS: safetensors.choose, Form.OPENVINO: openvino.choose}


@dataclass(frozen=True)
class Snapshot:
    """A repository's files in the folder `path`, under the names that they have there.

    `size_bytes` counts all of `files`. `commit` is the one that they are of.
    """

    path: Path
    size_bytes: int
    commit: str
    files: tuple[ModelPart, ...]


def ensure_snapshot(
    reference: HubFile,
    *,
    cache: Path,
    report: Callable[[str], None],
    patience: Patience | None = None,
    form: Form = Form.SAFETENSORS,
) -> Snapshot:
    """Have what an engine of `form` needs of the repository that `reference` names, in one folder.

    What was pulled before is found without a network. Raises `ModelError`, one message with the
    next step, where it can't be had.
    """
    if reference.selector is not None:
        raise ModelError(
            f"{reference} names one model of a repository of GGUF files, and the engine takes a "
            f"whole repository of {form}\nnext: name one by owner/repo, or by "
            f"owner/repo@revision; for {reference}: scripts/pulumi config set engine llama_cpp"
        )
    store = Store(cache)
    with cache_faults(cache):
        pin = _ensure(Whole(reference, form), store, report, patience or Patience())
    folder = store.contents(pin.folder)
    return Snapshot(
        path=folder,
        size_bytes=sum(file.size_bytes for file in pin.files),
        commit=pin.commit or "",
        files=tuple(ModelPart(folder / one.name, one.sha256, one.size_bytes) for one in pin.files),
    )


def choose(what: Whole, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of a repository's `paths` that an engine of its form needs.

    Raises `ModelError` where that can't be loaded, or a path would leave the folder.
    """
    chosen = _CHOOSERS[what.form](what.repository, paths)
    for path in chosen:
        _check_inside(what.repository, path)
    return chosen


def _check_inside(reference: HubFile, path: str) -> None:
    parts = path.split("/")
    if set(parts) & {"", ".", ".."} or "\\" in path or not path.isprintable():
        raise ModelError(
            f"{reference} has a file {path!r}, which is no name for a file in a folder\n"
            "next: name another repository"
        )


def _ensure(what: Whole, store: Store, report: Callable[[str], None], patience: Patience) -> Pin:
    """Return the pin of files that are all in their place."""
    pin, whole = _look(what, store, report)
    if pin and len(whole) == len(pin.files):
        return pin
    with store.locked(what, patience, report):
        pin, whole = _look(what, store, report)
        if pin and len(whole) == len(pin.files):
            return pin
        with Client(patience, report, hub.token()) as client:
            fresh = _pull(what, pin, whole, store, client)
        write_pin(store.pin_file(what), fresh)
    return fresh


def _look(
    what: Whole, store: Store, report: Callable[[str], None]
) -> tuple[Pin | None, dict[str, StoredFile]]:
    """Return the pin, and by name those of its files that are there and whole."""
    pin = read_pin(store.pin_file(what))
    if pin is None:
        return None, {}
    folder = store.contents(pin.folder)
    checked = [(noted, recheck(folder / noted.name, noted, report)) for noted in pin.files]
    files = tuple(found or noted for noted, found in checked)
    if files != pin.files:
        pin = replace(pin, files=files)
        write_pin(store.pin_file(what), pin)
    return pin, {found.name: found for _, found in checked if found is not None}


def _pull(
    what: Whole, pin: Pin | None, whole: dict[str, StoredFile], store: Store, client: Client
) -> Pin:
    """Bring what is missing into its place, and return the pin of all."""
    commit, entries = _listed(what, pin, store, client)
    pinned = {file.name: file.sha256 for file in pin.files} if pin else {}
    pin_file = store.pin_file(what)
    wanted = [
        entry.wanted(what.repository, entry.path, pinned.get(entry.path), pin_file, gguf=False)
        for entry in entries
    ]
    name = pin.folder if pin else _folder_name(commit, wanted)
    files = {**_adopted(wanted, whole, store.contents(name), client.report), **whole}
    missing = [each for each in wanted if each.name not in files]
    incoming = store.incoming(what)
    sizes = sum(each.size_bytes or 0 for each in missing)
    partials = {each.name: incoming / f"{each.name}.partial" for each in missing}
    there = sum(path.stat().st_size for path in partials.values() if path.exists())
    check_space(incoming, max(0, sizes - there), sizes)
    if pin:
        client.report(
            f"{what.repository} is pinned to the commit {commit}: pulling from there what is "
            f"missing; to have what {what.repository.revision} is now, delete {pin_file}"
        )
    client.report(f"pulling {what} ({amount(sizes)}): {len(missing)} file(s) to {incoming}")
    for each in missing:
        partial, place = partials[each.name], store.contents(name) / each.name
        partial.parent.mkdir(parents=True, exist_ok=True)
        came = download(each, partial, client)
        keep(partial, place)
        files[each.name] = StoredFile.of(place, came.sha256, each.name)
    shutil.rmtree(incoming, ignore_errors=True)
    client.report(f"pulled {what}: {amount(sizes)}, commit {commit}")
    return Pin(
        reference=str(what),
        url=shown(f"{hub.endpoint()}/{what.repository.owner}/{what.repository.repo}/tree/{commit}"),
        commit=commit,
        files=tuple(files[each.name] for each in wanted),
        when=pin.when if pin else datetime.now(UTC).isoformat(timespec="seconds"),
        folder=name,
    )


def _listed(
    what: Whole, pin: Pin | None, store: Store, client: Client
) -> tuple[str, list[hub.HubEntry]]:
    """Return the commit, and its files that are needed: those of the pin, where there is one."""
    reference = what.repository
    if pin is None or pin.commit is None:
        listing = hub.list_files(reference, client)
        by_path = {entry.path: entry for entry in listing.files}
        return listing.commit, [by_path[path] for path in choose(what, sorted(by_path))]
    anew = f"delete {store.pin_file(what)} to have what {reference.revision} is now"
    try:
        listing = hub.list_files(replace(reference, revision=pin.commit), client)
    except ModelError as error:
        if error.obstacle is Obstacle.LASTING:
            raise ModelError(f"{error}; if the hub has that commit no more, {anew}") from None
        raise
    by_path = {entry.path: entry for entry in listing.files}
    lost = [file.name for file in pin.files if file.name not in by_path]
    if lost:
        raise ModelError(
            f"{reference} is pinned to the commit {pin.commit}, which at the hub has no "
            f"{', '.join(lost)}\nnext: {anew}"
        )
    return listing.commit, [by_path[file.name] for file in pin.files]


def _adopted(
    wanted: Sequence[Wanted],
    whole: dict[str, StoredFile],
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, StoredFile]:
    """Return the files that another reference, or a run that was broken off, has brought."""
    found: dict[str, StoredFile] = {}
    for each in wanted:
        path = folder / each.name
        if each.name in whole or each.content is None or not path.is_file():
            continue
        if path.stat().st_size == each.size_bytes:
            sha256 = hash_file(path, report)
            if each.mismatch(path, sha256) is None:
                found[each.name] = StoredFile.of(path, sha256, each.name)
    return found


def _folder_name(commit: str, wanted: Sequence[Wanted]) -> str:
    """Return a name of the folder for these files: the same for the same names and contents."""
    lines = "".join(f"{each.name}\0{each.content or commit}\n" for each in wanted)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
