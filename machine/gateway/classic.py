"""The paths of classic models: KServe's v2 REST API below `/models`.

`GET /models` tells the state of each model that is configured. `/models/NAME`, and what lies below
it, is the server's `/v2/models/NAME`; so is `/models/v2/models/NAME`, for clients that take
`/models` for the server's address. Nothing else of the server passes: it reloads its configuration
for whoever asks (github.com/openvinotoolkit/model_server, src/http_rest_api_handler.cpp).
"""

from __future__ import annotations

import asyncio
import json
import re

import aiohttp
from aiohttp import web
from yarl import URL

from machine.gateway import answers, states
from machine.gateway.access_log import End
from machine.gateway.forward import Exchange, Forwarder
from machine.gateway.routes import Asked, NoRoute, Route
from machine.gateway.settings import Upstream

_OURS = "/models"
_SERVER = frozenset({"/v2", "/v2/health/live", "/v2/health/ready"})
_API = "/v2/models"
_MODEL = re.compile(
    r"/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(/versions/[1-9][0-9]{0,8})?(/ready|/infer)?"
)


class ClassicModels:
    """The models of `upstream`, which has some."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def route(self, method: str, path: str) -> Route | NoRoute | None:
        """Return what becomes of a request; None where its path is none of classic models."""
        found = _at(path)
        if found is None:
            return None
        # Not by the path itself: a model may have that name.
        allowed = "POST" if found.shown.endswith("/infer") else "GET"
        return found if method == allowed else NoRoute(405, found.shown, allowed)

    async def answer(
        self, forwarder: Forwarder, exchange: Exchange, found: Route, body: bytes
    ) -> web.StreamResponse:
        """Answer a request that passed; the server's errors stay as KServe's clients read them."""
        if found.below:
            return await forwarder.send(
                exchange, self._upstream, found.below, body, errors_as_they_are=True
            )
        upstream = self._upstream
        try:
            async with (
                asyncio.timeout_at(exchange.deadline),
                forwarder.session.get(
                    URL(f"{upstream.origin}{upstream.state_path}", encoded=True),
                    allow_redirects=False,
                ) as answer,
            ):
                content: object = json.loads(await answer.read())
        except (aiohttp.ClientError, ValueError):
            return forwarder.absent(exchange, upstream)
        except TimeoutError:
            exchange.entry.end = End.TIME_LIMIT
            return answers.time_limit()
        except OSError:
            return forwarder.absent(exchange, upstream)
        return web.json_response({"models": self._told(content)})

    def _told(self, content: object) -> list[dict[str, object]]:
        """Return what the server tells of each model; nulls where it tells nothing of it (yet)."""
        by_version = states.by_version(content)
        told: list[dict[str, object]] = []
        for each in self._upstream.models:
            name, _, version = each.partition("@")
            found = by_version.get(each, {})
            status = states.status_of(found)
            told.append(
                {
                    "name": name,
                    "version": version,
                    "state": found.get("state"),
                    "error_code": status.get("error_code"),
                    "error_message": status.get("error_message"),
                }
            )
        return told


def _at(path: str) -> Route | None:
    if path == _OURS:
        return Route(Asked.CLASSIC, _OURS)
    if not path.startswith(f"{_OURS}/"):
        return None
    rest = path.removeprefix(_OURS)
    if rest in _SERVER:
        return Route(Asked.CLASSIC, path, below=rest)
    api = _API if rest.startswith(f"{_API}/") else ""
    model = rest.removeprefix(api)
    match = _MODEL.fullmatch(model)
    if match is None or (not api and rest.startswith("/v2/")):
        return None
    version, verb = match.groups(default="")
    shown = f"{_OURS}{api}/*{version and '/versions/*'}{verb}"
    return Route(Asked.CLASSIC, shown, below=f"{_API}{model}")
