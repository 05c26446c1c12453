"""Model registries, and what lies in them: read from text alone, nothing is asked.

<registry>/models/NAME/VERSION/FILE     a repository as OpenVINO Model Server reads it
<registry>/manifests/NAME/VERSION.json  its files with their sizes and checksums
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

MODELS = "models"
MANIFESTS = "manifests"

FORMS = (
    "gs://BUCKET or gs://BUCKET/FOLDER for Google Cloud Storage, or for storage that speaks S3 "
    "s3://BUCKET or s3://BUCKET/FOLDER?endpoint=https://HOST&region=REGION"
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,220}[a-z0-9])")
_FOLDER = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_NO_BUCKET = (
    "a bucket's name has at least 3 lower-case letters, digits, dots, hyphens and underscores, "
    "with a letter or digit at each end"
)
_NO_FOLDER = (
    "a folder's name has letters, digits, dots, hyphens and underscores, and is neither . nor .."
)
_TAKEN = frozenset({"v1", "v2", "v3"})
"""Names that the gateway's own paths begin with."""


class RegistryError(ValueError):
    """A text that names no registry, or nothing in one; the message says what would do."""


@dataclass(frozen=True, order=True)
class RegistryModel:
    """One version of a model in a registry: `NAME@VERSION`, whose content never changes."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def folder(self) -> str:
        """Where its files lie below the registry's own folder."""
        return f"{MODELS}/{self.name}/{self.version}"

    @property
    def manifest(self) -> str:
        """Where its manifest lies below the registry's own folder."""
        return f"{MANIFESTS}/{self.name}/{self.version}.json"


def parse_registry_model(text: str) -> RegistryModel:
    """Read `NAME@VERSION`. Raises `RegistryError`."""
    name, _, version = text.partition("@")
    if _NAME.fullmatch(name) is None or name in _TAKEN:
        raise RegistryError(
            f"{text!r} names no model of a registry: a name has at most 63 lower-case letters, "
            "digits and hyphens, with a letter or digit at each end, and is none of "
            f"{', '.join(sorted(_TAKEN))}; it is written NAME@VERSION, as in resnet50@1"
        )
    if _VERSION.fullmatch(version) is None:
        raise RegistryError(
            f"{text!r} names no version: it is written NAME@VERSION, where VERSION is a whole "
            f"number from 1 on, as in {name}@1"
        )
    return RegistryModel(name, int(version))


@dataclass(frozen=True)
class RegistryUrl:
    """Where a registry lies. `scheme` is `gs` or `s3`; `folder` has no slash at its ends.

    `endpoint` is the URL of storage that speaks S3 but is not AWS's; `region` its region.
    """

    scheme: str
    bucket: str
    folder: str = ""
    endpoint: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        folder = f"/{self.folder}" if self.folder else ""
        given = {"endpoint": self.endpoint, "region": self.region}
        query = urlencode({key: value for key, value in given.items() if value}, safe=":/")
        return f"{self.scheme}://{self.bucket}{folder}{'?' if query else ''}{query}"

    def key(self, path: str) -> str:
        """Return the object's name for a path below the registry."""
        return f"{self.folder}/{path}" if self.folder else path


def parse_registry_url(text: str) -> RegistryUrl:
    """Read where a registry lies. Raises `RegistryError`."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _refuse(text, "it can't be read as a URL") from None
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    folder = parts.path.strip("/")
    if parts.scheme not in {"gs", "s3"}:
        raise _refuse(text, "it begins with neither gs:// nor s3://")
    if parts.fragment:
        raise _refuse(text, "it has a #")
    if "@" in parts.netloc:
        raise _refuse(text, "it has credentials in it, which are given elsewhere")
    if _BUCKET.fullmatch(parts.netloc) is None:
        raise _refuse(text, _NO_BUCKET)
    if (folder and _FOLDER.fullmatch(folder) is None) or {".", ".."} & set(folder.split("/")):
        raise _refuse(text, _NO_FOLDER)
    if parts.scheme == "gs":
        if query:
            raise _refuse(text, "gs:// takes nothing after a ?")
        return RegistryUrl("gs", parts.netloc, folder)
    if set(query) - {"endpoint", "region"}:
        raise _refuse(text, "after the ? there is something besides endpoint and region")
    endpoint = query.get("endpoint")
    if endpoint is not None and not _is_origin(endpoint):
        raise _refuse(text, "its endpoint is not just https://HOST or https://HOST:PORT")
    return RegistryUrl(
        "s3",
        parts.netloc,
        folder,
        None if endpoint is None else endpoint.rstrip("/"),
        query.get("region") or None,
    )


def _is_origin(text: str) -> bool:
    """Whether a text is a scheme and a host, with a port if any, and nothing more."""
    if re.fullmatch(r"https?://[^/?#@\s]+/?", text) is None:
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refuse(text: str, why: str) -> RegistryError:
    """Return the error; `why` repeats nothing of the text, which may have a password in it."""
    return RegistryError(f"{text!r} names no registry, since {why}: it takes {FORMS}")
