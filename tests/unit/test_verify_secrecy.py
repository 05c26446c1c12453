"""An endpoint that echoes the key gets it into nothing that verification writes."""

import json
from collections.abc import Callable, Iterator

import pytest
from fake_endpoint import (
    CHAT,
    EMBEDDINGS,
    MODELS,
    Exchange,
    FakeEndpoint,
    chat_events,
    chat_message,
    chunk,
    data_event,
    tool_call,
    verified,
)

from components.launch import Capability

KEY = "sk-0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def echo(exchange: Exchange) -> None:
    """Fail with the key everywhere: status line's headers, message, type."""
    secret = exchange.authorization
    exchange.error(400, f"you said {secret}", Location=secret, X_Key=secret, Retry_After=secret)


def echo_html(exchange: Exchange) -> None:
    page = f"<html>{exchange.authorization}</html>".encode()
    exchange.send(200, page, Content_Type=exchange.authorization)


def echo_redirect(exchange: Exchange) -> None:
    key = exchange.authorization.removeprefix("Bearer ")
    exchange.send(307, b"", Location=f"https://{key}.example.com/{key}?{key}")


def echo_model(exchange: Exchange) -> None:
    exchange.json(
        200, {"data": [{"id": exchange.authorization, "owned_by": exchange.authorization}]}
    )


def echo_stream_error(exchange: Exchange) -> None:
    exchange.events(
        data_event(chunk(exchange.body["model"], {"content": exchange.authorization})),
        data_event({"error": {"message": exchange.authorization}}),
    )


def echo_stream_model(exchange: Exchange) -> None:
    exchange.events(*chat_events(exchange.authorization))


def echo_tool_call(exchange: Exchange) -> None:
    arguments = json.dumps({"city": exchange.authorization})
    message = tool_call("get_weather", arguments)
    exchange.json(200, chat_message(exchange.body["model"], message, "tool_calls"))


def echo_finish_reason(exchange: Exchange) -> None:
    message = {"content": "Hello"}
    exchange.json(200, chat_message(exchange.body["model"], message, exchange.authorization))


def echo_json(exchange: Exchange) -> None:
    message = {"content": exchange.authorization}
    exchange.json(200, chat_message(exchange.body["model"], message))


@pytest.mark.parametrize(
    ("path", "where", "reply"),
    [
        (MODELS, "", echo),
        (MODELS, "", echo_html),
        (MODELS, "", echo_redirect),
        (MODELS, "", echo_model),
        ("/props", "", lambda e: e.json(200, {"build_info": e.authorization})),
        (EMBEDDINGS, "", echo),
        (CHAT, "", echo),
        (CHAT, "", echo_html),
        (CHAT, "", echo_finish_reason),
        (CHAT, "stream", echo),
        (CHAT, "stream", echo_stream_error),
        (CHAT, "stream", echo_stream_model),
        (CHAT, "tools", echo_tool_call),
        (CHAT, "response_format", echo_json),
    ],
)
def test_an_endpoint_that_echoes_the_key_gets_it_nowhere(
    endpoint: FakeEndpoint, path: str, where: str, reply: Callable[[Exchange], None]
):
    if path == CHAT:
        endpoint.on_chats(where, reply)
    else:
        endpoint.on("GET", path, reply)
        endpoint.on("POST", path, reply)
    result = verified(
        endpoint, claims=frozenset(Capability), embedding_model="e", engine="llama_cpp"
    )
    written = result.stderr + result.receipt.dumps()
    assert "[key]" in written
    assert KEY not in written
    assert KEY[3:15] not in written
