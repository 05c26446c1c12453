"""What a model reference says, read from text alone: no file is opened and nothing is asked.

Four forms: a GGUF file in a Hugging Face repository, a URL, a path, and a model that this project
makes itself. `str()` of a parsed reference is its canonical form, which parses to the same.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

BUILTINS = ("stand-in",)

FORMS = (
    "a file or a quantisation in a Hugging Face repository "
    "(Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_K_M, or owner/repo@revision:file.gguf), "
    "a URL (https://example.org/model.gguf, with #sha256=HEX to hold it to one content), "
    "a path (/models/model.gguf, ./model.gguf, ~/model.gguf), "
    "or builtin:stand-in"
)

_OTHER_FORMATS = {
    ".safetensors": "safetensors weights, which the engine vllm loads",
    ".bin": "PyTorch weights, which the engine vllm loads",
    ".pt": "PyTorch weights, which the engine vllm loads",
    ".pth": "PyTorch weights, which the engine vllm loads",
    ".onnx": "an ONNX model, which no engine here loads",
    ".xml": "a file of an OpenVINO model: the engine ovms loads its repository (owner/repo)",
    ".ggml": "the format that came before GGUF, which no engine here loads",
}
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")

# The hub's own rule for names: letters, digits, `_`, and `.` or `-` singly inside.
_HUB_NAME = re.compile(r"[A-Za-z0-9_](?:[.-]?[A-Za-z0-9_])*", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]*[A-Za-z0-9_])?", re.ASCII)
_QUANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<end>\.gguf)", re.I)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


class ModelReferenceError(ValueError):
    """A text that names no model: the message has the text, the forms, and a guess where one is."""


@dataclass(frozen=True)
class HubFile:
    """A GGUF file, whole or in parts, in a Hugging Face repository.

    `selector` is a file's path in the repository, or a quantisation such as `Q4_K_M` that exactly
    one model there has. None leaves the choice to a fixed preference. `revision` is a branch, a
    tag or a commit.
    """

    owner: str
    repo: str
    revision: str = "main"
    selector: str | None = None

    @property
    def names_file(self) -> bool:
        """Whether the selector is a file rather than a quantisation."""
        return self.selector is not None and self.selector.lower().endswith(".gguf")

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        selector = "" if self.selector is None else f":{self.selector}"
        return f"{self.owner}/{self.repo}{revision}{selector}"


@dataclass(frozen=True)
class UrlFile:
    """A GGUF file behind a URL. `sha256` is None, or 64 lower-case hex digits."""

    url: str
    sha256: str | None = None

    def __str__(self) -> str:
        return self.url if self.sha256 is None else f"{self.url}#sha256={self.sha256}"


@dataclass(frozen=True)
class PathFile:
    """A GGUF file on this machine. `path` is as it was written: `~` and `./` are not resolved."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Builtin:
    """A model that this project makes."""

    name: str

    def __str__(self) -> str:
        return f"builtin:{self.name}"


ModelReference = HubFile | UrlFile | PathFile | Builtin


def parse_model_reference(text: str) -> ModelReference:
    """Read a model reference; raises `ModelReferenceError` where it is none."""
    if not text.strip():
        raise _refuse(text, "it is empty")
    if text != text.strip():
        raise _refuse(text, "it has white space around it", text.strip())
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise _refuse(text, "it has a control character in it")
    if text.startswith("builtin:"):
        return _builtin(text)
    if scheme := _SCHEME.match(text):
        return _url(text, scheme["scheme"].lower())
    if text.startswith(("/", "./", "../", "~/")):
        return _path(text)
    return _hub(text)


