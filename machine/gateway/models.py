"""The models that all servers have, in one list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import cast

import aiohttp

from machine.gateway.settings import Upstream

Model = dict[str, object]


class ListUnavailableError(Exception):
    """A server did not list its models."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(f"{upstream.name} does not list its models")
        self.upstream = upstream


async def all_models(
    session: aiohttp.ClientSession, upstreams: Sequence[Upstream]
) -> Sequence[Model]:
    """Return every server's models, an id that two of them have once.

    Raises `ListUnavailableError`.
    """
    lists = await asyncio.gather(*(_listed_by(session, upstream) for upstream in upstreams))
    merged: dict[object, Model] = {}
    for model in (model for models in lists for model in models):
        merged.setdefault(model.get("id"), model)
    return tuple(merged.values())


async def _listed_by(session: aiohttp.ClientSession, upstream: Upstream) -> list[Model]:
    try:
        async with session.get(
            f"{upstream.origin}{upstream.api_path}/models", allow_redirects=False
        ) as answer:
            text = await answer.read() if answer.status == 200 else b""
        content: object = json.loads(text)
    except (aiohttp.ClientError, OSError, ValueError):
        raise ListUnavailableError(upstream) from None
    entries = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    data = entries.get("data")
    # OpenVINO Model Server lists none while it loads the one that it has.
    if not isinstance(data, list) or not data:
        raise ListUnavailableError(upstream)
    models = cast("list[object]", data)
    return [cast("Model", model) for model in models if isinstance(model, dict)]
