"""GitHub's REST API, as far as a comment and an issue need it, with the standard library alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TypeAlias, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

Object: TypeAlias = Mapping[str, object]

TOKEN_VARIABLE = "GH_TOKEN"  # noqa: S105 - a variable's name
BOT = "github-actions[bot]"
"""Who writes with a workflow's own token."""
SECONDS = 20.0
MAX_ATTEMPTS = 4
PER_PAGE = 100
MOST_PAGES = 50
_BUSY = (429, 500, 502, 503, 504)
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]+/(?!\.+$)[A-Za-z0-9_.-]+")


class GitHubError(Exception):
    """GitHub refused, or gave no answer. `status` is HTTP's, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to the one host that was named."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@dataclass(frozen=True)
class GitHub:
    """One repository (`OWNER/NAME`) of the API at the URL `api`."""

    api: str
    repository: str
    token: str = field(repr=False)
    pause: Callable[[float], None] = time.sleep

    def every(self, path: str, **query: str) -> Iterator[Object]:
        """Yield the objects that the list at `path` has, page by page. Raises `GitHubError`."""
        for page in range(1, MOST_PAGES + 1):
            words = urlencode({**query, "per_page": PER_PAGE, "page": page})
            found = self.send("GET", f"{path}?{words}")
            entries = cast("list[object]", found) if isinstance(found, list) else []
            yield from (cast("Object", one) for one in entries if isinstance(one, dict))
            if len(entries) < PER_PAGE:
                return

    def send(self, method: str, path: str, body: Object | None = None) -> object:
        """Return the JSON that the repository's `path` answers. Raises `GitHubError`.

        Asked again while GitHub is busy, but for a POST that may have done its work.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return self._once(method, path, body)
            except GitHubError as error:
                passing = error.status == 429 or (
                    method != "POST" and (error.status == 0 or error.status in _BUSY)
                )
                if not passing or attempt == MAX_ATTEMPTS:
                    raise
            self.pause(2.0**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, method: str, path: str, body: Object | None) -> object:
        request = Request(
            f"{self.api}/repos/{self.repository}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
                "User-Agent": "llm-endpoint",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        what = f"{method} {path.partition('?')[0]}"
        try:
            with build_opener(_NoRedirects).open(request, timeout=SECONDS) as answer:
                return cast("object", json.loads(answer.read()))
        except HTTPError as error:
            with error:
                said = _message(error.read(10_000))
            raise GitHubError(f"{what}: HTTP {error.code}: {said}", error.code) from None
        except (URLError, HTTPException, OSError) as error:
            # Its text may hold the request.
            raise GitHubError(f"{what}: no answer ({type(error).__name__})") from None
        except ValueError:
            raise GitHubError(f"{what}: the answer is no JSON") from None


def _message(answer: bytes) -> str:
    try:
        content: object = json.loads(answer)
    except ValueError:
        return "no message"
    said = cast("Object", content).get("message") if isinstance(content, dict) else None
    return said[:300] if isinstance(said, str) else "no message"


def from_environment(environment: Mapping[str, str]) -> GitHub:
    """Return the API as a workflow's variables name it. Raises `GitHubError` where one lacks."""
    api = environment.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    parts = urlsplit(api)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) != ("http", "127.0.0.1"):
        raise GitHubError(f"GITHUB_API_URL is {api}: the token goes to https://… alone")
    repository = environment.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise GitHubError(f"GITHUB_REPOSITORY is {repository!r}, which is no OWNER/NAME")
    token = environment.get(TOKEN_VARIABLE, "")
    if not token:
        raise GitHubError(
            f"{TOKEN_VARIABLE} is not set: give the step `env: {TOKEN_VARIABLE}: "
            "${{ github.token }}`"
        )
    return GitHub(api, repository, token)


def own(entries: Iterator[Object], marker: str) -> Object | None:
    """Return the first of comments or issues that a workflow wrote under `marker`, or None."""
    for entry in entries:
        user = entry.get("user")
        login = cast("Object", user).get("login") if isinstance(user, dict) else None
        text = entry.get("body")
        # The API lists pull requests among the issues.
        is_pull = "pull_request" in entry
        if login == BOT and isinstance(text, str) and text.startswith(marker) and not is_pull:
            return entry
    return None


def number(entry: object, key: str) -> int:
    """Return the whole number at `key` of an object. Raises `GitHubError` where there is none."""
    found = cast("Object", entry).get(key) if isinstance(entry, dict) else None
    if not isinstance(found, int):
        raise GitHubError(f"GitHub's answer has no {key}")
    return found
