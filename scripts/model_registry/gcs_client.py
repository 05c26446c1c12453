"""A client of Google Cloud Storage: whose credentials it has, and what its errors mean."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeAlias, cast

import requests
import urllib3
from google.auth.exceptions import GoogleAuthError, TransportError

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import (
    Denied,
    MissingBucket,
    MissingObject,
    ObjectExists,
    RegistryFault,
)
from scripts.model_registry.gcs_types import StorageClient

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
TIMEOUT_SECONDS = (10, 30)
"""To connect, and between two reads."""

_LOGIN = "gcloud auth application-default login"
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Gcs:
    """A client, and whether it asks as the machine or pod that it runs on.

    Such an identity may be late, and rights given to it take minutes to spread.
    """

    client: StorageClient
    own_identity: bool


# google-auth's functions say little of their types: credentials, and the project they know of.
_Maker: TypeAlias = Callable[..., object]
_Finder: TypeAlias = Callable[..., tuple[object, str | None]]


def open_client(url: RegistryUrl, environ: Mapping[str, str]) -> Gcs:
    """Return a client for `url`. Raises `RegistryFault`.

    STORAGE_EMULATOR_HOST is taken for Google's address, without credentials unless a token or a
    key is given.
    """
    emulator = environ.get("STORAGE_EMULATOR_HOST")
    credentials, own = _credentials(url, environ, emulated=bool(emulator))
    # For its traces the library asks about the bucket besides, which who may read need not be
    # allowed. It looks at this at each call.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    make: _Maker = import_module("google.cloud.storage").Client
    options = None
    if emulator:
        address = emulator if "://" in emulator else f"http://{emulator}"
        options = {"api_endpoint": address.rstrip("/")}
    # No call that is made here counts for a project.
    client = make(project="none", credentials=credentials, client_options=options)
    return Gcs(cast("StorageClient", client), own)


def _credentials(
    url: RegistryUrl, environ: Mapping[str, str], *, emulated: bool
) -> tuple[object, bool]:
    """Return credentials in the order of Google's provider for Pulumi, and if they are its own."""
    auth = import_module("google.auth")
    token = environ.get("GOOGLE_OAUTH_ACCESS_TOKEN", "").strip()
    if token:
        from_token: _Maker = import_module("google.oauth2.credentials").Credentials
        return from_token(token), False
    for variable in ("GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"):
        given = environ.get(variable, "").strip()
        credentials = _of_key(url, variable, given) if given else None
        if credentials is not None:
            return credentials, False
    if emulated:
        anonymous: _Maker = import_module("google.auth.credentials").AnonymousCredentials
        return anonymous(), False
    find: _Finder = auth.default
    in_pod = "KUBERNETES_SERVICE_HOST" in environ
    try:
        found, _ = find(scopes=[SCOPE])
    except (GoogleAuthError, OSError, ValueError):
        raise RegistryFault(
            f"{url}: the pod's identity can't be had from the metadata server\n"
            "next: if it stays, check that Workload Identity is on for the cluster and the node "
            "pool, and that the pod's NetworkPolicy lets it to 169.254.169.254"
            if in_pod
            else f"{url}: there are no Google credentials on this machine\nnext: {_LOGIN}",
            lasting=not in_pod,
        ) from None
    return found, type(found).__module__.startswith("google.auth.compute_engine")


def _of_key(url: RegistryUrl, variable: str, given: str) -> object | None:
    """Return the credentials of a key or a login: a file's path, or the JSON itself.

    None for other kinds that a file may hold, which `google.auth.default` reads.
    """
    try:
        text = given if given.startswith("{") else Path(given).read_text(encoding="utf-8")
        record: object = json.loads(text)
        kind = cast(dict[str, object], record).get("type") if isinstance(record, dict) else None
        if kind == "service_account":
            accounts = import_module("google.oauth2.service_account")
            from_key: _Maker = accounts.Credentials.from_service_account_info
            return from_key(record, scopes=[SCOPE])
        if kind == "authorized_user":
            users = import_module("google.oauth2.credentials")
            from_login: _Maker = users.Credentials.from_authorized_user_info
            return from_login(record, scopes=[SCOPE])
        if kind is not None and variable == "GOOGLE_APPLICATION_CREDENTIALS":
            return None
    except (GoogleAuthError, OSError, ValueError, KeyError, TypeError):
        # Their own words may quote the key.
        pass
    raise RegistryFault(
        f"{url}: {variable} has no key or login that can be used\n"
        f"next: set it to a file that `{_LOGIN}` made, or to a service account's key",
        lasting=True,
    )


