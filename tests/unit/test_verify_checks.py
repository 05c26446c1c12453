"""The checks of the key, the model and a chat; and the verification as a whole."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_endpoint import (
    CHAT,
    MODELS,
    Exchange,
    FakeEndpoint,
    chat_message,
    verified,
)

from components.launch import Capability
from scripts.verify.outcome import ExitStatus

KEY = "sk-0123456789abcdef"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def test_a_good_endpoint_passes_every_check_in_order(endpoint: FakeEndpoint):
    result = verified(
        endpoint, claims=frozenset(Capability), embedding_model="e", engine="llama_cpp"
    )
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr
    receipt = result.receipt
    assert [(check.name, check.status) for check in receipt.checks] == [
        (name, "passed")
        for name in (
            "reachable",
            "ready",
            "refuses_without_key",
            "lists_model",
            "chat",
            "chat_stream",
            "embeddings",
            "tool_call",
            "json_schema",
            "concurrency",
        )
    ]
    assert receipt.status == "passed"
    assert receipt.endpoint_url == endpoint.url
    assert (receipt.engine.name, receipt.engine.version) == ("llama_cpp", "b1-fake")
    assert receipt.model.id == "fake-model"
    assert (receipt.model.parameters, receipt.model.size_bytes) == (1234, 5678)
    assert receipt.time_to_first_token_seconds is not None
    assert receipt.concurrency is not None
    assert receipt.concurrency.streams == 3
    assert len(receipt.concurrency.tokens_per_second) == 3
    assert receipt.concurrency.total_tokens_per_second > 0
    assert len(endpoint.asked("GET", "/health")) == 2


def test_what_is_not_claimed_is_skipped_and_says_why(endpoint: FakeEndpoint):
    result = verified(endpoint)
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert result.check("embeddings").reason == "no embeddings model configured"
    assert result.check("tool_call").reason == "the engine does not claim it"
    assert result.check("json_schema").reason == "the engine does not claim it"


def test_without_a_key_loopback_may_be_open():
    with FakeEndpoint() as endpoint:
        result = verified(endpoint)
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert "loopback" in (result.check("refuses_without_key").reason or "")


def test_without_a_key_another_host_may_not_be_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "")
    with FakeEndpoint() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        health = "http://llm.example.com/health"
        proxy.on("GET", health, lambda e: e.json(200, {"status": "ok"}))
        seen = verified("http://llm.example.com").failed_at("refuses_without_key")
    assert "anyone may use it" in seen


def test_an_endpoint_that_answers_without_a_key_fails():
    with FakeEndpoint(key=None) as endpoint:
        seen = verified(endpoint, key=KEY).failed_at("refuses_without_key")
    assert seen.startswith("HTTP 200")


def test_an_endpoint_that_takes_any_key_fails(endpoint: FakeEndpoint):
    def lax(exchange: Exchange) -> None:
        if exchange.authorization:
            exchange.json(200, chat_message("m", {"content": "Hi"}))
        else:
            exchange.error(401, "no key")

    endpoint.on("POST", CHAT, lax)
    result = verified(endpoint)
    assert result.failed_at("refuses_without_key").startswith("HTTP 200")
    assert result.failed.expected == "HTTP 401 or 403 to a chat with a wrong key"


def test_keys_are_asked_for_where_it_counts_and_never_the_real_one(endpoint: FakeEndpoint):
    verified(endpoint)
    without, wrong = endpoint.asked("POST", CHAT)[:2]
    assert without.authorization == ""
    assert wrong.authorization.startswith("Bearer ")
    assert KEY not in wrong.authorization


def test_a_refusal_other_than_401_or_403_is_none(endpoint: FakeEndpoint):
    endpoint.on("POST", CHAT, lambda e: e.error(404, "no such path"))
    assert verified(endpoint).failed_at("refuses_without_key") == "HTTP 404: no such path"


def test_a_key_that_the_endpoint_does_not_know_fails_at_the_models(endpoint: FakeEndpoint):
    result = verified(endpoint, key="sk-another-key-altogether")
    assert result.failed_at("lists_model") == "HTTP 401: Invalid API Key"
    assert "this endpoint's" in (result.failed.next_step or "")


def test_the_model_that_was_asked_for_must_be_listed(endpoint: FakeEndpoint):
    result = verified(endpoint, model="another-model")
    assert result.failed_at("lists_model") == "fake-model"
    assert "'another-model'" in (result.failed.expected or "")


@pytest.mark.parametrize(
    "listing", [{}, [], {"data": []}, {"data": {"id": "m"}}, {"data": [{"id": 7}, None]}, None]
)
def test_a_list_without_models_fails(endpoint: FakeEndpoint, listing: Any):
    endpoint.on("GET", MODELS, lambda e: e.json(200, listing))
    assert verified(endpoint).failed_at("lists_model") == "no model at all"


def test_the_first_of_several_models_is_taken(endpoint: FakeEndpoint):
    listing = {"data": [{"id": "fake-model"}, {"id": "b"}]}
    endpoint.on("GET", MODELS, lambda e: e.json(200, listing))
    result = verified(endpoint)
    assert result.receipt.model.id == "fake-model"
    assert result.receipt.model.parameters is None
    assert result.check("lists_model").seen == "fake-model, one of 2"


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (chat_message("fake-model", {"content": ""}), "message"),
        (chat_message("fake-model", {"content": None}), "message"),
        ({"choices": []}, "no choices"),
        ([], "no choices"),
        (chat_message("fake-model", {"content": "Hi"}, "because"), "because"),
        (chat_message("old-model", {"content": "Hi"}), "old-model"),
    ],
)
def test_a_chat_of_the_wrong_form_fails(endpoint: FakeEndpoint, answer: Any, part: str):
    endpoint.on_chats("", lambda e: e.json(200, answer))
    assert part in verified(endpoint).failed_at("chat")


def test_a_longer_form_of_the_models_id_is_the_same_model(endpoint: FakeEndpoint):
    answer = chat_message("fake-model-2026-11-21", {"content": "Hi"})
    endpoint.on_chats("", lambda e: e.json(200, answer))
    assert verified(endpoint).verdict.exit_status == ExitStatus.PASSED


def test_a_chat_that_only_reasons_within_its_limit_passes(endpoint: FakeEndpoint):
    message = {"content": "", "reasoning_content": "The user says hello, so"}
    answer = chat_message("fake-model", message, "length")
    endpoint.on_chats("", lambda e: e.json(200, answer))
    result = verified(endpoint)
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert "23 characters of reasoning" in (result.check("chat").seen or "")


def test_a_chat_without_usage_passes_and_says_so(endpoint: FakeEndpoint):
    answer = chat_message("fake-model", {"content": "Hi"})
    del answer["usage"]
    endpoint.on_chats("", lambda e: e.json(200, answer))
    result = verified(endpoint)
    assert (result.check("chat").seen or "").endswith("no usage")


def test_a_busy_endpoint_is_asked_again_within_a_check(endpoint: FakeEndpoint):
    busy: Callable[[Exchange], None] = lambda e: e.error(429, "busy", Retry_After="0")  # noqa: E731
    endpoint.on("GET", MODELS, busy, busy, endpoint.behave)
    assert verified(endpoint).verdict.exit_status == ExitStatus.PASSED


def test_headers_that_drip_forever_end_at_the_checks_deadline(endpoint: FakeEndpoint):
    def drip(exchange: Exchange) -> None:
        exchange.write(b"HTTP/1.1 200 OK\r\n")
        while not exchange.endpoint.closing.wait(0.05):
            exchange.write(b"X-A: 1\r\n")

    endpoint.on_chats("", drip)
    result = verified(endpoint, check_seconds=0.3)
    assert result.failed_at("chat") == "no answer had come when the time was up"


def test_the_version_falls_back_to_the_chats_fingerprint(endpoint: FakeEndpoint):
    endpoint.on("GET", "/props", lambda e: e.error(404, "no such path"))
    assert verified(endpoint, engine="llama_cpp").receipt.engine.version == "b1-fingerprint"


def test_an_engine_that_tells_no_version_has_none(endpoint: FakeEndpoint):
    engine = verified(endpoint, engine="localllm").receipt.engine
    assert (engine.name, engine.version) == ("localllm", None)


def test_a_defect_of_a_check_is_a_failed_check(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"with the key {KEY}")

    monkeypatch.setattr("scripts.verify.context.Context.hold_to_model", broken)
    result = verified(endpoint)
    assert result.failed_at("chat") == "ZeroDivisionError: with the key [key]"
