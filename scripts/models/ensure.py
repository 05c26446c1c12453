"""A model reference made a file on this machine: found in the cache, pulled, checked, or made."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from components.models.gguf_header import MAGIC, describe_start
from components.models.reference import (
    Builtin,
    HubFile,
    ModelReference,
    PathFile,
    UrlFile,
    shown,
    split_names,
)
from scripts.models import hub
from scripts.models.download import (
    Wanted,
    cache_faults,
    check_space,
    download,
    hash_file,
    keep,
)
from scripts.models.hub import hub_answers
from scripts.models.progress import amount
from scripts.models.store import Pin, Store, StoredFile, read_pin, recheck, write_pin
from scripts.models.transport import Client, ModelError, Patience

__all__ = ["ModelError", "ModelFile", "ModelPart", "Patience", "ensure_model", "hub_answers"]

_LONGEST_FILE_NAME_BYTES = 200
_STAND_IN_BYTES = 8_000_000


@dataclass(frozen=True)
class ModelPart:
    """One file of a model."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class ModelFile:
    """A model on this machine.

    `path` and `sha256` are of its file, of the first one where it is split: an engine is given
    that one and finds the others by name. `size_bytes` counts all of `parts`. `reference` is the
    canonical form of what was asked for.
    """

    path: Path
    sha256: str
    size_bytes: int
    reference: str
    stand_in: bool
    parts: tuple[ModelPart, ...]


@dataclass(frozen=True)
class _Source:
    """What to pull for a reference, and what to note of where it came from."""

    files: tuple[Wanted, ...]
    commit: str | None


def ensure_model(
    reference: ModelReference,
    *,
    cache: Path,
    report: Callable[[str], None],
    patience: Patience | None = None,
) -> ModelFile:
    """Have the model that `reference` names on this machine, and return its file.

    What was pulled before is found without a network. A relative path starts at the current
    folder. Raises `ModelError`, one message with the next step, where it can't be had.
    """
    store = Store(cache)
    with cache_faults(cache):
        match reference:
            case PathFile():
                return _local(reference, store, report)
            case Builtin():
                return _builtin(reference, store)
            case HubFile() | UrlFile():
                return _remote(reference, store, report, patience or Patience())


