"""HTTP to an endpoint that misbehaves."""

import itertools
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_endpoint import CHAT, MODELS, Exchange, FakeEndpoint

from scripts.verify.bounds import Deadline
from scripts.verify.client import BODY_LIMIT_BYTES, MAX_ATTEMPTS, Client, retry_after_seconds
from scripts.verify.options import parse_endpoint
from scripts.verify.outcome import Failure, TimedOut, Unreachable
from scripts.verify.scrub import Scrubber

KEY = "sk-0123456789abcdef"


def client(endpoint: FakeEndpoint | str, pauses: list[float] | None = None) -> Client:
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    return Client(
        parse_endpoint(url),
        KEY,
        scrubber=Scrubber([KEY]),
        pause=(pauses if pauses is not None else []).append,
    )


def ask(endpoint: FakeEndpoint | str, seconds: float = 5.0):
    return client(endpoint).ask_json("GET", MODELS, Deadline(seconds))


@pytest.fixture
def endpoint():
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def test_html_for_json_is_said_to_be_that(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.send(200, b"<html>hi</html>", Content_Type="text/html"))
    with pytest.raises(Failure) as caught:
        ask(endpoint)
    assert caught.value.seen == "text/html, 15 bytes: <html>hi</html>"


def test_truncated_json_is_said_to_be_that(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.send(200, b'{"data": [', Content_Type="x/json"))
    with pytest.raises(Failure) as caught:
        ask(endpoint)
    assert caught.value.seen == 'x/json, 10 bytes: {"data": ['


def test_control_characters_of_a_server_do_not_reach_the_terminal(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.error(400, "\x1b[2Jbad\r\nthing\u202e"))
    with pytest.raises(Failure) as caught:
        ask(endpoint)
    assert caught.value.seen == "HTTP 400: [2Jbad thing"


