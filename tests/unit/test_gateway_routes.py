"""Which requests pass, and what they ask for."""

import pytest

from machine.gateway.routes import Asked, NoRoute, Route, route


@pytest.mark.parametrize(
    ("method", "path", "asked", "below"),
    [
        ("POST", "/v1/chat/completions", Asked.GENERATION, "/chat/completions"),
        ("POST", "/v1/completions", Asked.GENERATION, "/completions"),
        ("POST", "/v1/responses", Asked.GENERATION, "/responses"),
        ("POST", "/v1/embeddings", Asked.EMBEDDINGS, "/embeddings"),
        ("GET", "/v1/models", Asked.MODELS, ""),
        ("GET", "/health", Asked.HEALTH, ""),
    ],
)
def test_the_apis_paths_pass(method: str, path: str, asked: Asked, below: str):
    assert route(method, path) == Route(asked, path, below)


def test_an_id_of_a_model_may_have_slashes_and_is_not_shown():
    for path in ("/v1/models/owner/name", "/v1/models/owner%2Fname"):
        assert route("GET", path) == Route(Asked.MODEL, "/v1/models/*", model="owner/name")


@pytest.mark.parametrize(
    "path",
    [
        *("", "*", "/v1/models/", "/v1/chat/completions?x", "/health/", "//health"),
        *("//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/"),
        *("/v1/chat%2fcompletions", "/V1/models", "/v1/../health", "/v1/models#x"),
        *("http://127.0.0.1/v1/models", "/slots", "/metrics", "/v1"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_named_does_not_pass(method: str, path: str):
    assert route(method, path) == NoRoute(404)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "get", "DELETE", ""])
def test_each_path_takes_one_method(method: str):
    assert route(method, "/v1/models") == NoRoute(405, "/v1/models", "GET")
    assert route(method, "/v1/completions") == NoRoute(405, "/v1/completions", "POST")


def test_a_method_that_would_not_do_is_told_from_a_path():
    assert route("PUT", "/v1/models/x") == NoRoute(405, "/v1/models/*", "GET")
    assert route("GET", "/v1/embeddings") == NoRoute(405, "/v1/embeddings", "POST")