def _remote(
    reference: HubFile | UrlFile,
    store: Store,
    report: Callable[[str], None],
    patience: Patience,
) -> ModelFile:
    pin = read_pin(store.pin_file(reference))
    if pin and (found := _in_cache(reference, store, pin, report)):
        return found
    with store.locked(reference, patience, report):
        pin = read_pin(store.pin_file(reference))
        if pin and (found := _in_cache(reference, store, pin, report)):
            return found
        of_hub = isinstance(reference, HubFile)
        with Client(patience, report, hub.token() if of_hub else None) as client:
            source = (
                _at_hub(reference, client, store, pin)
                if isinstance(reference, HubFile)
                else _at_url(reference, store, pin)
            )
            files = _adopt(source, store, report) or _pull(reference, source, store, client)
        fresh = Pin(
            reference=shown(str(reference)),
            url=shown(source.files[0].url),
            commit=source.commit,
            files=files,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_pin(store.pin_file(reference), fresh)
    if pin is None and source.files[0].sha256 is None:
        report(
            f"{fresh.reference} has the sha256 {files[0].sha256}, for which only its server "
            f"vouches; add #sha256={files[0].sha256} to hold every machine to this content"
            if isinstance(reference, UrlFile)
            else f"the hub has no sha256 of {fresh.reference}: it is pinned to {files[0].sha256}"
        )
    return _model_file(reference, store.folder(fresh.digests), files)


def _in_cache(
    reference: ModelReference, store: Store, pin: Pin, report: Callable[[str], None]
) -> ModelFile | None:
    """Return the pinned files if all are whole, hashing again what has another size or time."""
    folder = store.folder(pin.digests)
    files: list[StoredFile] = []
    for noted in pin.files:
        file = recheck(folder / noted.name, noted, report)
        if file is None:
            return None
        files.append(file)
    if tuple(files) != pin.files:
        renewed = Pin(pin.reference, pin.url, pin.commit, tuple(files), pin.when)
        write_pin(store.pin_file(reference), renewed)
    return _model_file(reference, folder, files)


def _at_hub(reference: HubFile, client: Client, store: Store, pin: Pin | None) -> _Source:
    now = hub.resolve(reference, client)
    stated = tuple(entry.sha256 for entry in now.files)
    if pin and None not in stated and stated != pin.digests:
        raise _changed(reference, pin, stated, now.commit, store)
    return _Source(
        tuple(
            entry.wanted(reference, entry.name, _pinned(pin, index), store.pin_file(reference))
            for index, entry in enumerate(now.files)
        ),
        now.commit,
    )


def _changed(
    reference: HubFile, pin: Pin, stated: Sequence[str | None], commit: str, store: Store
) -> ModelError:
    pairs = zip(pin.digests, stated, strict=False)
    old, new = next((pair for pair in pairs if pair[0] != pair[1]), (pin.digests, stated))
    selector = f":{reference.selector}" if reference.selector else ""
    return ModelError(
        f"{reference} is another file now: pulled at {pin.when} it had the sha256 {old}, "
        f"the hub has {new}\n"
        f"next: to keep the first, name its commit: "
        f"{reference.owner}/{reference.repo}@{pin.commit}{selector}; to take the new one "
        f"(commit {commit}), delete {store.pin_file(reference)}"
    )


def _at_url(reference: UrlFile, store: Store, pin: Pin | None) -> _Source:
    parts = urlsplit(reference.url)
    paths = split_names(parts.path)

    def wanted(index: int, path: str) -> Wanted:
        said = reference.sha256 if index == 0 else None
        return Wanted(
            name=_file_name(path),
            url=parts._replace(path=path).geturl(),
            sha256=said or _pinned(pin, index),
            size_bytes=None,
            vouched_by="the reference says" if said else "it is pinned to",
            mismatch_step="correct the sha256 in the reference, or the address"
            if said
            else f"if the new content is meant, delete {store.pin_file(reference)}",
            refuse=_refusal,
        )

    return _Source(tuple(wanted(index, path) for index, path in enumerate(paths)), None)


def _refusal(response: requests.Response) -> ModelError:
    status = response.status_code
    why = {
        401: "the server wants a login",
        403: "the server refuses it to you",
        404: "there is no such file",
        410: "the file is gone",
    }.get(status, "the server does not give the file")
    step = "check the address, or download the file elsewhere and name it by its path"
    if status in {401, 403}:
        step += "; a model of the hub is named owner/repo:file, for which HF_TOKEN is used"
    return ModelError(f"{shown(response.url)} answered {status}: {why}\nnext: {step}")


def _pinned(pin: Pin | None, index: int) -> str | None:
    return pin.digests[index] if pin and index < len(pin.digests) else None


def _adopt(
    source: _Source, store: Store, report: Callable[[str], None]
) -> tuple[StoredFile, ...] | None:
    """Return the files of the source if another reference has already brought them."""
    digests = [wanted.sha256 for wanted in source.files if wanted.sha256 is not None]
    if len(digests) != len(source.files):
        return None
    found: list[StoredFile] = []
    for wanted, digest in zip(source.files, digests, strict=True):
        path = store.folder(digests) / wanted.name
        if not path.is_file() or wanted.size_bytes not in {None, path.stat().st_size}:
            return None
        if hash_file(path, report) != digest:
            return None
        found.append(StoredFile.of(path, digest))
    return tuple(found)


def _pull(
    reference: ModelReference, source: _Source, store: Store, client: Client
) -> tuple[StoredFile, ...]:
    """Download all files of the source, and move them to their place when they are whole."""
    incoming = store.incoming(reference)
    partials = [incoming / f"{wanted.name}.partial" for wanted in source.files]
    sizes = [wanted.size_bytes for wanted in source.files if wanted.size_bytes is not None]
    if len(sizes) == len(source.files):
        there = sum(path.stat().st_size for path in partials if path.exists())
        check_space(incoming, max(0, sum(sizes) - there), sum(sizes))
    size = f" ({amount(sum(sizes))})" if len(sizes) == len(source.files) else ""
    client.report(f"pulling {shown(str(reference))}{size}: {len(partials)} file(s) to {incoming}")
    arrived = [
        download(wanted, partial, client)
        for wanted, partial in zip(source.files, partials, strict=True)
    ]
    digests = [came.sha256 for came in arrived]
    folder = store.folder(digests)
    files: list[StoredFile] = []
    for wanted, partial, digest in zip(source.files, partials, digests, strict=True):
        path = folder / wanted.name
        keep(partial, path)
        files.append(StoredFile.of(path, digest))
    with suppress(OSError):
        incoming.rmdir()
    total = sum(file.size_bytes for file in files)
    client.report(f"pulled {files[0].name}: {amount(total)}, sha256 {digests[0]}")
    return tuple(files)


def _local(reference: PathFile, store: Store, report: Callable[[str], None]) -> ModelFile:
    """Return a file that lies elsewhere. Its digest is noted in the cache, never beside it."""
    try:
        path = Path(reference.path).expanduser().absolute()
    except RuntimeError:
        raise ModelError(
            f"{reference}: this user has no home folder\nnext: write the whole path"
        ) from None
    paths = [path.with_name(name) for name in split_names(path.name)]
    for each in paths:
        _check_readable(each)
    notes = store.path_file(path)
    known = read_pin(notes)
    earlier = known.files if known and len(known.files) == len(paths) else ()
    files = tuple(
        earlier[index]
        if earlier and earlier[index].is_unchanged(each)
        else StoredFile.of(each, hash_file(each, report))
        for index, each in enumerate(paths)
    )
    if files != earlier:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        write_pin(notes, Pin(str(reference), path.as_uri(), None, files, when))
    return _model_file(reference, path.parent, files)


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ModelError(
            f"{path}: {str(why).lower()}\nnext: correct the path in the config key model"
        ) from None
    if not start.startswith(MAGIC):
        raise ModelError(
            f"{path} is not a GGUF file: it {describe_start(start)}\n"
            "next: name a GGUF file; repositories of them have names that end in -GGUF"
        )


def _builtin(reference: Builtin, store: Store) -> ModelFile:
    """Return the stand-in, made anew where the code that makes it is another now."""
    path = (
        store.incoming(reference).parent.parent / "builtin" / _recipe() / f"{reference.name}.gguf"
    )
    known = read_pin(path.with_suffix(".json"))
    with suppress(FileNotFoundError):
        if known and known.files[0].is_unchanged(path):
            return _model_file(reference, path.parent, known.files)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, _STAND_IN_BYTES, _STAND_IN_BYTES)
    # numpy and gguf take longer to import than all the rest of an unchanged run.
    from scripts.models.stand_in import write_stand_in

    files = (StoredFile.of(path, write_stand_in(path)),)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_pin(path.with_suffix(".json"), Pin(str(reference), path.as_uri(), None, files, when))
    return _model_file(reference, path.parent, files)


def _recipe() -> str:
    """Return a digest of all that decides the stand-in's content: its code and two packages."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("stand_in*.py")):
        digest.update(source.read_bytes())
    for package in ("gguf", "numpy"):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()[:16]


def _model_file(reference: ModelReference, folder: Path, files: Sequence[StoredFile]) -> ModelFile:
    parts = tuple(ModelPart(folder / file.name, file.sha256, file.size_bytes) for file in files)
    return ModelFile(
        path=parts[0].path,
        sha256=parts[0].sha256,
        size_bytes=sum(part.size_bytes for part in parts),
        reference=str(reference),
        stand_in=isinstance(reference, Builtin),
        parts=parts,
    )


def _file_name(path: str) -> str:
    """Return a name for the file behind a URL's path that any file system takes."""
    name = unquote(path.rsplit("/", maxsplit=1)[-1]).replace("/", "_").replace("\0", "_")
    if len(name.encode()) > _LONGEST_FILE_NAME_BYTES or name in {"", ".", ".."}:
        return "model.gguf"
    return name
