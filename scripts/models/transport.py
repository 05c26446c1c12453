"""HTTP to a hub or a file server: redirects, time limits, retries, and what to say when all fail.

What may be secret stays here: a token goes to the origin it belongs to and nowhere else, and no
message holds a URL's query or an exception's own text, which often quotes it.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import cast
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from components.models.reference import is_loopback, shown

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_CHUNK_BYTES = 256 * 1024
_LEAST_BYTES_A_WINDOW = 1024
_MOST_JSON_BYTES = 64 * 1024 * 1024
_LONGEST_RETRY_AFTER_SECONDS = 120.0

_CHECK_NETWORK = (
    "check the network and the proxy settings (HTTPS_PROXY, NO_PROXY), or download the file "
    "elsewhere and name it by its path"
)


class Obstacle(Enum):
    """What keeps a model file away: `PASSING` may be gone at another time, `SPACE` is a full disk.

    `LASTING` is all else: it stays until a person changes something.
    """

    LASTING = auto()
    PASSING = auto()
    SPACE = auto()


class ModelError(RuntimeError):
    """Why a model file can't be had: one message, with the next step, and no secret in it."""

    def __init__(self, message: str, obstacle: Obstacle = Obstacle.LASTING) -> None:
        super().__init__(message)
        self.obstacle = obstacle