def shown(text: str) -> str:
    """Return a URL or reference without what may be secret in it: user, password and query."""
    if not _SCHEME.match(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return f"{text.split('://', 1)[0]}://…"
    place = parts.netloc.rpartition("@")[2]
    fragment = parts.fragment if parts.fragment.startswith("sha256=") else ""
    return urlunsplit((parts.scheme, place, parts.path, "", fragment))


def split_names(name: str) -> tuple[str, ...]:
    """Return the names of all parts of the split GGUF file that `name` is a part of, in order.

    A file that is not split is its own only part. Splitting is by name, `…-00001-of-00003.gguf`:
    llama.cpp is given the first part and opens the others by theirs.
    """
    match = _SPLIT.fullmatch(name)
    if match is None:
        return (name,)
    count = int(match["count"])
    return tuple(
        f"{match['stem']}-{index:05d}-of-{count:05d}{match['end']}" for index in range(1, count + 1)
    ) or (name,)


def is_loopback(host: str | None) -> bool:
    """Whether `host` names this machine without asking a name server."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse(text: str, why: str, meant: str | None = None) -> ModelReferenceError:
    guess = f"; did you mean {meant}?" if meant else ""
    return ModelReferenceError(
        f"{shown(text)!r} is not a model reference: {why}{guess}\nit takes {FORMS}"
    )


def _builtin(text: str) -> Builtin:
    name = text.removeprefix("builtin:")
    if name not in BUILTINS:
        raise _refuse(text, f"the only builtin is {', '.join(BUILTINS)}", f"builtin:{BUILTINS[0]}")
    return Builtin(name)


def _url(text: str, scheme: str) -> UrlFile:
    if scheme == "file":
        path = unquote(text.split("://", 1)[1])
        raise _refuse(text, "a file on this machine is named by its path", path)
    if scheme in {"hf", "huggingface"}:
        raise _refuse(text, "a hub file is named without a scheme", _from_hub_path(text))
    if scheme not in {"https", "http"}:
        raise _refuse(text, f"{scheme}:// is not a scheme that it can fetch from")
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise _refuse(text, "the URL can't be read") from None
    if not host:
        raise _refuse(text, "the URL names no host")
    if parts.username is not None or parts.password is not None:
        raise _refuse(
            text, "a user or password in a URL would be shown to everyone who reads the config"
        )
    bare = urlunsplit((scheme, parts.netloc, parts.path, parts.query, ""))
    if scheme == "http" and not is_loopback(host):
        raise _refuse(
            text,
            "http:// is taken from this machine only, since anyone on the way can change the file",
            shown(bare.replace("http://", "https://", 1)),
        )
    if host.lower() in _HUB_HOSTS and "/resolve/" not in parts.path:
        raise _refuse(text, "that is a page of the hub, not a file", _from_hub_path(text))
    if parts.path in {"", "/"}:
        raise _refuse(text, "the URL names no file")
    _refuse_other_format(text, parts.path)
    _refuse_later_part(text, parts.path)
    return UrlFile(bare, _sha256(text, parts.fragment))


def _sha256(text: str, fragment: str) -> str | None:
    if not fragment:
        return None
    name, _, digest = fragment.partition("=")
    if name != "sha256":
        raise _refuse(text, "the only fragment it knows is #sha256=HEX")
    digest = digest.lower()
    if not _SHA256.fullmatch(digest):
        raise _refuse(
            text, f"a sha256 is 64 hex digits, and {digest!r} is {len(digest)} characters"
        )
    return digest


def _path(text: str) -> PathFile:
    if text.endswith("/"):
        raise _refuse(text, "it is a folder, and a model is a file")
    _refuse_other_format(text, text)
    _refuse_later_part(text, text)
    return PathFile(text)


def _hub(text: str) -> HubFile:
    if "\\" in text:
        path = text.replace("\\", "/")
        meant = None if re.match(r"[A-Za-z]:", path) else f"./{path.removeprefix('./')}"
        raise _refuse(text, "a path is written with /, not \\", meant)
    repository, colon, selector = text.partition(":")
    repository, at, revision = repository.partition("@")
    names = repository.split("/")
    if names[0].lower() in _HUB_HOSTS:
        raise _refuse(text, "a hub file is named without the hub's address", _from_hub_path(text))
    if len(names) == 1:
        raise _refuse(text, *_one_name(text, repository, bool(colon)))
    if len(names) > 2:
        meant = f"{names[0]}/{names[1]}:{'/'.join(names[2:])}" if not colon else None
        raise _refuse(text, "a repository is owner/repo, with a : before the file", meant)
    owner, repo = names
    if not colon and repo.lower().endswith((".gguf", *_OTHER_FORMATS)):
        raise _refuse(text, "a path begins with /, ./, ../ or ~/", f"./{text}")
    for what, name in (("owner", owner), ("repository", repo)):
        if not _HUB_NAME.fullmatch(name):
            raise _refuse(text, f"the hub has no {what} named {name!r}")
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise _refuse(text, f"{revision!r} is not a revision: a branch, a tag or a commit")
    if not colon:
        return HubFile(owner, repo, revision if at else "main")
    _check_selector(text, selector, f"{owner}/{repo}")
    return HubFile(owner, repo, revision if at else "main", selector)


def _check_selector(text: str, selector: str, repository: str) -> None:
    if not selector:
        raise _refuse(text, "nothing follows the :", repository)
    if "@" in selector:
        file, _, revision = selector.partition("@")
        raise _refuse(
            text, "the revision stands after the repository", f"{repository}@{revision}:{file}"
        )
    _refuse_other_format(text, selector)
    if not selector.lower().endswith(".gguf"):
        if not _QUANT.fullmatch(selector):
            raise _refuse(
                text, f"{selector!r} is neither a .gguf file nor a quantisation such as Q4_K_M"
            )
        return
    path = PurePosixPath(selector)
    if path.is_absolute() or ".." in path.parts or str(path) != selector:
        raise _refuse(text, f"{selector!r} is not a file's path in a repository")
    _refuse_later_part(text, selector)


def _one_name(text: str, name: str, has_colon: bool) -> tuple[str, str | None]:
    """Say why a text with no / in it is no reference, and what it may have meant."""
    if name in BUILTINS:
        return "it lacks its kind", f"builtin:{name}"
    if name.lower().endswith((".gguf", *_OTHER_FORMATS)):
        return "a path begins with /, ./, ../ or ~/", f"./{text}"
    if has_colon:
        return (
            "names such as llama3.2:3b are another program's; a repository is owner/repo",
            None,
        )
    return "a repository is owner/repo", None


def _from_hub_path(text: str) -> str | None:
    """Guess the reference behind a page of the hub, such as …/owner/repo/blob/main/file.gguf."""
    path = text.split("://", 1)[-1].split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
    names = [unquote(name) for name in path.split("/") if name]
    if names and names[0].lower() in _HUB_HOSTS:
        names = names[1:]
    if len(names) < 2:
        return None
    owner, repo, *rest = names
    if len(rest) > 1 and rest[0] in {"blob", "resolve", "raw", "tree"}:
        revision = "" if rest[1] == "main" else f"@{rest[1]}"
        file = f":{'/'.join(rest[2:])}" if rest[2:] else ""
        return f"{owner}/{repo}{revision}{file}"
    return f"{owner}/{repo}" + (f":{'/'.join(rest)}" if rest else "")


def _refuse_other_format(text: str, path: str) -> None:
    kind = _OTHER_FORMATS.get(PurePosixPath(path).suffix.lower())
    if kind:
        raise _refuse(text, f"it names {kind}; the engine llama_cpp loads GGUF files")


def _refuse_later_part(text: str, path: str) -> None:
    first = split_names(path)[0]
    if first != path and _SPLIT.fullmatch(path):
        raise _refuse(
            text,
            "it is one part of a split model, which is named by its first",
            shown(text).replace(PurePosixPath(path).name, PurePosixPath(first).name),
        )
