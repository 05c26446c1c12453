"""Which requests pass, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote


class Asked(StrEnum):
    """What a request that passes asks for."""

    HEALTH = "health"
    MODELS = "models"
    MODEL = "model"
    GENERATION = "generation"
    EMBEDDINGS = "embeddings"
    CLASSIC = "classic"


@dataclass(frozen=True)
class Route:
    """A request that passes.

    `shown` is its path as logs have it: nothing of it was chosen by the client. `below` is the
    path below the API's (`/chat/completions`), for `Asked.CLASSIC` the server's own; `model` the id
    that `Asked.MODEL` asks for.
    """

    asked: Asked
    shown: str
    below: str = ""
    model: str = ""


@dataclass(frozen=True)
class NoRoute:
    """A request that does not pass: 404, or 405 with the one method that would do in `allow`."""

    status: int
    shown: str | None = None
    allow: str | None = None


_API = "/v1"
_MODELS = f"{_API}/models"
_POSTED = {
    f"{_API}/chat/completions": Asked.GENERATION,
    f"{_API}/completions": Asked.GENERATION,
    f"{_API}/responses": Asked.GENERATION,
    f"{_API}/embeddings": Asked.EMBEDDINGS,
}


def route(method: str, path: str) -> Route | NoRoute:
    """Return what becomes of a request, by its path as the client wrote it, without the query."""
    found = _at(path)
    if found is None:
        return NoRoute(404)
    allowed = "POST" if path in _POSTED else "GET"
    return found if method == allowed else NoRoute(405, found.shown, allowed)


def _at(path: str) -> Route | None:
    if path in _POSTED:
        return Route(_POSTED[path], path, below=path.removeprefix(_API))
    if path == "/health":
        return Route(Asked.HEALTH, path)
    if path == _MODELS:
        return Route(Asked.MODELS, path)
    if path.startswith(f"{_MODELS}/") and (model := unquote(path.removeprefix(f"{_MODELS}/"))):
        return Route(Asked.MODEL, f"{_MODELS}/*", model=model)
    return None
