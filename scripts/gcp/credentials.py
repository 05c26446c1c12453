"""Who asks: an access token, from where the Google provider for Pulumi takes its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias, cast

from scripts.verify.shape import Json, dig_text

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_VARIABLE = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - a variable's name
CREDENTIALS_VARIABLE = "GOOGLE_CREDENTIALS"
LOGIN = "gcloud auth application-default login"
_TOKEN_SECONDS = 20
_METADATA_SECONDS = 1


class CredentialsError(Exception):
    """There are no credentials that work. `next_step` is what to type."""

    def __init__(self, problem: str, next_step: str = LOGIN) -> None:
        super().__init__(f"{problem}; next: {next_step}")
        self.problem = problem
        self.next_step = next_step


class Credentials(Protocol):
    """What gives access tokens. `project` bills the requests themselves, where one is set."""

    @property
    def source(self) -> str:
        """Where they come from, in a few words."""
        ...

    @property
    def quota_project(self) -> str | None:
        """The project that the requests count for; None leaves it to Google."""
        ...

    @property
    def expires(self) -> datetime | None:
        """When the last token ends; None where nobody tells."""
        ...

    def token(self) -> str:
        """Return a token that is valid now. Raises `CredentialsError`."""
        ...


@dataclass(frozen=True)
class GivenToken:
    """A token that the environment holds; it can't be renewed."""

    value: str

    @property
    def source(self) -> str:
        """Where they come from, in a few words."""
        return TOKEN_VARIABLE

    @property
    def quota_project(self) -> None:
        """None."""

    @property
    def expires(self) -> None:
        """None."""

    def token(self) -> str:
        """Return the token."""
        return self.value

    def __repr__(self) -> str:
        return "GivenToken()"


# google-auth's functions say little of their types: credentials, and the project they know of.
_Finder: TypeAlias = Callable[..., tuple[object, str | None]]
_Maker: TypeAlias = Callable[..., object]


class _GoogleCredentials(Protocol):
    """The part of `google.auth.credentials.Credentials` that is used here."""

    valid: bool
    token: str | None
    expiry: datetime | None
    quota_project_id: str | None

    def refresh(self, request: object) -> None: ...


class GoogleAuth:
    """Credentials of the `google-auth` library: a login by gcloud, a key file, a machine's own."""

    def __init__(self, credentials: object, source: str) -> None:
        self._credentials = cast("_GoogleCredentials", credentials)
        self._source = source

    @property
    def source(self) -> str:
        """Where they come from, in a few words."""
        return self._source

    @property
    def quota_project(self) -> str | None:
        """The project that the login names for quota."""
        return getattr(self._credentials, "quota_project_id", None)

    @property
    def expires(self) -> datetime | None:
        """When the last token ends, in UTC."""
        expiry = self._credentials.expiry
        # The library writes UTC without a zone.
        return None if expiry is None else expiry.replace(tzinfo=UTC)

    def token(self) -> str:
        """Return a token that is valid now, a new one where the last has run out."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        if not self._credentials.valid:
            try:
                self._credentials.refresh(partial(Request(), timeout=_TOKEN_SECONDS))
            except GoogleAuthError as error:
                # The message may go on with the server's whole answer.
                raise CredentialsError(
                    f"the credentials ({self._source}) are not accepted: {_first_line(error)}"
                ) from None
        token = self._credentials.token
        if not token:
            raise CredentialsError(f"the credentials ({self._source}) give no access token")
        return token


def find(environment: Mapping[str, str]) -> Credentials:
    """Return the credentials: a given token, else `$GOOGLE_CREDENTIALS`, else the default ones.

    The default ones are `google.auth.default`'s: `$GOOGLE_APPLICATION_CREDENTIALS`, the login by
    `gcloud auth application-default login`, the machine's own. Raises `CredentialsError`.
    """
    given = environment.get(TOKEN_VARIABLE)
    if given:
        return GivenToken(given.strip())
    try:
        auth = import_module("google.auth")
        from google.auth.exceptions import GoogleAuthError
    except ImportError:
        raise CredentialsError(
            "this Python has no google-auth, which finds Google's credentials",
            "use the virtual environment of a cloud stack: scripts/doctor cpu-vm makes it",
        ) from None
    named = environment.get(CREDENTIALS_VARIABLE)
    # Google's own APIs are asked here, which count for the project that is asked about.
    warnings.filterwarnings("ignore", message="Your application has authenticated using end user")
    try:
        if named:
            return GoogleAuth(_load(named), CREDENTIALS_VARIABLE)
        default: _Finder = auth.default
        found, _ = default(scopes=[SCOPE], request=_one_quick_look_for_a_machine_s_own())
    except (GoogleAuthError, OSError, ValueError) as error:
        what = CREDENTIALS_VARIABLE if named else "no Google credentials on this machine"
        raise CredentialsError(f"{what}: {_first_line(error)}") from None
    return GoogleAuth(found, "application default credentials")


def _one_quick_look_for_a_machine_s_own() -> _Maker:
    """Return what `google.auth.default` asks by.

    Its own asks for the metadata server three times, 3 s each: 12 s with the pauses in between,
    for every preview of a person who is not logged in. One that is there answers at once.
    """
    from google.auth.exceptions import DefaultCredentialsError, TransportError
    from google.auth.transport.requests import Request

    ask = cast("_Maker", Request())

    def request(url: str, method: str = "GET", **options: object) -> object:
        if not url.startswith("http://"):
            return ask(url, method=method, **options)
        try:
            return ask(url, method=method, **{**options, "timeout": _METADATA_SECONDS})
        except TransportError:
            # Anything else is a reason for it to try again.
            raise DefaultCredentialsError("none by a login, and no metadata server") from None

    return request


def _load(named: str) -> object:
    """Return the credentials in `named`: a file's path or the JSON itself, as the provider has it.

    Raises `OSError`, and `ValueError` that does not repeat them.
    """
    inline = named.lstrip().startswith("{")
    try:
        content: Json = json.loads(named if inline else Path(named).read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError("it is no JSON, or no text") from None
    kind = dig_text(content, "type")
    if kind == "service_account":
        accounts = import_module("google.oauth2.service_account")
        from_key: _Maker = accounts.Credentials.from_service_account_info
        return from_key(content, scopes=[SCOPE])
    if kind == "authorized_user":
        users = import_module("google.oauth2.credentials")
        from_login: _Maker = users.Credentials.from_authorized_user_info
        return from_login(content, scopes=[SCOPE])
    raise ValueError(
        "it is neither a service account's key nor a user's login; other kinds go by "
        "GOOGLE_APPLICATION_CREDENTIALS"
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
