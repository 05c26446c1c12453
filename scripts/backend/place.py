"""Where a backend lies, read from the URL that the engine takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from components.models.registry import RegistryUrl
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import home

FORMS = (
    "gs://BUCKET[/FOLDER], s3://BUCKET[/FOLDER]?region=REGION, file:///FOLDER or "
    "https://api.pulumi.com"
)


@dataclass(frozen=True)
class Place:
    """A backend's `url`, as the engine takes it, and what it names: one of the others is set.

    `folder` is on this machine; `bucket` is Google's or speaks S3, and `profile` is the login of
    AWS's configuration to open it with; `service` is the address of Pulumi Cloud or its like.
    """

    url: str
    folder: Path | None = None
    bucket: RegistryUrl | None = None
    profile: str | None = None
    service: str | None = None

    @property
    def identity(self) -> str:
        """What tells one place from another, however its URL is written."""
        if self.folder is not None:
            return str(self.folder.resolve())
        if self.bucket is not None:
            one = self.bucket
            return f"{one.scheme}://{one.bucket}/{one.folder} {one.endpoint or ''}"
        return (self.service or self.url).rstrip("/")

    @property
    def shown(self) -> str:
        """The URL for people, with all that is needed to name the place again."""
        return f"file://{self.folder}" if self.folder is not None else self.url


def folder_url(folder: Path) -> str:
    """Return the URL of the backend in a folder."""
    return f"file://{quote(str(folder))}"


def local_folder(url: str, environment: Mapping[str, str]) -> Path | None:
    """Return the folder that a URL of the engine's file backend names; None for any other.

    One that is not absolute is relative to where the engine runs: None too.
    """
    if not url.startswith("file://"):
        return None
    path = unquote(url.removeprefix("file://").split("?", 1)[0])
    if path == "~" or path.startswith("~/"):
        return home(environment) / path[2:]
    return Path(path) if path.startswith("/") else None


def parse(url: str, environment: Mapping[str, str]) -> Place:
    """Read a backend's URL. Raises `BootstrapError` for one that nothing here can read.

    Of the parameters of s3:// those are read that say which storage is meant.
    """
    folder = local_folder(url, environment)
    if folder is not None:
        return Place(url, folder=folder)
    try:
        parts = urlsplit(url)
        named = parts.hostname is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        raise _refuse("the backend's URL can't be read") from None
    # What stands before an @ may be a password: it is not repeated.
    if "@" in parts.netloc:
        raise _refuse("the backend's URL has credentials in it, which are given elsewhere")
    if parts.scheme in {"https", "http"} and named:
        return Place(url, service=url.rstrip("/"))
    if parts.scheme not in {"gs", "s3"} or not parts.netloc:
        raise _refuse(f"{url!r} names no backend that a state can be moved to or from")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    bucket = RegistryUrl(
        parts.scheme,
        parts.netloc,
        re.sub("/+", "/", parts.path).strip("/"),
        _endpoint(query) if parts.scheme == "s3" else None,
        query.get("region") or None,
    )
    return Place(url, bucket=bucket, profile=query.get("profile") or None)


def _endpoint(query: Mapping[str, str]) -> str | None:
    endpoint = query.get("endpoint", "").rstrip("/")
    if not endpoint:
        return None
    if "://" in endpoint:
        return endpoint
    plain = query.get("disableSSL", "").lower() == "true"
    return f"{'http' if plain else 'https'}://{endpoint}"


def _refuse(problem: str) -> BootstrapError:
    return BootstrapError(problem, f"give one of {FORMS}")
