"""A client of storage that speaks S3, AWS's own or another's, and what its errors mean."""

from __future__ import annotations

import re
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import boto3.session
from botocore import exceptions as botocore_exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from components.models.registry import RegistryUrl
from scripts.model_registry.bucket import (
    COMMAND,
    Denied,
    MissingBucket,
    MissingObject,
    ObjectExists,
    RegistryFault,
)

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

DEFAULT_REGION = "us-east-1"
"""What requests are signed for where nobody names a region; only AWS looks at it."""

_CONNECT_SECONDS = 10
_READ_SECONDS = 60

_MISSING_OBJECT = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
_EXISTS = frozenset({"PreconditionFailed", "412"})
_CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "Unauthorized",
        "401",
        "403",
        "Forbidden",
    }
)
_REGION = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "301",
    }
)
_OTHERWISE_403 = _REGION | {"RequestTimeTooSkewed"}
_PASSING = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_UNKNOWN = frozenset(
    {
        "MethodNotAllowed",
        "NotImplemented",
        "NotSupported",
        "Unsupported",
        "UnsupportedOperation",
        "XNotImplemented",
        "405",
        "501",
    }
)


class UploadGone(RegistryFault):
    """An upload in parts that was begun is no more; another try begins a new one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, lasting=False)


@dataclass(frozen=True)
class Answer:
    """How storage refused: its error code, of letters and digits alone, and the HTTP status."""

    code: str
    status: int

    @property
    def unknown_here(self) -> bool:
        """Whether this storage does not have what was asked of it."""
        return self.code in _UNKNOWN or self.status in {405, 501}


def answer_of(error: ClientError) -> Answer:
    """Return how storage refused. Its own message is left out: some quote what was signed."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Answer(re.sub(r"[^A-Za-z0-9.]", "", code)[:64], status)


class _Session(Protocol):
    """The part of `boto3.session.Session` used here: its types are those of every service."""

    @property
    def region_name(self) -> str | None: ...

    def client(
        self, service: str, *, region_name: str, endpoint_url: str | None, config: Config
    ) -> object: ...


def open_client(url: RegistryUrl, environ: Mapping[str, str]) -> S3Client:
    """Return a client for `url`, with the keys that `environ` has, else those boto3 finds.

    It tries once: whoever calls knows how to go on. Third-party storage gets no checksums but
    Content-MD5, which all know; boto3's own since 1.36 are refused by some.
    """
    key_id = environ.get("AWS_ACCESS_KEY_ID") or None
    secret_key = environ.get("AWS_SECRET_ACCESS_KEY") or None
    if (key_id is None) != (secret_key is None):
        missing = "AWS_ACCESS_KEY_ID" if key_id is None else "AWS_SECRET_ACCESS_KEY"
        raise RegistryFault(
            f"{url}: {missing} is not set, and the other half of the key is\nnext: set both",
            lasting=True,
        )
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if url.endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    region = url.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    with faults(url):
        made = boto3.session.Session(
            aws_access_key_id=key_id,
            aws_secret_access_key=secret_key,
            aws_session_token=environ.get("AWS_SESSION_TOKEN") or None,
        )
        session = cast("_Session", made)
        client = session.client(
            "s3",
            region_name=region or session.region_name or DEFAULT_REGION,
            endpoint_url=url.endpoint,
            config=config,
        )
    return cast("S3Client", client)


@contextmanager
def faults(url: RegistryUrl, key: str | None = None) -> Generator[None]:
    """Raise what the client raises as `RegistryFault`, with the next step and no credential."""
    try:
        yield
    except ClientError as error:
        raise _refused(url, key, answer_of(error)) from None
    except BotoCoreError as error:
        raise _unreached(url, error) from None
    except ResponseParserError:
        raise _cut(url, "answers with something that is not S3's") from None
    except OSError as error:
        raise _cut(url, f"fails: {(error.strerror or type(error).__name__).lower()}") from None


