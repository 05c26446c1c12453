"""The id under which a server lists a model, told from its reference alone."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from components.models.reference import (
    Builtin,
    HubFile,
    ModelReference,
    PathFile,
    UrlFile,
    split_names,
)


def model_id(reference: ModelReference) -> str:
    """Return the id: the file's name without its ending, or the repository and quantisation.

    Commas become `_`, since llama.cpp's `--alias` takes them for a list.
    """
    match reference:
        case HubFile(owner, repo, _, selector):
            if reference.names_file and selector is not None:
                return _stem(selector)
            chosen = "" if selector is None else f":{selector}"
            return f"{owner}/{repo}{chosen}"
        case UrlFile(url):
            return _stem(unquote(urlsplit(url).path))
        case PathFile(path):
            return _stem(path)
        case Builtin(name):
            return name


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    parts = split_names(name)
    stem = PurePosixPath(name).stem if len(parts) == 1 else name.rsplit("-", 3)[0]
    return stem.replace(",", "_")
