"""What an engine claims beyond chat: embeddings, tool calls, answers in a JSON schema.

The schemas leave a model little to write (enumerations and booleans), so that one that is held to
them by a grammar comes to an end within the token limit, whatever it would rather say.
"""

from __future__ import annotations

import math

from components.launch import Capability
from scripts.verify.bounds import Deadline
from scripts.verify.client import CHAT_PATH, EMBEDDINGS_PATH
from scripts.verify.context import Context
from scripts.verify.outcome import Failure, Skipped
from scripts.verify.shape import Json, dig, dig_text, parse_json

FORM_TOKENS = 512
"""Room for a model that reasons first; one that does not ends long before."""

TOOL = "get_weather"
_TOOL_PARAMETERS: Json = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
_ANSWER_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "sky": {"type": "string", "enum": ["blue", "green"]},
        "sure": {"type": "boolean"},
    },
    "required": ["sky", "sure"],
    "additionalProperties": False,
}
_TEXTS = ("The first of two texts.", "Another one, on a different matter.")


def _claimed(context: Context, capability: Capability) -> None:
    if capability not in context.options.claims:
        raise Skipped("the engine does not claim it")


def embeddings(context: Context, deadline: Deadline) -> str:
    """Two texts give two vectors of one length, of finite numbers that are not all zero."""
    options = context.options
    if options.embedding_model is None and Capability.EMBEDDINGS not in options.claims:
        raise Skipped("no embeddings model configured")
    model = options.embedding_model or context.findings.model
    body: Json = {"model": model, "input": [*_TEXTS], "encoding_format": "float"}
    answer = context.client.ask_json("POST", EMBEDDINGS_PATH, deadline, body)
    entries = dig(answer, "data")
    vectors = [dig(entry, "embedding") for entry in entries] if isinstance(entries, list) else []
    lengths = [_length(vector) for vector in vectors]
    if len(vectors) == len(_TEXTS) and lengths[0] is not None and len(set(lengths)) == 1:
        return f"{len(vectors)} vectors of {lengths[0]} numbers"
    shown = ", ".join("not a vector" if n is None else f"{n} numbers" for n in lengths)
    raise Failure(
        f"{len(_TEXTS)} vectors of one length from {model}, finite and not all zero",
        context.client.quote(shown or f"no data: {answer}"),
        "look whether that model is an embeddings model and its server pools (--pooling mean)",
    )


def _length(vector: Json) -> int | None:
    """Return the vector's length; None where it is no vector that can be worked with."""
    if not isinstance(vector, list) or not vector:
        return None
    numbers = [
        float(item)
        for item in vector
        if isinstance(item, int | float) and not isinstance(item, bool)
    ]
    if len(numbers) != len(vector) or not all(map(math.isfinite, numbers)) or not any(numbers):
        return None
    return len(numbers)


def tool_call(context: Context, deadline: Deadline) -> str:
    """A chat that must call a tool calls it, with arguments that fit the tool."""
    _claimed(context, Capability.TOOL_CALLS)
    tool: Json = {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "Tells the weather in a city.",
            "parameters": _TOOL_PARAMETERS,
        },
    }
    body = context.chat(
        "What is the weather in Paris?", FORM_TOKENS, tools=[tool], tool_choice="required"
    )
    answer = context.client.ask_json("POST", CHAT_PATH, deadline, body)
    message = dig(answer, "choices", 0, "message")
    call = dig(message, "tool_calls", 0, "function")
    name, arguments = dig_text(call, "name"), dig_text(call, "arguments")
    try:
        city = dig(parse_json(arguments), "city")
    except ValueError:
        city = None
    if name == TOOL and isinstance(city, str):
        return f"{TOOL}({context.client.quote(arguments)})"
    finish_reason = dig_text(answer, "choices", 0, "finish_reason")
    raise Failure(
        f"a call of the tool {TOOL} with a string `city` in its arguments",
        context.client.quote(
            f"the call {call}"
            if call is not None
            else f"no call, finish_reason {finish_reason}: {dig_text(message, 'content')}"
        ),
        "look whether the engine parses this model's tool calls (chat template, tool parser)",
    )


def json_schema(context: Context, deadline: Deadline) -> str:
    """A chat that is held to a JSON schema answers in it."""
    _claimed(context, Capability.JSON_SCHEMA)
    response_format: Json = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": _ANSWER_SCHEMA},
    }
    body = context.chat(
        "What colour is the sky? Answer in JSON.", FORM_TOKENS, response_format=response_format
    )
    answer = context.client.ask_json("POST", CHAT_PATH, deadline, body)
    content = dig_text(answer, "choices", 0, "message", "content")
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    if (
        isinstance(value, dict)
        and set(value) == {"sky", "sure"}
        and value["sky"] in ("blue", "green")
        and isinstance(value["sure"], bool)
    ):
        return context.client.quote(" ".join(content.split()))
    finish_reason = dig_text(answer, "choices", 0, "finish_reason")
    raise Failure(
        'a JSON object with `sky` ("blue" or "green") and `sure` (a boolean), nothing else',
        context.client.quote(f"finish_reason {finish_reason}: {content or 'no content'}"),
        "look whether the engine holds this model to a response_format",
    )
