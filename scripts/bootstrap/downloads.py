"""Fetching over HTTP: small texts, and large files that resume and show progress."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

from scripts.bootstrap.console import megabytes, note

CONNECT_SECONDS = 4.0
STALL_SECONDS = 30.0
_TEXT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_SHOWN_EVERY_SECONDS = 5.0
_ATTEMPTS = 3

_Answer = TypeVar("_Answer")


class Unreachable(Exception):
    """The address did not give what was asked for; the message says why."""


def fetch_text(url: str) -> str:
    """Return the text at `url`. Raises `Unreachable`, after 4 s where nothing answers."""

    def ask() -> str | Unreachable:
        try:
            with _open(urllib.request.Request(url), CONNECT_SECONDS) as response:
                return response.read(_TEXT_BYTES).decode("utf-8")
        except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
            return Unreachable(_why(url, error))

    answer = _in_time(ask) or Unreachable(
        f"{urlsplit(url).netloc}: no answer in {CONNECT_SECONDS:.0f} s"
    )
    if isinstance(answer, Unreachable):
        raise answer
    return answer


def answers(url: str) -> bool:
    """Whether something answers at `url` within 4 s, be it with a refusal."""

    def ask() -> bool:
        try:
            with _open(urllib.request.Request(url), CONNECT_SECONDS):
                return True
        except urllib.error.HTTPError as error:
            # 407 is a proxy's own answer.
            return error.code < 500 and error.code != 407
        except (OSError, http.client.HTTPException):
            return False

    return _in_time(ask) or False


def _in_time(ask: Callable[[], _Answer]) -> _Answer | None:
    """Return what `ask` does, or None after 4 s.

    A silent name server holds a request longer than the request's own timeout.
    """
    came: list[_Answer] = []
    asking = threading.Thread(target=lambda: came.append(ask()), daemon=True)
    asking.start()
    asking.join(CONNECT_SECONDS)
    return came[0] if came else None


def fetch_file(url: str, target: Path) -> str:
    """Fetch `url` into the file `target` and return its sha256, in hexadecimal.

    What an earlier try left in `target` is added to. Three tries; raises `Unreachable`.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _continue(url, target)
            with target.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, http.client.HTTPException) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if attempt == _ATTEMPTS or final:
                raise Unreachable(_why(url, error)) from None
            note(f"  {_why(url, error)}; trying again")
    raise AssertionError("unreachable")


def _continue(url: str, target: Path) -> None:
    have = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _open(request, STALL_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # The server has no more than we have, or something else.
        target.unlink()
        _continue(url, target)
        return
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        with target.open("ab" if resumed else "wb") as file:
            _copy(response, file, url.rsplit("/", 1)[-1], have, total)
    size = target.stat().st_size
    if total is not None and size < total:
        raise OSError(f"only {size} of {total} bytes came")


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, name: str, have: int, total: int | None
) -> None:
    shown = time.monotonic()
    while chunk := response.read(_CHUNK_BYTES):
        file.write(chunk)
        have += len(chunk)
        if time.monotonic() - shown >= _SHOWN_EVERY_SECONDS:
            shown = time.monotonic()
            note(f"  {name}: {megabytes(have)}{f' of {megabytes(total)}' if total else ''}")


def _open(request: urllib.request.Request, seconds: float) -> http.client.HTTPResponse:
    request.add_header("User-Agent", "llm-endpoint")
    return cast("http.client.HTTPResponse", urllib.request.urlopen(request, timeout=seconds))


def _why(url: str, error: Exception) -> str:
    host = urlsplit(url).netloc
    if isinstance(error, urllib.error.HTTPError):
        return f"{host} answers {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return f"{host}: {said or type(reason).__name__}"