@contextmanager
def faults(url: RegistryUrl, key: str | None = None, *, own_identity: bool) -> Generator[None]:
    """Raise what the client raises as `RegistryFault`, with the next step and no credential."""
    from google.api_core.exceptions import GoogleAPICallError

    own = import_module("google.cloud.storage.exceptions")
    invalid: type[Exception] = own.InvalidResponse
    corrupted: type[Exception] = own.DataCorruption

    try:
        yield
    except GoogleAPICallError as error:
        raise refused(url, key, int(error.code or 0), own_identity=own_identity) from None
    except invalid as error:
        status = cast(int, getattr(getattr(error, "response", None), "status_code", 0))
        raise refused(url, key, status, own_identity=own_identity) from None
    except corrupted:
        raise _passing(f"{key or url} was damaged on the way") from None
    except (TransportError, urllib3.exceptions.HTTPError, OSError) as error:
        # The library lets pass what its own client raises, whose errors are of type OSError.
        raise _unreached(url, error) from None
    except GoogleAuthError as error:
        late = own_identity or (bool(getattr(error, "retryable", False)))
        raise RegistryFault(
            f"{url}: the Google credentials are not accepted, or have run out\n"
            + (
                "next: run it again; if it stays, check the machine's or pod's service account"
                if late
                else f"next: {_LOGIN}, or set GOOGLE_OAUTH_ACCESS_TOKEN to a new token"
            ),
            lasting=not late,
        ) from None


@contextmanager
def write_faults(url: RegistryUrl, key: str, *, own_identity: bool) -> Generator[None]:
    """Do as `faults`, where an object is written: what can be missing then is its bucket."""
    try:
        with faults(url, key, own_identity=own_identity):
            yield
    except MissingObject:
        raise refused(url, None, 404, own_identity=own_identity) from None


def refused(url: RegistryUrl, key: str | None, status: int, *, own_identity: bool) -> RegistryFault:
    """Return the fault of an answer that is an error. `key` None is the bucket itself."""
    what = f"{url}" if key is None else f"{key} in gs://{url.bucket}"
    if status == 404 and key is None:
        return MissingBucket(
            f"{url}: there is no bucket {url.bucket}, or these credentials may not know of it\n"
            "next: correct the URL, or make it by the program model-registry"
        )
    if status == 404:
        return MissingObject(f"{what} is not there\nnext: push it again")
    if status == 412:
        return ObjectExists(f"{what} is there already\nnext: push another version")
    if status in {401, 403}:
        return Denied(
            f"{what}: Google refuses these credentials ({status})\n"
            "next: give them roles/storage.objectViewer on the bucket (roles/storage.objectUser to "
            "push)" + ("; a right that was just given takes minutes to spread" * own_identity),
            lasting=not own_identity,
        )
    if status in _PASSING_STATUSES or status >= 500:
        return _passing(f"{what}: Google answered {status}")
    return RegistryFault(
        f"{what}: Google answered {status}\nnext: check the URL and the credentials", lasting=True
    )


def _passing(what: str) -> RegistryFault:
    return RegistryFault(
        f"{what}\nnext: run it again later, which goes on from where it was", lasting=False
    )


def _unreached(url: RegistryUrl, error: BaseException) -> RegistryFault:
    link: object = error
    for _ in range(8):
        if isinstance(link, ssl.SSLCertVerificationError):
            return RegistryFault(
                f"{url}: Google's TLS certificate can't be verified\nnext: behind a proxy that "
                "inspects TLS, set REQUESTS_CA_BUNDLE to the file with its CA certificate",
                lasting=True,
            )
        if not isinstance(link, BaseException):
            break
        inner = link.args[0] if link.args else None
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__ or inner
    silent = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError)
    what = "sent nothing for too long" if silent else "can't be reached, or broke the connection"
    return RegistryFault(
        f"{url}: Google Cloud Storage {what}\n"
        "next: check the network and the proxy settings (HTTPS_PROXY, NO_PROXY)",
        lasting=False,
    )
