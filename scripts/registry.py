"""What a container image's tag stands for now, asked of its registry over HTTP.

Nothing is pulled and nobody logs in: public images are told to everybody who fetches an anonymous
token first (github.com/opencontainers/distribution-spec; distribution.github.io/distribution/spec/
auth/token). Only the standard library is used.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, cast
from urllib.parse import urlencode, urlsplit

from scripts.verify.bounds import Deadline, bounded
from scripts.verify.outcome import TimedOut

SECONDS = 20.0
"""What one look may take, token included."""
_CONNECT_SECONDS = 8.0
# The specification's own bound on a manifest.
_MANIFEST_BYTES = 4 << 20
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_LOOPBACK = ("127.0.0.1", "localhost")

_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'([a-z]+)="([^"]*)"')


class RegistryError(Exception):
    """A registry does not tell the digest; the message names the image and says why.

    `passing` says that the same question may be answered another time or from another place.
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Image:
    """An image by its tag, as `docker pull` takes it; `digest` is the one that the name gives.

    `registry` is a host, with a port where it has one; `docker.io` where the name has none.
    """

    registry: str
    repository: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        host = "" if self.registry == _DOCKER_HUB else f"{self.registry}/"
        digest = f"@{self.digest}" if self.digest else ""
        return f"{host}{self.repository}:{self.tag}{digest}"

    @property
    def _api(self) -> str:
        host = _DOCKER_HUB_API if self.registry == _DOCKER_HUB else self.registry
        return f"{'http' if _is_loopback(host) else 'https'}://{host}/v2"

    @property
    def url(self) -> str:
        """Where its manifest is."""
        repository = self.repository
        if self.registry == _DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return f"{self._api}/{repository}/manifests/{self.tag}"


def parse(text: str) -> Image:
    """Return the image that `text` names, such as `ghcr.io/owner/name:tag[@sha256:…]`.

    Raises ValueError that says what is wrong; a name without a tag is refused.
    """
    named, at, digest = text.partition("@")
    first, slash, rest = named.partition("/")
    # As Docker tells a host from the first part of a name.
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, rest) if has_host else (_DOCKER_HUB, named)
    repository, colon, tag = path.partition(":")
    if not colon or not _TAG.fullmatch(tag):
        raise ValueError(f"{text!r} has no tag: it takes REPOSITORY:TAG")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"{text!r} names no repository: it takes REPOSITORY:TAG, in lower case")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{text!r} has a digest that is none: it is sha256: and 64 hex digits")
    return Image(registry, repository, tag, digest or None)


def digest_of(image: Image, seconds: float = SECONDS) -> str:
    """Return the digest of what `image`'s tag stands for now, such as `sha256:…`.

    Of an image for several processors it is that of the index, which `docker pull` takes on each of
    them. Raises `RegistryError`, after `seconds` at the latest.
    """
    deadline = Deadline(seconds)
    try:
        return bounded(deadline, lambda: _ask(image, deadline))
    except TimedOut:
        raise RegistryError(
            f"{image}: {_host(image.url)} did not answer within {seconds:g} s", passing=True
        ) from None


def _ask(image: Image, deadline: Deadline) -> str:
    accepted = {"Accept": ", ".join(_MANIFESTS)}
    try:
        return _digest(image, accepted, deadline)
    except urllib.error.HTTPError as refused:
        with refused:
            challenge = refused.headers.get("WWW-Authenticate") or ""
        if refused.code != http.client.UNAUTHORIZED or not challenge.lower().startswith("bearer "):
            _refused(image, image.url, refused)
    token = _token(image, challenge, deadline)
    try:
        return _digest(image, {**accepted, "Authorization": f"Bearer {token}"}, deadline)
    except urllib.error.HTTPError as refused:
        with refused:
            _refused(image, image.url, refused)


def _digest(image: Image, headers: Mapping[str, str], deadline: Deadline) -> str:
    """Return the digest of the manifest, which is its content's own; raises `HTTPError` too."""
    content, kind, said = _get(image, image.url, headers, deadline)
    if kind not in _MANIFESTS:
        raise RegistryError(
            f"{image}: {_host(image.url)} answers with {kind or 'something'}, which is no manifest",
            passing=True,
        )
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if said is not None and said != digest:
        raise RegistryError(
            f"{image}: {_host(image.url)} calls it {said} and sends {digest}", passing=True
        )
    return digest


def _token(image: Image, challenge: str, deadline: Deadline) -> str:
    """Return the anonymous token that a registry's `challenge` says where to fetch."""
    asked = {found[1]: found[2] for found in _PARAMETER.finditer(challenge)}
    realm = asked.pop("realm", "")
    parts = urlsplit(realm)
    loopback = _is_loopback(image.registry) and _is_loopback(parts.netloc)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise RegistryError(
            f"{image}: {_host(image.url)} sends for a token to {realm or 'nowhere'}", passing=False
        )
    query = {key: value for key, value in asked.items() if key in ("service", "scope")}
    url = f"{realm}?{urlencode(query)}"
    try:
        content, _, _ = _get(image, url, {}, deadline)
    except urllib.error.HTTPError as refused:
        with refused:
            _refused(image, url, refused)
    try:
        answer: object = json.loads(content)
    except ValueError:
        answer = None
    found = cast("dict[str, object]", answer) if isinstance(answer, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token.isprintable():
        raise RegistryError(f"{image}: {_host(url)} gives no token", passing=True)
    return token


def _get(
    image: Image, url: str, headers: Mapping[str, str], deadline: Deadline
) -> tuple[bytes, str, str | None]:
    """Return a page's content, its type, and the digest that it is said to have."""
    request = urllib.request.Request(url, headers={"User-Agent": "llm-endpoint", **headers})
    timeout = max(0.1, min(_CONNECT_SECONDS, deadline.remaining()))
    try:
        with cast(
            "http.client.HTTPResponse", urllib.request.urlopen(request, timeout=timeout)
        ) as response:
            content = response.read(_MANIFEST_BYTES + 1)
            kind = response.headers.get_content_type()
            said = response.headers.get("Docker-Content-Digest")
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        named = reason.strerror if isinstance(reason, OSError) else str(reason)
        raise RegistryError(
            f"{image}: {_host(url)} can't be reached ({named or type(reason).__name__})",
            passing=True,
        ) from None
    if len(content) > _MANIFEST_BYTES:
        raise RegistryError(f"{image}: {_host(url)} sends more than a manifest", passing=True)
    return content, kind, said


def _refused(image: Image, url: str, refused: urllib.error.HTTPError) -> NoReturn:
    if refused.code == http.client.NOT_FOUND:
        raise RegistryError(f"{image}: {_host(url)} has no such tag", passing=False) from None
    if refused.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise RegistryError(
            f"{image}: {_host(url)} has no such repository, or not for everybody "
            f"(HTTP {refused.code})",
            passing=False,
        ) from None
    raise RegistryError(
        f"{image}: {_host(url)} answers {refused.code} {refused.reason}", passing=True
    ) from None


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _is_loopback(host: str) -> bool:
    return host.partition(":")[0] in _LOOPBACK
