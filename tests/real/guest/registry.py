"""A container registry that anybody may pull from, as ghcr.io and Docker Hub let them.

Read-only: the pulling half of github.com/opencontainers/distribution-spec, behind an anonymous
token (distribution.github.io/distribution/spec/auth/token).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from guest.internet import Answer, Request
from guest.oci import MANIFEST, Image

GITHUB = "ghcr.io"
DOCKER_HUB = "registry-1.docker.io"
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_CONTENT = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<wanted>[^/]+)")
_TOKEN_SECONDS = 300


@dataclass
class Registry:
    """The registry at `host`, a `Site`. `tags` are images by `repository:tag`.

    A token is for the repository that it was asked for, and for it alone.
    """

    host: str
    tags: dict[str, Image] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return _refused(405, "UNSUPPORTED")
        if request.path == "/token":
            return self._token(request.query)
        found = _CONTENT.fullmatch(request.path)
        name = found["name"] if found else ""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        scope = self._tokens.get(token)
        if scope is None or (name and scope != f"repository:{name}:pull"):
            return self._challenge(name)
        if found is None:
            return Answer(200, b"{}", _VERSION) if request.path == "/v2/" else Answer(404)
        images = self._images(name)
        if not images:
            return _refused(404, "NAME_UNKNOWN")
        if found["kind"] == "manifests":
            return _manifest(images, found["wanted"])
        return _blob(images, found["wanted"])

    def _images(self, name: str) -> Mapping[str, Image]:
        """Return the images of the repository `name` by their tags."""
        split = {place: place.rpartition(":") for place in self.tags}
        return {tag: self.tags[p] for p, (own, _, tag) in split.items() if own == name}

    def _challenge(self, name: str) -> Answer:
        scope = f'scope="repository:{name or "user/image"}:pull"'
        asked = f'Bearer realm="https://{self.host}/token",service="{self.host}",{scope}'
        return _refused(401, "UNAUTHORIZED", {"WWW-Authenticate": asked})

    def _token(self, query: Mapping[str, list[str]]) -> Answer:
        (scope,) = query.get("scope", [""])
        if query.get("service") != [self.host] or not scope.endswith(":pull"):
            return _refused(403, "DENIED")
        token = secrets.token_urlsafe(24)
        self._tokens[token] = scope
        answer = {"token": token, "expires_in": _TOKEN_SECONDS}
        return Answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


def _manifest(images: Mapping[str, Image], reference: str) -> Answer:
    by_digest = {image.digest: image for image in images.values()}
    image = images.get(reference) or by_digest.get(reference)
    if image is None:
        return _refused(404, "MANIFEST_UNKNOWN")
    named = {"Content-Type": MANIFEST, "Docker-Content-Digest": image.digest}
    return Answer(200, image.manifest, {**_VERSION, **named})


def _blob(images: Mapping[str, Image], digest: str) -> Answer:
    for image in images.values():
        if digest in image.blobs:
            named = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
            return Answer(200, image.blobs[digest], {**_VERSION, **named})
    return _refused(404, "BLOB_UNKNOWN")


def _refused(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})
    typed = {"Content-Type": "application/json", **_VERSION}
    return Answer(status, body.encode(), {**typed, **(headers or {})})
