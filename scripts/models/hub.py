"""The Hugging Face hub's API: which files a reference names, at which commit, with which digest.

`GET /api/models/{owner}/{repo}/revision/{revision}` gives the commit as `sha`;
`GET /api/models/{owner}/{repo}/tree/{commit}?recursive=true` lists the files, a page at a time,
an LFS file with its sha256 as `lfs.oid`, any other with git's id of its content as `oid`;
`GET /{owner}/{repo}/resolve/{commit}/{path}` is the file, by way of a redirect to where it is
stored. Errors carry a reason in the header `X-Error-Code`. (As the hub's own Python client,
huggingface_hub 2.4.0, uses it.)
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import cast
from urllib.parse import quote, urlsplit

import requests

from components.models.reference import HubFile, is_loopback, shown, split_names
from scripts.models.download import Wanted
from scripts.models.transport import Client, ModelError, Token, origin_of

_DEFAULT_ENDPOINT = "https://huggingface.co"
_PREFERRED_QUANTS = ("Q4_K_M", "Q8_0")
_MOST_PAGES = 100
_MOST_LISTED = 40

# What llama.cpp (common/download.cpp) does not take for a model by itself either: projectors,
# importance matrices, and drafts for speculative decoding.
_COMPANIONS = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q|TQ)\d[A-Z0-9_]*|BF16|FP?16|FP?32|MXFP4[A-Z0-9_]*|NVFP4)$", re.I
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubEntry:
    """A file as the hub lists it.

    `sha256` is of a file kept as an LFS object; `blob_id`, git's id of the content, of one that is
    not. Each is None for the other kind, and where the hub does not say it.
    """

    path: str
    size_bytes: int
    sha256: str | None
    url: str
    blob_id: str | None = None

    @property
    def name(self) -> str:
        """The file's name without the folders of the repository."""
        return PurePosixPath(self.path).name

    def wanted(
        self,
        reference: HubFile,
        name: str,
        pinned: str | None,
        pin_file: Path,
        *,
        gguf: bool = True,
    ) -> Wanted:
        """Return what to download, as the file `name`, held to the sha256 that is `pinned`."""
        sha256 = pinned or self.sha256
        of_hub = sha256 == self.sha256
        return Wanted(
            name=name,
            url=self.url,
            sha256=sha256,
            size_bytes=self.size_bytes,
            vouched_by="the hub says" if of_hub else "it is pinned to",
            mismatch_step="run it again; if it stays, what lies between damages downloads: "
            "pull it on another network"
            if of_hub
            else f"delete {pin_file} to take the new content",
            refuse=refusal(reference),
            blob_id=self.blob_id,
            gguf=gguf,
        )


@dataclass(frozen=True)
class Resolution:
    """Files of a repository at a commit. Those of one GGUF model are its parts in order."""

    commit: str
    files: tuple[HubEntry, ...]


