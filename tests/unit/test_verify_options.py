"""The command line's values: addresses, keys, claims."""

from pathlib import Path

import pytest

from components.launch import Capability
from scripts.verify.options import (
    Options,
    UsageError,
    key_from_environment,
    key_from_file,
    parse_claims,
    parse_endpoint,
)


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1"),
        ("https://llm.example.com/v1", "https://llm.example.com", "llm.example.com"),
        ("https://LLM.example.com/v1/", "https://llm.example.com", "llm.example.com"),
        ("http://[::1]:8080/v1", "http://[::1]:8080", "::1"),
    ],
)
def test_an_endpoint_is_its_origin(url: str, origin: str, host: str):
    endpoint = parse_endpoint(url)
    assert (endpoint.url, endpoint.host) == (origin, host)


@pytest.mark.parametrize(
    "url",
    [
        "llm.example.com",
        "ftp://llm.example.com",
        "https://",
        "https://llm.example.com/v3",
        "https://llm.example.com/?a=1",
        "https://llm.example.com/#a",
        "https://llm.example.com:port",
        "https://llm example.com",
        "https://[::1",
    ],
)
def test_what_is_no_origin_is_refused(url: str):
    with pytest.raises(UsageError, match="give the endpoint's origin"):
        parse_endpoint(url)


def test_a_url_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_endpoint("https://me:sk-secret@llm.example.com")
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool):
    assert parse_endpoint(f"http://{host}").is_loopback is loopback


def test_the_key_comes_from_the_environment_without_its_line_end():
    assert key_from_environment("MY_KEY", {"MY_KEY": "sk-1234\n"}) == "sk-1234"


@pytest.mark.parametrize("environment", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}])
def test_a_key_variable_that_is_not_set_is_named(environment: dict[str, str]):
    with pytest.raises(UsageError, match="MY_KEY is not set"):
        key_from_environment("MY_KEY", environment)


@pytest.mark.parametrize("mistake", ["sk-0123456789", "abcdef0123456789", "A0b1C2"])
def test_a_key_given_for_the_name_of_its_variable_is_not_repeated(mistake: str):
    with pytest.raises(UsageError) as caught:
        key_from_environment(mistake, {})
    assert mistake not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-1\nsk-2", "sk 1", "schlüssel", "sk-\x00"])
def test_a_key_that_no_header_takes_is_refused_and_not_repeated(key: str):
    with pytest.raises(UsageError) as caught:
        key_from_environment("MY_KEY", {"MY_KEY": key})
    assert key not in str(caught.value)


def test_a_key_file_gives_its_first_line(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("sk-first\nsk-second\n")
    assert key_from_file(file) == "sk-first"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: bytes):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="key file"):
        key_from_file(file)


def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="No such file"):
        key_from_file(tmp_path / "none")


def test_claims_are_capabilities():
    assert parse_claims("") == frozenset()
    assert parse_claims("embeddings, tool_calls") == {Capability.EMBEDDINGS, Capability.TOOL_CALLS}
    with pytest.raises(UsageError, match=r"'images'; it takes embeddings, tool_calls, json_schema"):
        parse_claims("embeddings,images")


def test_options_shown_hide_the_key():
    options = Options(endpoint=parse_endpoint("http://localhost"), key="sk-secret")
    assert "sk-secret" not in repr(options)
