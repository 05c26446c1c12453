"""What the gateway itself answers, in the shape of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from aiohttp import web
from multidict import CIMultiDict


def refusal(
    status: int,
    code: str | None,
    message: str,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return an error as OpenAI's clients read it. `code` is for programs."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def no_such_path() -> web.Response:
    """Answer a path that does not pass."""
    return refusal(
        404,
        "unknown_path",
        "nothing is here: the API lies under /v1 (chat/completions, completions, embeddings, "
        "responses, models)",
    )


def wrong_method(allow: str) -> web.Response:
    """Answer a method that the path does not take."""
    return refusal(405, "method_not_allowed", f"this path takes {allow}", {"Allow": allow})


def wrong_key() -> web.Response:
    """Answer a request without a right key."""
    return refusal(
        401,
        "invalid_api_key",
        "the API key is missing or wrong; send it as `Authorization: Bearer KEY`",
        {"WWW-Authenticate": "Bearer"},
    )


def too_large(limit_bytes: int) -> web.Response:
    """Answer a body that is over the limit."""
    return refusal(413, "body_too_large", f"a request's body may have {limit_bytes} bytes at most")


def too_many(limit: int) -> web.Response:
    """Answer a request that comes while as many as may be are being answered."""
    return refusal(
        429,
        "too_many_requests",
        f"{limit} requests are being answered, which is the limit; ask again in a second",
        {"Retry-After": "1"},
    )


def too_slow() -> web.Response:
    """Answer a request whose body did not come."""
    return refusal(408, "request_timeout", "the request's body did not come in time")


def time_limit() -> web.Response:
    """Answer a request that took longer than one may before its answer began."""
    return refusal(504, "time_limit", "the answer took longer than a request may take")


def no_such_model() -> web.Response:
    """Answer for a model that is not served."""
    return refusal(404, "model_not_found", "no such model is served; GET /v1/models lists them")


def not_ready(stage: str, message: str) -> web.Response:
    """Answer a request that no model server can take."""
    return refusal(
        503,
        "not_ready",
        f"the endpoint can't answer now; stage {stage}: {message}",
        {"Retry-After": "5"},
    )


def of_server(status: int, message: str, headers: Sequence[tuple[str, str]]) -> web.Response:
    """Pass on a model server's own error, which said it as a text alone."""
    return refusal(status, None, message, CIMultiDict(headers))


def error_text(body: bytes) -> str | None:
    """Return the text of an error `{"error": "text"}`; None where `body` is anything else."""
    try:
        content: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = cast("dict[str, object]", content).get("error") if isinstance(content, dict) else None
    return error if isinstance(error, str) else None