class Passing(Exception):
    """A fault of one try that another try may not meet."""

    def __init__(
        self, what: str, next_step: str = _CHECK_NETWORK, wait_seconds: float | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Patience:
    """How long to wait for what; `sleep` pauses between tries and while another process works."""

    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    retries: int = 5
    first_pause_seconds: float = 1.0
    lock_seconds: float = 3600.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Token:
    """A bearer token and the one origin (scheme, host, port) that may see it."""

    origin: str
    secret: str

    def __repr__(self) -> str:
        return f"Token(origin={self.origin!r}, secret=…)"


class Attempts:
    """The tries at one job: counts the failures in a row, pauses between them, gives up."""

    def __init__(self, url: str, patience: Patience, report: Callable[[str], None]) -> None:
        self._url = url
        self._patience = patience
        self._report = report
        self._failures = 0

    def progressed(self) -> None:
        """Forget the failures: the last try brought something."""
        self._failures = 0

    def failed(self, fault: Passing) -> None:
        """Pause before the next try; raises `ModelError` where there is none left."""
        self._failures += 1
        pause = self._patience.first_pause_seconds * 2 ** (self._failures - 1)
        asked = fault.wait_seconds
        if asked is not None and asked > _LONGEST_RETRY_AFTER_SECONDS:
            raise ModelError(
                f"{shown(self._url)} {fault.what} and asks to wait {asked:.0f} s\n"
                f"next: {fault.next_step}",
                Obstacle.PASSING,
            )
        if self._failures > self._patience.retries:
            raise ModelError(
                f"{shown(self._url)} {fault.what} (tried {self._failures} times)\n"
                f"next: {fault.next_step}",
                Obstacle.PASSING,
            )
        pause = max(pause, asked or 0.0)
        host = urlsplit(self._url).hostname
        self._report(
            f"{host} {fault.what}; trying again in {pause:.0f} s "
            f"({self._failures} of {self._patience.retries})"
        )
        self._patience.sleep(pause)


class Client:
    """GET requests of one job, over kept connections, through the environment's proxies."""

    def __init__(
        self, patience: Patience, report: Callable[[str], None], token: Token | None = None
    ) -> None:
        self.patience = patience
        self.report = report
        self._token = token
        self._session = requests.Session()
        # An entry for the host in ~/.netrc would take the place of the header set below.
        self._session.auth = _leave_as_is

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """Try once, follow redirects, and return the answer with its body unread.

        Raises `Passing` for no connection, no answer in time, 408, 429 and 5xx, and `ModelError`
        for what stays as it is. Other statuses are the caller's to judge.
        """
        place = url
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._ask(place, headers or {})
            target = self._session.get_redirect_target(response)
            if response.status_code not in _REDIRECTS or not target:
                _raise_passing(response)
                return response
            response.close()
            place = _redirected(place, target)
        raise ModelError(
            f"{shown(url)} redirects more than {_MOST_REDIRECTS} times\n"
            "next: check the address, or name another source of the model"
        )

    def read_json(
        self, url: str, refuse: Callable[[requests.Response], ModelError]
    ) -> tuple[object, str | None]:
        """Return an answer's JSON and the address of its next page, trying again as needed.

        `refuse` makes the error of an answer whose status is not 200.
        """
        attempts = Attempts(url, self.patience, self.report)
        while True:
            try:
                with self.open(url) as response:
                    if response.status_code != 200:
                        raise refuse(response)
                    text = self._read_all(response)
                    following = response.links.get("next", {}).get("url")
            except Passing as fault:
                attempts.failed(fault)
                continue
            try:
                return json.loads(text), urljoin(url, following) if following else None
            except ValueError:
                raise ModelError(
                    f"{shown(url)} answered with something that is not JSON\n"
                    "next: check that HF_ENDPOINT is a Hugging Face hub, and that no login page "
                    "of the network answers in its place"
                ) from None

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield a body as it comes.

        Raises `Passing` where it breaks off, stalls, or comes at less than a kilobyte in
        `read_seconds`.
        """
        raw = cast(urllib3.HTTPResponse, response.raw)
        window_start, window_bytes = time.monotonic(), 0
        while True:
            try:
                data = raw.read1(_CHUNK_BYTES, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _fault(error, response.url, self.patience) from None
            if not data:
                return
            yield data
            window_bytes += len(data)
            now = time.monotonic()
            if now - window_start > self.patience.read_seconds:
                if window_bytes < _LEAST_BYTES_A_WINDOW:
                    raise Passing(f"sent only {window_bytes} bytes in {now - window_start:.0f} s")
                window_start, window_bytes = now, 0

    def _read_all(self, response: requests.Response) -> bytes:
        text = bytearray()
        for chunk in self.chunks(response):
            text += chunk
            if len(text) > _MOST_JSON_BYTES:
                raise Passing(f"answered with more than {_MOST_JSON_BYTES} bytes of JSON")
        return bytes(text)

    def _ask(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        # Compressed on the way, a body's length and ranges would not be the file's.
        sent = {**headers, "Accept-Encoding": "identity", "User-Agent": "llm-endpoint"}
        if self._token is not None and origin_of(url) == self._token.origin:
            sent["Authorization"] = f"Bearer {self._token.secret}"
        try:
            return self._session.get(
                url,
                headers=sent,
                stream=True,
                allow_redirects=False,
                timeout=(self.patience.connect_seconds, self.patience.read_seconds),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _fault(error, url, self.patience) from None


def _fault(error: Exception, url: str, patience: Patience) -> Passing | ModelError:
    """Say in our own words what went wrong; an exception's text may quote a whole URL."""
    chain = list(_chain(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    if has(ssl.SSLCertVerificationError):
        return ModelError(
            f"{shown(url)}: the server's TLS certificate can't be verified\nnext: behind a proxy "
            "that inspects TLS, set REQUESTS_CA_BUNDLE to the file with its CA certificate"
        )
    if has(requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
        return ModelError(f"{shown(url)} is not a URL that can be fetched\nnext: correct it")
    reasons = [link.strerror for link in chain if isinstance(link, OSError) and link.strerror]
    if has(requests.exceptions.ProxyError):
        what = "can't be reached: the proxy in HTTPS_PROXY or HTTP_PROXY fails"
    elif has(urllib3.exceptions.NameResolutionError):
        what = "can't be reached: its name does not resolve"
    elif has(requests.ConnectTimeout):
        what = f"did not take a connection within {patience.connect_seconds:g} s"
    elif has(requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError):
        what = f"sent nothing for {patience.read_seconds:g} s"
    elif has(urllib3.exceptions.IncompleteRead):
        what = "broke off in the middle"
    elif reasons:
        what = f"can't be reached: {reasons[-1].lower()}"
    else:
        what = "broke the connection"
    return Passing(what)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, the port always said; empty where it can't be read."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _leave_as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _redirected(place: str, target: str) -> str:
    """Return where a redirect leads; raises `ModelError` where it must not be followed."""
    target = urljoin(place, target)
    to = urlsplit(target)
    safe = to.scheme == "https" or (
        to.scheme == "http" and (urlsplit(place).scheme == "http" or is_loopback(to.hostname))
    )
    if not safe:
        raise ModelError(
            f"{shown(place)} redirects to {shown(target)}, which is not https\n"
            "next: name another source of the model"
        )
    return target


def _raise_passing(response: requests.Response) -> None:
    status = response.status_code
    if status not in {408, 429} and status < 500:
        return
    response.close()
    if status == 429:
        raise Passing(
            "answered 429, too many requests",
            "wait some minutes and run it again, which goes on from where it was; with HF_TOKEN "
            "set the hub allows more",
            _retry_after(response.headers.get("Retry-After")),
        )
    raise Passing(
        f"answered {status}",
        "the server has trouble: run it again later, which goes on from where it was",
        _retry_after(response.headers.get("Retry-After")),
    )


def _retry_after(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date, as seconds from now."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what lies behind it: causes, contexts, and exceptions it wraps."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
