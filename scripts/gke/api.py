"""A cluster's API over HTTP by Kubernetes' own client: bounded in time, with Google's token."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from tempfile import NamedTemporaryFile
from typing import Protocol, cast
from urllib.parse import quote

from components.targets.kubernetes.access import ClusterAccess
from scripts.gcp.credentials import Credentials, CredentialsError, find
from scripts.gke.access import is_loopback
from scripts.verify.faults import causes
from scripts.verify.shape import Json, dig_text, excerpt, parse_json

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
MERGE_PATCH = "application/merge-patch+json"
LOG_BYTES = 256 * 1024
"""What is read of the end of a container's log at most."""
_BUSY = (408, 429, 500, 502, 503, 504)
_TOKEN_KEY = "authorization"  # noqa: S105 - a header's name
_QUOTED = 300


class ClusterError(Exception):
    """The cluster refused, or gave no answer.

    `status` is HTTP's, 0 where there was no answer. `passing`: asking again later may do.
    """

    def __init__(self, message: str, status: int = 0, *, passing: bool | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.passing = status == 0 or status in _BUSY if passing is None else passing


class _Answer(Protocol):
    """The part of the client's `RESTResponse` that is read here."""

    status: int
    reason: str | None

    def read(self) -> bytes: ...


class _Manager(Protocol):
    """The part of urllib3's `PoolManager` that is set here."""

    connection_pool_kw: dict[str, object]


class _RestClient(Protocol):
    pool_manager: _Manager


class Configuration(Protocol):
    """The part of `kubernetes.client.Configuration` that is used here."""

    api_key: dict[str, str]
    no_proxy: str | None
    refresh_api_key_hook: object


class ApiClient(Protocol):
    """The part of `kubernetes.client.ApiClient` that is used here."""

    configuration: Configuration
    rest_client: _RestClient

    def param_serialize(
        self,
        method: str,
        resource_path: str,
        *,
        query_params: Sequence[tuple[str, str]],
        header_params: dict[str, str],
        body: object,
        auth_settings: list[str],
    ) -> tuple[object, ...]:
        """Return a request with its login, as `call_api` takes it."""
        ...

    def call_api(self, *request: object, _request_timeout: tuple[float, float]) -> _Answer:
        """Send a request, and return what came."""
        ...


class _Make(Protocol):
    """Makes a `Configuration` or an `ApiClient`."""

    def __call__(self, **options: object) -> object: ...


def client(access: ClusterAccess, environment: Mapping[str, str]) -> ApiClient:
    """Return a client for the cluster at `access` that asks with the deployer's Google token.

    The token is made anew when it is old. Proxies are the environment's, none for this machine.
    Raises `CredentialsError` here, and when the token can't be made anew.
    """
    return _Login(access, find(environment)).client()


class _Login:
    """Makes clients that share one token and one file with the authority's certificate."""

    def __init__(self, access: ClusterAccess, credentials: Credentials) -> None:
        self._access = access
        self._credentials = credentials
        self._lock = threading.Lock()
        authority = access.certificate_authority
        # As a file, since the client's web sockets take no other form; it goes with this object.
        self._file = None if authority is None else NamedTemporaryFile("w", suffix=".pem")  # noqa: SIM115
        if self._file is not None and authority is not None:
            self._file.write(authority)
            self._file.flush()

    def client(self) -> ApiClient:
        """Return a new client."""
        # Here, since what verifies other endpoints must not wait for it.
        module = import_module("kubernetes.client")
        trusted = ssl.get_default_verify_paths().cafile if self._file is None else self._file.name
        configuration = cast(
            "Configuration",
            cast("_Make", module.Configuration)(
                host=self._access.server, ssl_ca_cert=trusted, retries=0
            ),
        )
        if is_loopback(self._access):
            configuration.no_proxy = "localhost,127.0.0.1,::1"
        # The key must be there for the hook to be asked.
        configuration.api_key[_TOKEN_KEY] = ""
        configuration.refresh_api_key_hook = self._renew
        made = cast("ApiClient", cast("_Make", module.ApiClient)(configuration=configuration))
        made.rest_client.pool_manager.connection_pool_kw["ssl_context"] = self._context()
        # The client lives as long as the file that it reads.
        made.__dict__["llm_endpoint_login"] = self
        return made

    def _renew(self, configuration: Configuration) -> None:
        with self._lock:
            configuration.api_key[_TOKEN_KEY] = f"Bearer {self._credentials.token()}"

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self._access.certificate_authority)
        # From Python 3.13 on, "strict" refuses authorities of clusters for their form.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


class ClusterApi:
    """Asks a cluster's API for JSON, with paths such as `/api/v1/namespaces/NS/pods`.

    Good for several threads at once. Everything raises `ClusterError`, and `CredentialsError`.
    """

    def __init__(self, access: ClusterAccess, environment: Mapping[str, str] | None = None) -> None:
        found = find(os.environ if environment is None else environment)
        self.access = access
        self._login = _Login(access, found)
        self._client = self._login.client()

    def get(self, path: str, **query: str) -> Json:
        """Return the object or the list at `path`."""
        return _parsed(self._ask("GET", path, query))

    def patch(self, path: str, body: Json, content_type: str = MERGE_PATCH) -> Json:
        """Change the object at `path` by a patch; return what it is then."""
        return _parsed(self._ask("PATCH", path, {}, body, content_type))

    def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the end of the log of a container's run, of its last one where none is on."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_BYTES)}
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
        return self._ask("GET", path, query).decode(errors="replace")

    def another_client(self) -> ApiClient:
        """Return a client of its own: a port-forward changes the one that it is made with."""
        return self._login.client()

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Json = None,
        content_type: str | None = None,
    ) -> bytes:
        headers = {"Accept": "application/json"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        request = self._client.param_serialize(
            method,
            path,
            query_params=[*query.items()],
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(
                *request, _request_timeout=(CONNECT_SECONDS, READ_SECONDS)
            )
            data = answer.read()
        except CredentialsError:
            raise
        except Exception as error:  # urllib3's, the client's or the system's: all may quote
            raise _unreachable(self.access, error) from None
        if 200 <= answer.status < 300:
            return data
        raise ClusterError(_refusal(self.access, answer.status, data), answer.status)


def _unreachable(access: ClusterAccess, error: Exception) -> ClusterError:
    """Return that the API server gave no answer, without what the error may quote of a request."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ClusterError(
                f"{access.server} shows a certificate that is not trusted ({cause.verify_message})",
                passing=False,
            )
    return ClusterError(f"{access.server} can't be reached ({type(error).__name__})")


def _parsed(data: bytes) -> Json:
    try:
        return parse_json(data)
    except ValueError:
        raise ClusterError(f"no JSON: {excerpt(data.decode(errors='replace'), 80)}", 200) from None


def _refusal(access: ClusterAccess, status: int, data: bytes) -> str:
    try:
        message = dig_text(parse_json(data), "message")
    except ValueError:
        message = ""
    said = f"HTTP {status}: {excerpt(message, _QUOTED) or 'no message'}"
    if status == 401:
        return f"{access.server} does not accept the credentials ({said})"
    if status == 403:
        return (
            f"{said}; it takes roles/container.developer on the cluster's project (and "
            "roles/container.admin for what Pulumi makes)"
        )
    return said