def _refused(url: RegistryUrl, key: str | None, answer: Answer) -> RegistryFault:
    code = answer.code
    what = f"{url}" if key is None else f"{key} in s3://{url.bucket}"
    if code == "NoSuchBucket":
        return MissingBucket(
            f"{url}: there is no bucket {url.bucket}\n"
            f"next: correct the URL, or make it: {COMMAND} make '{url}'"
        )
    if code in _MISSING_OBJECT:
        return MissingObject(f"{what} is not there\nnext: push it again")
    if code in _EXISTS:
        return ObjectExists(f"{what} is there already\nnext: push another version")
    if code == "NoSuchUpload":
        return UploadGone(
            f"{what}: the upload that was begun is no more\nnext: run it again, which begins anew"
        )
    if code in _CREDENTIALS or (answer.status in {401, 403} and code not in _OTHERWISE_403):
        return Denied(
            f"{what}: the storage refuses these credentials ({answer.status} {code})\n"
            "next: check the key's id and secret, and that it may read this bucket (and write it, "
            "to push)",
            lasting=True,
        )
    told, next_step, lasting = _told(url, answer)
    return RegistryFault(f"{what}: {told}\nnext: {next_step}", lasting=lasting)


def _told(url: RegistryUrl, answer: Answer) -> tuple[str, str, bool]:
    """Return what an answer says, the next step, and whether it is lasting."""
    code, status = answer.code, answer.status
    answered = f"the storage answered {status} {code}".rstrip()
    if code == "RequestTimeTooSkewed":
        return "this machine's clock differs too much from the storage's", "set the clock", True
    if code in _REGION:
        return (
            f"the bucket is in another region than {url.region or 'the one that was asked'}",
            f"name its region in the URL: s3://{url.bucket}?region=REGION",
            True,
        )
    if code in _PASSING or status == 429 or (status >= 500 and not answer.unknown_here):
        return answered, "run it again later, which goes on from where it was", False
    return answered, "check that the URL's endpoint is that of storage which speaks S3", True


def _unreached(url: RegistryUrl, error: BotoCoreError) -> RegistryFault:
    place = url.endpoint or "AWS"
    if isinstance(
        error,
        botocore_exceptions.NoCredentialsError | botocore_exceptions.PartialCredentialsError,
    ):
        return RegistryFault(
            f"{url}: there are no credentials\n"
            "next: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with aws configure",
            lasting=True,
        )
    if isinstance(error, botocore_exceptions.CredentialRetrievalError):
        return RegistryFault(
            f"{url}: the credentials can't be had from where they come\n"
            "next: log in again, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            lasting=False,
        )
    if isinstance(error, botocore_exceptions.SSLError) and _unverified(error):
        return RegistryFault(
            f"{place}: its TLS certificate can't be verified\nnext: behind a proxy that inspects "
            "TLS, set AWS_CA_BUNDLE to the file with its CA certificate",
            lasting=True,
        )
    if isinstance(error, botocore_exceptions.ConnectTimeoutError):
        what = f"did not take a connection within {_CONNECT_SECONDS} s"
    elif isinstance(error, botocore_exceptions.ReadTimeoutError):
        what = f"sent nothing for {_READ_SECONDS} s"
    elif isinstance(error, botocore_exceptions.ProxyConnectionError):
        what = "can't be reached: the proxy in HTTPS_PROXY or HTTP_PROXY fails"
    elif isinstance(error, botocore_exceptions.EndpointConnectionError):
        what = "can't be reached"
    elif isinstance(
        error, botocore_exceptions.HTTPClientError | botocore_exceptions.IncompleteReadError
    ):
        what = "broke the connection"
    else:
        # What the client itself refuses to send: a name or a profile that can't be.
        return RegistryFault(
            f"{url}: the client of S3 takes it not ({type(error).__name__})\n"
            "next: check the URL, and the profile that AWS_PROFILE names",
            lasting=True,
        )
    return _cut(url, what)


def _cut(url: RegistryUrl, what: str) -> RegistryFault:
    return RegistryFault(
        f"{url.endpoint or 'AWS'} {what}\n"
        "next: check the network and the proxy settings (HTTPS_PROXY, NO_PROXY)",
        lasting=False,
    )


def _unverified(error: BotoCoreError) -> bool:
    details = cast(dict[str, object], error.kwargs)
    link: object = details.get("error")
    for _ in range(8):
        if isinstance(link, ssl.SSLCertVerificationError):
            return True
        if not isinstance(link, BaseException):
            return False
        link = getattr(link, "reason", None) or link.__cause__ or link.__context__
    return False
