"""Embeddings, tool calls and JSON schemas, from engines that only claim them."""

from collections.abc import Iterator
from typing import Any

import pytest
from fake_endpoint import (
    CHAT,
    EMBEDDINGS,
    FakeEndpoint,
    chat_message,
    embedding_answer,
    tool_call,
    verified,
)

from components.launch import Capability

KEY = "sk-0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    "vectors",
    [
        [[0.1, 0.2]],
        [[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]],
        [[0.1, 0.2], [0.1]],
        [[0.1, 0.2], [0.0, 0.0]],
        [[0.1, 0.2], []],
        [[0.1, 0.2], None],
        [[0.1, 0.2], "AACAPwAAAEA="],
        [[0.1, 0.2], [0.1, None]],
        [[0.1, 0.2], [0.1, float("nan")]],
        [[0.1, 0.2], [0.1, float("inf")]],
        [[True, 0.2], [0.1, 0.2]],
    ],
)
def test_vectors_that_nobody_can_work_with_fail(endpoint: FakeEndpoint, vectors: list[Any]):
    endpoint.on("POST", EMBEDDINGS, lambda e: e.json(200, embedding_answer(*vectors)))
    verified(endpoint, embedding_model="e").failed_at("embeddings")


def test_embeddings_are_asked_of_their_own_model_or_else_of_the_chats(endpoint: FakeEndpoint):
    verified(endpoint, embedding_model="e")
    verified(endpoint, claims=frozenset({Capability.EMBEDDINGS}))
    asked = [exchange.body["model"] for exchange in endpoint.asked("POST", EMBEDDINGS)]
    assert asked == ["e", "fake-model"]


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ({"content": '{"name": "get_weather"}'}, "no call, finish_reason stop"),
        ({"content": None, "tool_calls": []}, "no call"),
        (tool_call("get_time", '{"city": "Paris"}'), "get_time"),
        (tool_call("get_weather", '{"city": "Par'), "get_weather"),
        (tool_call("get_weather", "{}"), "get_weather"),
        (tool_call("get_weather", '{"city": 7}'), "get_weather"),
        (tool_call("get_weather", {"city": "Paris"}), "get_weather"),
    ],
)
def test_a_tool_call_of_the_wrong_form_fails(endpoint: FakeEndpoint, message: Any, part: str):
    answer = chat_message("fake-model", message)
    endpoint.on_chats("tools", lambda e: e.json(200, answer))
    assert part in verified(endpoint, claims=frozenset(Capability)).failed_at("tool_call")


def test_the_tool_is_required_and_its_arguments_are_an_enumeration(endpoint: FakeEndpoint):
    verified(endpoint, claims=frozenset(Capability))
    (body,) = (e.body for e in endpoint.asked("POST", CHAT) if "tools" in e.body)
    assert body["tool_choice"] == "required"
    parameters = body["tools"][0]["function"]["parameters"]
    assert parameters["properties"]["city"]["enum"]


@pytest.mark.parametrize(
    "content",
    [
        "The sky is blue.",
        "",
        '{"sky": "blue"}',
        '{"sky": "blue", "sure": "true"}',
        '{"sky": "grey", "sure": true}',
        '{"sky": "blue", "sure": true, "more": 1}',
        '["blue", true]',
        '```json\n{"sky": "blue", "sure": true}\n```',
    ],
)
def test_json_outside_the_schema_fails(endpoint: FakeEndpoint, content: str):
    answer = chat_message("fake-model", {"content": content})
    endpoint.on_chats("response_format", lambda e: e.json(200, answer))
    verified(endpoint, claims=frozenset(Capability)).failed_at("json_schema")
