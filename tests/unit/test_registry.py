"""A tag's digest, asked of a registry that wants an anonymous token first."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from fake_registry import FakeRegistry

from scripts.registry import Image, RegistryError, digest_of, parse


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


def image(registry: FakeRegistry, name: str = "owner/engine:server-1") -> Image:
    return parse(f"{registry.host}/{name}")


DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("vllm/vllm-openai:v1", "https://registry-1.docker.io/v2/vllm/vllm-openai/manifests/v1"),
        ("docker.io/vllm/x:v1", "https://registry-1.docker.io/v2/vllm/x/manifests/v1"),
        ("ubuntu:24.04", "https://registry-1.docker.io/v2/library/ubuntu/manifests/24.04"),
        ("ghcr.io/o/llama.cpp:server", "https://ghcr.io/v2/o/llama.cpp/manifests/server"),
        ("localhost:5000/x:1", "http://localhost:5000/v2/x/manifests/1"),
        (f"ghcr.io/o/x:1@{DIGEST}", "https://ghcr.io/v2/o/x/manifests/1"),
    ],
)
def test_a_name_leads_to_its_registry_as_with_docker(text: str, url: str):
    assert parse(text).url == url
    assert str(parse(text)) == text.removeprefix("docker.io/")


@pytest.mark.parametrize(
    "text",
    ["", "x", "ghcr.io/o/x", "Owner/x:1", "x:", "x:-1", "o/x:1@sha256:12", "https://ghcr.io/o/x:1"],
)
def test_what_is_no_image_by_its_tag_is_refused(text: str):
    with pytest.raises(ValueError, match=r"it takes|hex digits"):
        parse(text)


def test_a_digest_is_that_of_the_index_and_a_token_is_fetched_for_it(registry: FakeRegistry):
    digest = registry.publish("owner/engine:server-1")
    assert digest_of(image(registry)) == digest
    asked = [path.partition("?")[0] for path in registry.asked]
    assert asked == [
        "/v2/owner/engine/manifests/server-1",
        "/token",
        "/v2/owner/engine/manifests/server-1",
    ]
    assert "repository%3Aowner%2Fengine%3Apull" in registry.asked[1]
    assert all(accepted.startswith(registry.kind) for accepted in registry.accepted)


def test_a_registry_that_wants_no_token_is_asked_once(registry: FakeRegistry):
    registry.token = None
    digest = registry.publish("owner/engine:server-1")
    assert digest_of(image(registry)) == digest
    assert len(registry.asked) == 1


def test_a_tag_that_is_not_there_is_no_passing_trouble(registry: FakeRegistry):
    with pytest.raises(RegistryError, match=r"engine:server-1: .* has no such tag") as refused:
        digest_of(image(registry))
    assert not refused.value.passing


def test_a_repository_that_is_not_for_everybody_is_told_from_an_outage(registry: FakeRegistry):
    registry.publish("owner/engine:server-1")
    registry.broken = 403
    with pytest.raises(RegistryError, match="not for everybody") as refused:
        digest_of(image(registry))
    assert not refused.value.passing
    registry.broken = 503
    with pytest.raises(RegistryError, match="answers 503") as refused:
        digest_of(image(registry))
    assert refused.value.passing


def test_a_login_page_is_no_manifest(registry: FakeRegistry):
    registry.publish("owner/engine:server-1")
    registry.kind = "text/html"
    with pytest.raises(RegistryError, match="text/html, which is no manifest"):
        digest_of(image(registry))


def test_a_digest_that_is_not_the_contents_is_not_believed(registry: FakeRegistry):
    registry.publish("owner/engine:server-1")
    registry.digest_header = DIGEST
    with pytest.raises(RegistryError, match=f"calls it {DIGEST} and sends sha256:"):
        digest_of(image(registry))


def test_a_token_is_fetched_over_tls_or_on_this_machine_alone(registry: FakeRegistry):
    registry.realm = "http://registry.example.org/token"
    with pytest.raises(RegistryError, match="sends for a token to http://registry"):
        digest_of(image(registry))


@pytest.mark.parametrize("token", ["", "with\nnewline"])
def test_a_token_that_is_none_is_refused(registry: FakeRegistry, token: str):
    registry.token = token
    with pytest.raises(RegistryError, match="gives no token"):
        digest_of(image(registry))


def test_a_registry_that_is_not_there_is_said_to_be():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RegistryError, match=f"127.0.0.1:{port} can't be reached") as refused:
        digest_of(parse(f"127.0.0.1:{port}/x:1"))
    assert refused.value.passing


def test_a_registry_that_drips_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not ended.wait(0.05):
                    connection.sendall(b"H")

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(RegistryError, match=r"did not answer within 0\.2 s"):
            digest_of(parse(f"127.0.0.1:{server.getsockname()[1]}/x:1"), seconds=0.2)
        ended.set()
        assert time.monotonic() - began < 3
