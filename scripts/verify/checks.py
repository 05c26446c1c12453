"""The checks that every endpoint has to pass: the key, the model, a chat.

No check depends on what the model says, only on the form in which it comes: the smallest real
model passes.
"""

from __future__ import annotations

import secrets

from scripts.verify.bounds import Deadline
from scripts.verify.client import CHAT_PATH, MODELS_PATH, Client
from scripts.verify.context import Context
from scripts.verify.outcome import Failure, Skipped
from scripts.verify.shape import Json, dig, dig_count, dig_text
from scripts.verify.streaming import REASONING_FIELDS

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter")
_REFUSALS = (401, 403)


def refuses_without_key(context: Context, deadline: Deadline) -> str:
    """A chat without a key, and one with a wrong key, are refused with 401 or 403.

    A chat, since engines leave `/health` and often `/v1/models` open.
    """
    options, client = context.options, context.client
    if options.key is None:
        if options.endpoint.is_loopback:
            raise Skipped("no key was given, and the endpoint is on this machine's loopback")
        raise Failure(
            "an endpoint with a key",
            "no key was given, and the endpoint is not on loopback: anyone may use it",
            "give the key by --key-env or --key-file; an endpoint without one needs one first",
        )
    seen = [
        _refused(client.copy(key=None), "without a key", context, deadline),
        _refused(
            client.copy(key=f"wrong-{secrets.token_hex(16)}"), "with a wrong key", context, deadline
        ),
    ]
    return ", ".join(seen)


def _refused(client: Client, how: str, context: Context, deadline: Deadline) -> str:
    body = context.chat("Hello", 1) | {"model": context.options.model or "any"}
    answer = client.ask("POST", CHAT_PATH, deadline, body)
    if answer.status in _REFUSALS:
        return f"{how} {answer.status}"
    raise Failure(
        f"HTTP 401 or 403 to a chat {how}",
        client.describe(answer),
        "look whether the server was started with its API key and the gateway checks it"
        if answer.status == 200
        else "look why a chat without the right key gets as far as that",
    )


def lists_model(context: Context, deadline: Deadline) -> str:
    """`/v1/models` lists the model by the id that was given, or lists one at all."""
    listing = context.client.ask_json("GET", MODELS_PATH, deadline)
    entries = dig(listing, "data")
    by_id: dict[str, Json] = {}
    for entry in entries if isinstance(entries, list) else []:
        if name := dig_text(entry, "id"):
            by_id.setdefault(name, entry)
    wanted = context.options.model or next(iter(by_id), None)
    if wanted is None or wanted not in by_id:
        ids = context.client.quote(", ".join(by_id)) or "no model at all"
        raise Failure(
            f"the model {wanted!r} in {MODELS_PATH}" if wanted else f"a model in {MODELS_PATH}",
            ids,
            "look which model the server loaded, and under which id; --model takes one of those "
            "listed",
        )
    context.findings.model = wanted
    context.findings.listed = by_id[wanted]
    return wanted if len(by_id) == 1 else f"{wanted}, one of {len(by_id)}"


def chat(context: Context, deadline: Deadline) -> str:
    """A chat answers with text (or with reasoning, where the model reasons first) and an end."""
    body = context.chat("Say hello.", 32)
    answer = context.client.ask_json("POST", CHAT_PATH, deadline, body)
    context.findings.fingerprint = dig_text(answer, "system_fingerprint") or None
    message = dig(answer, "choices", 0, "message")
    text = dig_text(message, "content")
    reasoning = "".join(dig_text(message, name) for name in REASONING_FIELDS)
    finish_reason = dig(answer, "choices", 0, "finish_reason")
    quote = context.client.quote
    if not text and not reasoning:
        raise Failure(
            "a message with content",
            quote(f"message {message}" if message is not None else f"no choices: {answer}"),
            "look at the model's chat template, and whether the model is an instruct model",
        )
    if finish_reason not in FINISH_REASONS:
        raise Failure(
            f"a finish_reason of {', '.join(FINISH_REASONS)}",
            quote(f"{finish_reason!r}"),
            "look whether the engine speaks the chat completions API",
        )
    context.hold_to_model({dig_text(answer, "model")} - {""})
    tokens = dig_count(answer, "usage", "completion_tokens")
    return ", ".join(
        [
            f"{len(text)} characters" if text else f"{len(reasoning)} characters of reasoning",
            f"finish_reason {finish_reason}",
            "no usage" if tokens is None else f"{tokens} tokens",
        ]
    )
