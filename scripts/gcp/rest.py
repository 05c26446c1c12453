"""Google's REST APIs over HTTP: bounded in time, asked again while they are busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from scripts.gcp.credentials import Credentials
from scripts.verify.shape import Json, dig, dig_text, excerpt

if TYPE_CHECKING:
    from requests.models import PreparedRequest

PREFIX_VARIABLE = "LLM_ENDPOINT_GOOGLE_API"
"""Where a stand-in for every API answers, such as `http://127.0.0.1:8123`.

The API `compute` is then at `PREFIX/compute/v1/`, and so on: `PREFIX/SERVICE/v1/`, each service by
the first part of its host's name. Plain http is taken for loopback alone: the token goes there.
"""
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
MAX_ATTEMPTS = 4
_BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Service:
    """One API: `name` is the first part of its host's, `path` comes before all of its own."""

    name: str
    path: str = "v1"


COMPUTE = Service("compute", "compute/v1")
CONTAINER = Service("container")
SERVICE_USAGE = Service("serviceusage")
RESOURCE_MANAGER = Service("cloudresourcemanager")
BILLING = Service("cloudbilling")
STORAGE = Service("storage", "storage/v1")


class ApiError(Exception):
    """An API refused, or gave no answer.

    `status` is HTTP's, 0 where there was no answer. `reason` is Google's own word for it, such as
    `SERVICE_DISABLED`, or "".
    """

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def passing(self) -> bool:
        """Whether asking again later may do."""
        return self.status == 0 or self.status in _BUSY


class _Bearer(AuthBase):
    """Sets the token. As a header alone, requests would put what `~/.netrc` has in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["Authorization"] = f"Bearer {self._token}"
        return r


class GoogleApi:
    """Asks Google's APIs with `credentials`; `prefix` is as in `PREFIX_VARIABLE`.

    Not for several threads at once. Raises `ValueError` for a prefix that would send the token in
    the clear to another machine.
    """

    def __init__(
        self,
        credentials: Credentials,
        prefix: str | None = None,
        *,
        attempts: int = MAX_ATTEMPTS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if prefix is not None and not _is_safe(prefix):
            raise ValueError(
                f"{PREFIX_VARIABLE} must be https://… or http://127.0.0.1:PORT: the access token "
                "goes there"
            )
        self._credentials = credentials
        self._prefix = prefix.rstrip("/") if prefix is not None else None
        self._attempts = attempts
        self._pause = pause
        self._session = requests.Session()
        if prefix is not None:
            self._session.trust_env = False

    def get(self, service: Service, path: str, **query: str | list[str]) -> Json:
        """Return the JSON at `path`. Raises `ApiError`, `CredentialsError`."""
        return self._ask("GET", service, path, query, None)

    def post(self, service: Service, path: str, body: Mapping[str, Json]) -> Json:
        """Return what a method that changes nothing answers to `body`. Raises likewise."""
        return self._ask("POST", service, path, {}, body)

    def delete(self, service: Service, path: str) -> Json:
        """Ask for the deletion of what is at `path`, which goes on. Raises likewise."""
        return self._ask("DELETE", service, path, {}, None)

    def _url(self, service: Service, path: str) -> str:
        if self._prefix is not None:
            return f"{self._prefix}/{service.name}/v1/{path}"
        return f"https://{service.name}.googleapis.com/{service.path}/{path}"

    def _ask(
        self,
        method: str,
        service: Service,
        path: str,
        query: Mapping[str, str | list[str]],
        body: Mapping[str, Json] | None,
    ) -> Json:
        """Ask, and again while the API is busy or can't be reached."""
        attempt = 1
        while True:
            try:
                return self._ask_once(method, service, path, query, body)
            except ApiError as error:
                if not error.passing or attempt == self._attempts:
                    raise
            self._pause(0.5 * 2 ** (attempt - 1))
            attempt += 1

    def _ask_once(
        self,
        method: str,
        service: Service,
        path: str,
        query: Mapping[str, str | list[str]],
        body: Mapping[str, Json] | None,
    ) -> Json:
        payer = self._credentials.quota_project
        try:
            answer = self._session.request(
                method,
                self._url(service, path),
                params=dict(query),
                json=body,
                headers={"X-Goog-User-Project": payer} if payer else {},
                auth=_Bearer(self._credentials.token()),
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # Its message may hold the request's headers.
            raise ApiError(
                f"{service.name}.googleapis.com can't be reached ({type(error).__name__})"
            ) from None
        try:
            content = cast("Json", answer.json())
        except ValueError:
            content = None
        if answer.status_code == requests.codes.ok:
            return content
        message = dig_text(content, "error", "message") or answer.reason or "no message"
        raise ApiError(
            f"HTTP {answer.status_code}: {excerpt(message, 300)}",
            answer.status_code,
            _reason(content),
        )


def _reason(content: Json) -> str:
    """Return Google's word for an error, from its details or its first entry."""
    details = dig(content, "error", "details")
    for detail in details if isinstance(details, list) else []:
        if reason := dig_text(detail, "reason"):
            return reason
    return dig_text(content, "error", "errors", 0, "reason")


def _is_safe(prefix: str) -> bool:
    parts = urlsplit(prefix)
    return parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    )


def from_environment(
    credentials: Credentials, environment: Mapping[str, str], *, attempts: int = MAX_ATTEMPTS
) -> GoogleApi:
    """Return the APIs, at `$LLM_ENDPOINT_GOOGLE_API` where that is set."""
    return GoogleApi(credentials, environment.get(PREFIX_VARIABLE) or None, attempts=attempts)