def test_a_body_shorter_than_announced_was_cut_off(endpoint: FakeEndpoint):
    def cut(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Length": "100"})
        exchange.write(b'{"data"')
        exchange.reset()

    endpoint.on("GET", MODELS, cut)
    with pytest.raises(Unreachable, match="cut off"):
        ask(endpoint)


def test_a_connection_closed_without_an_answer_was_cut_off(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, Exchange.reset)
    with pytest.raises(Unreachable, match="cut off: no answer had come"):
        ask(endpoint)


def test_what_is_no_http_is_said_to_be_that():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            connection.sendall(b"220 mail.example.com ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(Unreachable) as caught:
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert not caught.value.passing


def test_a_huge_body_is_not_read_to_its_end(endpoint: FakeEndpoint):
    def flood(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Type": "application/json"})
        for _ in range(BODY_LIMIT_BYTES // 2**20 * 4):
            exchange.write(b"x" * 2**20)

    endpoint.on("GET", MODELS, flood)
    with pytest.raises(Failure, match="a body of at most 8 MiB"):
        ask(endpoint)


def test_a_body_that_drips_is_given_up_at_the_deadline(endpoint: FakeEndpoint):
    def drip(exchange: Exchange) -> None:
        exchange.begin(200, {"Content-Type": "application/json"})
        while not exchange.endpoint.closing.wait(0.02):
            exchange.write(b" ")

    endpoint.on("GET", MODELS, drip)
    with pytest.raises(TimedOut, match=r"an end within 0\.3 s"):
        ask(endpoint, seconds=0.3)


def test_silence_ends_at_the_deadline(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, Exchange.hang)
    with pytest.raises(Unreachable, match="silence: no answer had come"):
        ask(endpoint, seconds=0.2)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_the_time_it_gives(endpoint: FakeEndpoint, status: int):
    endpoint.on(
        "GET",
        MODELS,
        lambda e: e.error(status, "busy", Retry_After="2"),
        lambda e: e.error(status, "busy"),
        lambda e: e.json(200, {"fine": True}),
    )
    pauses: list[float] = []
    answer = client(endpoint, pauses).ask_json("GET", MODELS, Deadline(30))
    assert answer == {"fine": True}
    assert pauses == [2.0, 1.0]


def test_a_server_that_stays_busy_is_given_up_after_a_few_times(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.error(503, "busy"))
    with pytest.raises(Failure) as caught:
        client(endpoint, []).ask_json("GET", MODELS, Deadline(300))
    assert caught.value.seen == "HTTP 503: busy"
    assert len(endpoint.asked("GET", MODELS)) == MAX_ATTEMPTS


def test_a_wait_beyond_the_deadline_is_not_waited(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.error(429, "slow down", Retry_After="3600"))
    pauses: list[float] = []
    with pytest.raises(Failure) as caught:
        client(endpoint, pauses).ask_json("GET", MODELS, Deadline(5))
    assert caught.value.seen == "HTTP 429, asks to come back after 3600: slow down"
    assert pauses == []


@pytest.mark.parametrize("status", [400, 404, 500, 502])
def test_other_errors_are_not_asked_again(endpoint: FakeEndpoint, status: int):
    endpoint.on("GET", MODELS, lambda e: e.error(status, "no"))
    with pytest.raises(Failure):
        ask(endpoint)
    assert len(endpoint.asked("GET", MODELS)) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("Sat, 21 Nov 2026 10:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None):
    now = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
    assert retry_after_seconds(header, now) == seconds


def test_a_redirect_within_the_origin_is_followed_with_body_and_key(endpoint: FakeEndpoint):
    endpoint.on("POST", CHAT, lambda e: e.send(308, b"", Location="/other"))
    endpoint.on("POST", "/other", lambda e: e.json(200, {"got": e.body, "as": e.authorization}))
    answer = client(endpoint).ask_json("POST", CHAT, Deadline(5), {"a": 1})
    assert answer == {"got": {"a": 1}, "as": f"Bearer {KEY}"}


def test_a_redirect_to_another_origin_is_refused(endpoint: FakeEndpoint):
    with FakeEndpoint() as other:
        endpoint.on("GET", MODELS, lambda e: e.send(307, b"", Location=f"{other.url}/v1/models"))
        with pytest.raises(Failure) as caught:
            ask(endpoint)
        assert f"another origin, {other.url}/v1/models: not followed" in caught.value.seen
        assert other.exchanges == []


@pytest.mark.parametrize("location", ["//evil.example/x", "https://127.0.0.1:{port}/", "http://["])
def test_no_form_of_location_leads_elsewhere(endpoint: FakeEndpoint, location: str):
    target = location.format(port=endpoint.port)
    endpoint.on("GET", MODELS, lambda e: e.send(302, b"", Location=target))
    with pytest.raises(Failure):
        ask(endpoint)
    assert len(endpoint.exchanges) == 1


def test_a_redirect_that_drops_the_body_is_refused(endpoint: FakeEndpoint):
    endpoint.on("POST", CHAT, lambda e: e.send(301, b"", Location="/other"))
    with pytest.raises(Failure, match="drops the body"):
        client(endpoint).ask_json("POST", CHAT, Deadline(5), {})


def test_the_body_of_a_redirect_is_not_read(endpoint: FakeEndpoint):
    def endless(exchange: Exchange) -> None:
        exchange.begin(307, {"Location": "https://llm.example.com/"})
        exchange.hang()

    endpoint.on("GET", MODELS, endless)
    with pytest.raises(Failure, match="another origin"):
        ask(endpoint)


def test_redirects_in_a_circle_end(endpoint: FakeEndpoint):
    endpoint.on("GET", MODELS, lambda e: e.send(307, b"", Location=MODELS))
    with pytest.raises(Failure, match="more than 3 redirects"):
        ask(endpoint)


def test_the_environments_proxies_are_not_used_for_loopback(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(endpoint)


def test_the_environments_proxies_are_used_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with FakeEndpoint() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        proxy.on("GET", "http://llm.example.com/v1/models", lambda e: e.json(200, {"by": "proxy"}))
        assert ask("http://llm.example.com") == {"by": "proxy"}


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable) as caught:
        ask("http://llm.example.com")
    assert "HTTP_PROXY" in caught.value.next_step


def test_netrc_is_read_neither_with_a_key_nor_without(
    endpoint: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password other-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, endpoint.url)  # as a remote host, for which netrc is looked at
    monkeypatch.setenv("no_proxy", "")
    path = "http://llm.example.com/v1/models"
    endpoint.on("GET", path, lambda e: e.json(200, e.authorization))
    remote = client("http://llm.example.com")
    assert remote.ask_json("GET", MODELS, Deadline(5)) == f"Bearer {KEY}"
    assert remote.copy(key=None).ask_json("GET", MODELS, Deadline(5)) == ""


def test_one_connection_serves_many_requests(endpoint: FakeEndpoint):
    one = client(endpoint)
    for _ in range(3):
        one.ask_json("GET", MODELS, Deadline(5))
    connections = {id(exchange.handler) for exchange in endpoint.exchanges}
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "the key"), (404, "gateway"), (429, "what else uses"), (500, "log"), (418, "message")],
)
def test_each_status_says_what_to_look_at(endpoint: FakeEndpoint, status: int, hint: str):
    endpoint.on("GET", MODELS, lambda e: e.error(status, "no", Retry_After="0"))
    with pytest.raises(Failure) as caught:
        ask(endpoint)
    assert hint in caught.value.next_step


def test_a_key_is_taken_out_before_a_text_is_cut(endpoint: FakeEndpoint):
    for filling in itertools.chain(range(100, 165, 5)):
        endpoint.on("GET", MODELS, lambda e, n=filling: e.error(400, "x" * n + e.authorization))
        with pytest.raises(Failure) as caught:
            ask(endpoint)
        assert "sk-0" not in caught.value.seen