def endpoint() -> str:
    """Return the hub's address from HF_ENDPOINT, without a slash at its end."""
    address = (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ModelError(
            f"HF_ENDPOINT is {shown(address)!r}, which is no address of a hub\n"
            f"next: set it to something like {_DEFAULT_ENDPOINT}, or unset it"
        )
    return address


def token() -> Token | None:
    """Return HF_TOKEN for the hub's origin; None where it is unset.

    Raises `ModelError` where it can't be a token, or would cross a network in the clear.
    """
    secret = os.environ.get("HF_TOKEN", "").strip()
    if not secret:
        return None
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise ModelError(
            "HF_TOKEN has characters that no token has\nnext: set it to one token, or unset it"
        )
    address = endpoint()
    parts = urlsplit(address)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ModelError(
            f"HF_TOKEN would be sent in the clear to {shown(address)}\n"
            "next: set HF_ENDPOINT to an https:// address, or unset HF_TOKEN"
        )
    return Token(origin_of(address), secret)


def hub_answers(timeout_seconds: float = 3.0) -> bool:
    """Whether the hub can be reached: it gave an HTTP answer below 500 within `timeout_seconds`."""
    try:
        address = f"{endpoint()}/api/models?limit=1"
    except ModelError:
        return False
    answers: list[int] = []

    def ask() -> None:
        try:
            with requests.get(
                address, timeout=timeout_seconds, stream=True, allow_redirects=False
            ) as response:
                answers.append(response.status_code)
        except (OSError, ValueError):
            return

    # A name server that is silent would hold the caller longer than any timeout of the request.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout_seconds)
    # 407 is a proxy's own answer: the hub was not asked.
    return bool(answers) and answers[0] < 500 and answers[0] != 407


def resolve(reference: HubFile, client: Client) -> Resolution:
    """Ask the hub what `reference` names; raises `ModelError` unless that is one model."""
    listing = list_files(reference, client)
    by_path = {entry.path: entry for entry in listing.files}
    chosen = choose(reference, sorted(by_path))
    return Resolution(listing.commit, tuple(by_path[path] for path in chosen))


def list_files(reference: HubFile, client: Client) -> Resolution:
    """Ask the hub for all files of the repository at the commit that its revision stands for."""
    address = endpoint()
    repository = f"{reference.owner}/{reference.repo}"
    revision = quote(reference.revision, safe="")
    found, _ = client.read_json(
        f"{address}/api/models/{repository}/revision/{revision}", refusal(reference)
    )
    commit = _text(_mapping(found).get("sha"))
    if not _COMMIT.fullmatch(commit):
        raise _unreadable(repository)
    return Resolution(commit, tuple(_list_commit(reference, commit, client)))


def refusal(reference: HubFile) -> Callable[[requests.Response], ModelError]:
    """Return what makes an error of the hub's refusal of a request about `reference`."""
    repository = f"{reference.owner}/{reference.repo}"

    def explain(response: requests.Response) -> ModelError:
        status, code = response.status_code, response.headers.get("X-Error-Code", "")
        page = shown(f"{endpoint()}/{repository}")
        signed_in = bool(os.environ.get("HF_TOKEN", "").strip())
        if code == "GatedRepo" or (status == 403 and code != "RepoNotFound"):
            why = f"{repository} is {'gated' if code else 'not open to everyone'}"
            step = f"accept its licence at {page}"
            step += (
                " with the account that HF_TOKEN is of"
                if signed_in
                else ", then set HF_TOKEN to a token of that account"
            )
        elif status == 401 and signed_in:
            why = f"the hub takes no HF_TOKEN like this one, or has no {repository} for it"
            step = f"make a token in the hub's settings, accept the licence at {page} if it has one"
        elif status == 401:
            why = f"{repository} is misspelt, private or gated"
            step = f"look at {page}; if it is there, accept its licence and set HF_TOKEN"
        elif code == "EntryNotFound":
            why = f"{repository} has no such file at revision {reference.revision}"
            step = f"choose one of {page}/tree/{reference.revision}"
        elif code == "RevisionNotFound":
            why = f"{repository} has no revision {reference.revision}"
            step = f"choose a branch, tag or commit of {page}/tree/main"
        elif code == "RepoNotFound":
            why = f"the hub has no repository {repository}"
            step = f"search for it at {shown(endpoint())}/models"
        elif status == 404:
            why = f"the hub has no {repository}, or not its revision {reference.revision}"
            step = f"look at {page}"
        else:
            why = "the hub refuses it"
            step = f"look at {page}, or name another source of the model"
        return ModelError(f"{shown(response.url)} answered {status}: {why}\nnext: {step}")

    return explain


def choose(reference: HubFile, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths, first part first, of the one model in `paths` that `reference` names.

    By quantisation, a file whose label is the selector comes before one that has it elsewhere in
    its path. Without a selector: Q4_K_M, else Q8_0, as llama.cpp's `-hf` does, else the only model
    there is. Raises `ModelError` for none, and for several, with what there is.
    """
    repository = f"{reference.owner}/{reference.repo}"
    if reference.selector is not None and reference.names_file:
        return _whole(_named(reference.selector, paths, repository), paths, repository)
    models = _models(paths)
    if not models:
        others = any(path.endswith(".safetensors") for path in paths)
        raise ModelError(
            f"{repository} has no GGUF file"
            + (", only safetensors weights, which the engine vllm loads" if others else "")
            + f"\nnext: look for a repository such as {reference.repo}-GGUF"
        )
    wanted = _PREFERRED_QUANTS if reference.selector is None else (reference.selector,)
    for quant in wanted:
        if matching := _with_quant(quant, models):
            return _whole(_only(matching, quant, repository), paths, repository)
    if reference.selector is None:
        return _whole(_only(models, " or ".join(wanted), repository), paths, repository)
    labels = sorted({label for path in models if (label := _label(path))})
    raise ModelError(
        f"{repository} has no model with quantisation {reference.selector}; it has "
        f"{_listed(labels or models)}\nnext: name one of these after the :"
    )


def _named(file: str, paths: Sequence[str], repository: str) -> str:
    if file in paths:
        return file
    same_name = [path for path in paths if PurePosixPath(path).name == file]
    if len(same_name) == 1:
        return same_name[0]
    there = [path for path in paths if path.lower().endswith(".gguf")]
    near = same_name or get_close_matches(file, there, n=3)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise ModelError(
        f"{repository} has no file {file}{meant}; its GGUF files are {_listed(there) or 'none'}\n"
        "next: name one of these after the :"
    )


def _models(paths: Sequence[str]) -> list[str]:
    """Return the GGUF files that are a model, a split one by its first part alone."""
    return [
        path
        for path in paths
        if path.lower().endswith(".gguf")
        and not any(word in PurePosixPath(path).name.lower() for word in _COMPANIONS)
        and split_names(path)[0] == path
    ]


def _label(path: str) -> str | None:
    """Return the quantisation that a model's name ends in, as `Q4_K_M`; None where it has none."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", path, flags=re.IGNORECASE)
    match = _LABEL.search(stem)
    return match[1].upper() if match else None


def _with_quant(quant: str, models: Sequence[str]) -> list[str]:
    labelled = [path for path in models if _label(path) == quant.upper()]
    if labelled:
        return labelled
    anywhere = re.compile(rf"(?:^|[-._/]){re.escape(quant)}(?=[-._/])", re.IGNORECASE)
    return [path for path in models if anywhere.search(path)]


def _only(models: Sequence[str], quant: str, repository: str) -> str:
    if len(models) == 1:
        return models[0]
    raise ModelError(
        f"{repository} has {len(models)} models where {quant} should name one: {_listed(models)}\n"
        "next: name one of these files after the :"
    )


def _whole(first: str, paths: Sequence[str], repository: str) -> tuple[str, ...]:
    parts = split_names(first)
    missing = [part for part in parts if part not in paths]
    if missing:
        raise ModelError(
            f"{repository} lacks {_listed(missing)}, a part of {first}\n"
            "next: name another file or another repository"
        )
    return parts


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _list_commit(reference: HubFile, commit: str, client: Client) -> list[HubEntry]:
    address, repository = endpoint(), f"{reference.owner}/{reference.repo}"
    page: str | None = f"{address}/api/models/{repository}/tree/{commit}?recursive=true"
    files: list[HubEntry] = []
    for _ in range(_MOST_PAGES):
        if page is None:
            return files
        listed, page = client.read_json(page, refusal(reference))
        if not isinstance(listed, list):
            raise _unreadable(repository)
        for item in cast(list[object], listed):
            entry = _mapping(item)
            if entry.get("type") == "file":
                files.append(_entry(entry, f"{address}/{repository}/resolve/{commit}", repository))
    if page is None:
        return files
    raise ModelError(
        f"{repository} has too many files to list\nnext: name the file by its URL at the hub"
    )


def _entry(item: dict[str, object], base: str, repository: str) -> HubEntry:
    path = _text(item.get("path"))
    lfs = _mapping(item.get("lfs")) if item.get("lfs") is not None else None
    size = item.get("size") if lfs is None else lfs.get("size")
    digest = None if lfs is None else _text(lfs.get("oid")).removeprefix("sha256:")
    if not path or not isinstance(size, int):
        raise _unreadable(repository)
    if digest is not None and not _SHA256.fullmatch(digest):
        raise _unreadable(repository)
    blob_id = _text(item.get("oid")) if lfs is None else ""
    return HubEntry(
        path=path,
        size_bytes=size,
        sha256=digest,
        url=f"{base}/{quote(path)}",
        blob_id=blob_id if _BLOB_ID.fullmatch(blob_id) else None,
    )


def _mapping(value: object) -> dict[str, object]:
    return cast(dict[str, object], value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _unreadable(repository: str) -> ModelError:
    return ModelError(
        f"the hub's answer about {repository} is not of the form that its API has\n"
        "next: check HF_ENDPOINT, or name the file by its URL"
    )
