"""HTTP to one endpoint: bounded in time and size, and careful with the key.

The key goes to that origin only: redirects elsewhere are refused, `~/.netrc` is never read, and
the environment's proxies are not used for loopback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from scripts.verify.bounds import Deadline
from scripts.verify.faults import diagnose
from scripts.verify.options import Endpoint
from scripts.verify.outcome import Failure
from scripts.verify.scrub import Scrubber
from scripts.verify.shape import Json, dig, dig_text, excerpt, one_line, parse_json
from scripts.verify.via import Route
from scripts.verify.via_adapter import ViaAdapter

if TYPE_CHECKING:
    from requests.models import PreparedRequest

CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
MODELS_PATH = "/v1/models"

BODY_LIMIT_BYTES = 8 * 1024 * 1024
CONNECT_SECONDS = 10.0
MAX_ATTEMPTS = 5
MAX_REDIRECTS = 3
_BUSY = (429, 503)
_QUOTED_CHARACTERS = 4000  # scrubbed before it is cut to an excerpt


class _Raw(Protocol):
    """The part of urllib3's response that is read here."""

    def read1(self, amt: int, decode_content: bool) -> bytes: ...


class _Authorization(AuthBase):
    """Sets the key, or no key. Given either way, since without it requests asks `~/.netrc`."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        if self._key is not None:
            r.headers["Authorization"] = f"Bearer {self._key}"
        return r


class _Session(requests.Session):
    """Leaves redirects alone. Told not to follow one, requests still reads its whole body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none."""


@dataclass(frozen=True)
class Content:
    """A body that is sent as it is, with what headers say of it."""

    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, its body read in full."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Talks to `endpoint` with `key`, or without one.

    `ca_file` is a PEM file of the CAs to trust instead of the machine's own. `route` is where to
    connect to instead of the URL's host. `headers` go with every request. Not for several threads
    at once: `copy` makes one for each.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None,
        *,
        scrubber: Scrubber,
        ca_file: Path | None = None,
        route: Route | None = None,
        headers: Mapping[str, str] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._key = key
        self._scrubber = scrubber
        self._ca_file = ca_file
        self._route = route
        self._headers = dict(headers or {})
        self._pause = pause
        self._session = _Session()
        if route is not None:
            for scheme in ("http://", "https://"):
                self._session.mount(scheme, ViaAdapter(route))
        self._session.trust_env = not endpoint.is_loopback
        self._session.headers.update({"Accept-Encoding": "identity", **self._headers})

    def copy(self, *, key: str | None) -> Client:
        """Return another client for the same endpoint, with `key`."""
        return Client(
            self.endpoint,
            key,
            scrubber=self._scrubber,
            ca_file=self._ca_file,
            route=self._route,
            headers=self._headers,
            pause=self._pause,
        )

    @property
    def key(self) -> str | None:
        """The key that this client sends."""
        return self._key

    def quote(self, text: str) -> str:
        """Return the start of `text` as a message may show it."""
        return excerpt(self._scrubber.text(text[:_QUOTED_CHARACTERS]))

    def ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Json | Content = None,
        *,
        retry: bool = True,
        most_bytes: int = BODY_LIMIT_BYTES,
    ) -> Answer:
        """Return the answer, whatever its status.

        429 and 503 are asked again while the deadline allows, after the time that `Retry-After`
        gives; not without `retry`. Raises `Failure`, also for a body of more than `most_bytes`.
        """
        with self._open(method, path, deadline, body, retry=retry) as response:
            parts = list(self._read(response, deadline, most_bytes))
            return Answer(response.status_code, response.headers, b"".join(parts))

    def ask_json(self, method: str, path: str, deadline: Deadline, body: Json = None) -> Json:
        """Return the JSON value that comes with status 200. Raises `Failure` for all else."""
        answer = self.ask(method, path, deadline, body)
        if answer.status != 200:
            raise self.refusal(method, path, answer)
        try:
            return parse_json(answer.body)
        except ValueError:
            kind = answer.headers.get("Content-Type", "no content type")
            text = answer.body.decode(errors="replace")
            raise Failure(
                f"JSON from {method} {path}",
                f"{self.quote(kind)}, {len(answer.body)} bytes: {self.quote(text) or 'nothing'}",
                "look whether something else answers there: a proxy's page, another server, or a "
                "gateway that cuts answers off",
            ) from None

    @contextmanager
    def stream(self, path: str, body: Json, deadline: Deadline) -> Generator[Iterator[bytes]]:
        """Give the bytes of a 200 answer to a POST as they come. Raises `Failure`."""
        with self._open("POST", path, deadline, body, retry=True) as response:
            if response.status_code != 200:
                parts = b"".join(self._read(response, deadline))
                answer = Answer(response.status_code, response.headers, parts)
                raise self.refusal("POST", path, answer)
            yield self._read(response, deadline)

    def describe(self, answer: Answer) -> str:
        """Return the answer's status and the error that it gives, in a few words."""
        text = answer.body.decode(errors="replace")
        try:
            error = dig(parse_json(text), "error")
        except ValueError:
            error = None
        message = dig_text(error, "message") or (error if isinstance(error, str) else text)
        wait = answer.headers.get("Retry-After")
        again = f", asks to come back after {self.quote(wait)}" if wait else ""
        return f"HTTP {answer.status}{again}: {self.quote(message) or 'an empty body'}"

    def refusal(self, method: str, path: str, answer: Answer) -> Failure:
        """Return the failure that an answer other than 200 means."""
        status = answer.status
        if status in (401, 403):
            step = (
                "give the endpoint's key by --key-env or --key-file"
                if self._key is None
                else "look whether the key is this endpoint's, and whole"
            )
        elif status in (404, 405):
            step = "look whether the gateway passes that path on, and whether the engine has it"
        elif status in _BUSY:
            step = "look at what else uses the endpoint, and at the gateway's limits"
        elif status >= 500:
            step = "look at the server's log"
        else:
            step = "look at the message: the engine may not know a field of the request"
        return Failure(f"HTTP 200 from {method} {path}", self.describe(answer), step)

    @contextmanager
    def _open(
        self, method: str, path: str, deadline: Deadline, body: Json | Content, *, retry: bool
    ) -> Generator[requests.Response]:
        """Send, ask again while the endpoint is busy, and give the answer with its body unread."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            response = self._send(method, path, deadline, body)
            try:
                wait = _busy_seconds(response, attempt)
                last = attempt == MAX_ATTEMPTS or not retry
                if wait is None or last or wait >= deadline.remaining():
                    yield response
                    return
            finally:
                response.close()
            deadline.note = f"HTTP {response.status_code}, asked {attempt} times"
            self._pause(wait)

    def _send(
        self, method: str, path: str, deadline: Deadline, body: Json | Content
    ) -> requests.Response:
        """Send one request and follow redirects within the origin."""
        url = self.endpoint.url + path
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send_once(method, url, deadline, body)
            location = response.headers.get("Location")
            if not 300 <= response.status_code < 400 or location is None:
                return response
            response.close()
            target = _joined(url, location)
            if target is None or _origin(target) != _origin(self.endpoint.url):
                raise Failure(
                    f"an answer from {self.endpoint.url} itself",
                    f"HTTP {response.status_code} to another origin, {self.quote(location)}: "
                    "not followed, since the key would go there",
                    "if that is the endpoint, give it as the URL",
                )
            if response.status_code not in (307, 308) and method != "GET":
                raise Failure(
                    f"an answer to {method} {path}",
                    f"HTTP {response.status_code} to {self.quote(target)}, which drops the body",
                    "look at the gateway's redirects: 308 keeps method and body",
                )
            url = target
        raise Failure(
            f"an answer to {method} {path}",
            f"more than {MAX_REDIRECTS} redirects",
            "look at the gateway's redirects",
        )

    def _send_once(
        self, method: str, url: str, deadline: Deadline, body: Json | Content
    ) -> requests.Response:
        deadline.check()
        left = max(deadline.remaining(), 0.001)
        plain = body if isinstance(body, Content) else None
        try:
            return self._session.request(
                method,
                url,
                data=plain and plain.data,
                headers=plain and plain.headers,
                json=None if isinstance(body, Content) else body,
                auth=_Authorization(self._key),
                timeout=(min(left, CONNECT_SECONDS), left),
                allow_redirects=False,
                stream=True,
                # With the request, not the session: there REQUESTS_CA_BUNDLE would win.
                verify=str(self._ca_file) if self._ca_file else True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            problem = None if self._route is None else self._route.problem()
            raise problem or diagnose(error, self.endpoint, deadline.note) from None

    def _read(
        self,
        response: requests.Response,
        deadline: Deadline,
        most_bytes: int = BODY_LIMIT_BYTES,
    ) -> Iterator[bytes]:
        """Yield the body's bytes as they come. Raises `Failure`."""
        raw = cast("_Raw", response.raw)
        count = 0
        if deadline.note == Deadline.UNANSWERED:
            deadline.note = f"HTTP {response.status_code} had come, no body"
        while True:
            try:
                data = raw.read1(65536, decode_content=True)
            except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
                raise diagnose(error, self.endpoint, deadline.note) from None
            if not data:
                return
            count += len(data)
            if count > most_bytes:
                raise Failure(
                    f"a body of at most {most_bytes // 2**20} MiB",
                    f"more than that, beginning {self.quote(data.decode(errors='replace'))}",
                    "look what answers there",
                )
            yield data
            deadline.check()


def _joined(url: str, location: str) -> str | None:
    """Return where `location` leads from `url`; None where it is no URL."""
    try:
        target = urljoin(url, location)
        _origin(target)
    except ValueError:
        return None
    return target


def _origin(url: str) -> tuple[str, str | None, int]:
    """Return scheme, host and port. Raises `ValueError`."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _busy_seconds(response: requests.Response, attempt: int) -> float | None:
    """Return how long to wait before asking again; None where the server isn't busy."""
    if response.status_code not in _BUSY:
        return None
    asked = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
    return 0.5 * 2 ** (attempt - 1) if asked is None else asked


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header gives (a number or an HTTP date)."""
    if header is None:
        return None
    text = one_line(header)
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
