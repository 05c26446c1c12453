"""Waiting: starting, loading, dead, ready, never."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from fake_endpoint import CHAT, MODELS, Exchange, FakeEndpoint, verified

from scripts.serve.identity import TOKEN_VARIABLE, ServerRecord
from scripts.verify import faults
from scripts.verify.boot import Boot
from scripts.verify.bounds import Deadline
from scripts.verify.client import Client
from scripts.verify.options import parse_endpoint
from scripts.verify.outcome import ExitStatus, Failure
from scripts.verify.process import LocalServer, log_tail
from scripts.verify.scrub import Scrubber
from scripts.verify.wait import Waiter

KEY = "sk-0123456789abcdef"


def loading(exchange: Exchange) -> None:
    exchange.error(503, "Loading model")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def waiter(
    url: str,
    *,
    seconds: float = 60.0,
    lines: list[str] | None = None,
    probe_path: str | None = None,
    server: LocalServer | None = None,
    pause: Callable[[float], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Waiter:
    scrubber = Scrubber([KEY])
    client = Client(parse_endpoint(url), KEY, scrubber=scrubber)
    return Waiter(
        client=client,
        stranger=client.copy(key=None),
        server=server or LocalServer(None, None, scrubber.text),
        boot=Boot(str, scrubber.text),
        probe_path=probe_path,
        loading_status=503,
        deadline=Deadline(seconds),
        report=(lines if lines is not None else []).append,
        pause=pause,
        clock=clock,
    )


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def test_any_http_answer_is_reachable_and_the_key_is_not_sent_for_it(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", loading)
    assert waiter(endpoint.url).reachable() == "HTTP 503"
    assert endpoint.exchanges[0].authorization == ""


def test_loading_is_waited_for_and_reported_with_the_time(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", loading, loading, loading, endpoint.behave)
    lines: list[str] = []
    clock = iter(range(0, 100, 3))
    found = waiter(endpoint.url, lines=lines, clock=lambda: float(next(clock))).ready()
    assert found == "HTTP 200 from /health"
    assert lines == ["ready … still loading (HTTP 503 from /health), 6 s of 60 s"]


def test_what_servers_tell_of_their_models_is_shown(endpoint: FakeEndpoint):
    def told(exchange: Exchange) -> None:
        exchange.json(200, {"status": "ok", "models": "chat AVAILABLE (OK)"})

    endpoint.on("GET", "/health", told)
    assert waiter(endpoint.url).ready() == "HTTP 200 from /health, chat AVAILABLE (OK)"


def test_a_long_wait_is_reported_less_often(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", *[loading] * 40, endpoint.behave)
    lines: list[str] = []
    clock = iter(range(0, 1000, 5))
    waiter(endpoint.url, seconds=600, lines=lines, clock=lambda: float(next(clock))).ready()
    told = [int(line.rsplit(", ", 1)[1].split(" ")[0]) for line in lines]
    assert told[:4] == [5, 10, 15, 20]
    later = [moment for moment in told if moment > 60]
    assert later
    assert {after - before for before, after in pairwise(later)} == {30}


def test_pauses_grow_to_a_second(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", *[loading] * 12, endpoint.behave)
    pauses: list[float] = []
    waiter(endpoint.url, pause=pauses.append).ready()
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert pauses[-1] == 1.0


def test_a_server_that_comes_up_later_is_found(endpoint: FakeEndpoint):
    port = free_port()
    late: list[FakeEndpoint] = []

    def start(_: float) -> None:
        if not late:
            late.append(FakeEndpoint(port=port).__enter__())

    try:
        assert waiter(f"http://127.0.0.1:{port}", pause=start).reachable() == "HTTP 200"
    finally:
        late[0].__exit__()


def test_where_there_is_no_health_path_the_models_decide(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", lambda e: e.error(404, "no such path"))
    assert waiter(endpoint.url).ready() == "HTTP 200 from /v1/models"


def test_a_probe_path_that_was_asked_for_is_the_only_one(endpoint: FakeEndpoint):
    with pytest.raises(Failure) as caught:
        waiter(endpoint.url, seconds=0, probe_path="/up").ready()
    assert caught.value.seen == "/up answers HTTP 404: no such path"
    assert endpoint.asked("GET", MODELS) == []


def test_waiting_runs_out_with_what_came_last(endpoint: FakeEndpoint, tmp_path: Path):
    endpoint.on("GET", "/health", loading)
    log = tmp_path / "server.log"
    log.write_text("loading tensors\n")
    result = verified(endpoint, wait_seconds=0.2, log=log)
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert result.failed.name == "ready"
    assert result.failed.expected == "a ready server within 0.2 s"
    assert result.failed.seen == "still loading (HTTP 503 from /health)"
    assert result.failed.log_tail == ("loading tensors",)


def test_a_refused_connection_is_said_to_be_that_when_the_time_is_up():
    result = verified(f"http://127.0.0.1:{free_port()}", wait_seconds=0.1)
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert result.failed.name == "reachable"
    assert result.failed.seen == "connection refused: nothing listens there"
    assert result.check("chat").reason == 'after "reachable" failed'


def test_a_name_without_an_address_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch):
    def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    result = verified("https://llm.example.com", key=KEY, wait_seconds=0)
    assert result.failed.seen.startswith("no address for the name llm.example.com")
    assert "DNS" in (result.failed.next_step or "")


def test_a_name_without_an_address_is_not_waited_for_as_long_as_a_server(
    monkeypatch: pytest.MonkeyPatch,
):
    def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(faults, "NAME_SECONDS", 0.2)
    result = verified("https://llm.example.com", key=KEY, wait_seconds=3600)
    assert result.failed.expected == "a reachable server within 0.2 s"
    assert result.verdict.exit_status == ExitStatus.NEVER_READY


def test_a_connection_that_times_out_asks_for_allowed_cidrs(monkeypatch: pytest.MonkeyPatch):
    def silence(*_: object, **__: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("urllib3.util.connection.create_connection", silence)
    result = verified("https://192.0.2.1", key=KEY, wait_seconds=0)
    assert result.failed.seen == "the connection timed out"
    assert "allowed_cidrs" in (result.failed.next_step or "")


def test_a_redirect_elsewhere_stops_the_wait_at_once(endpoint: FakeEndpoint):
    endpoint.on("GET", "/health", lambda e: e.send(301, b"", Location="https://llm.example.com/"))
    result = verified(endpoint, wait_seconds=60)
    assert result.failed.name == "reachable"
    assert result.verdict.exit_status == ExitStatus.FAILED
    assert len(endpoint.exchanges) == 1


class Server:
    """A process that is recorded as a server, and a log of it."""

    def __init__(self, folder: Path) -> None:
        token = "token-of-this-test"
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.pause()"],
            env=os.environ | {TOKEN_VARIABLE: token},
        )
        self.record = folder / "server.json"
        self.record.write_text(ServerRecord(self.process.pid, token, 0, "", "").as_json())
        self.log = folder / "server.log"
        self.log.write_text("".join(f"line {n}\n" for n in range(50)) + f"the key is {KEY}\n")

    def die(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.die()


def test_a_dead_process_stops_the_wait_at_once_with_the_end_of_its_log(server: Server):
    server.die()
    result = verified(
        f"http://127.0.0.1:{free_port()}",
        key=KEY,
        wait_seconds=600,
        process=server.record,
        log=server.log,
    )
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert result.failed.seen == f"the server's process ({server.process.pid}) has died"
    assert result.failed.log_tail[-2:] == ("line 49", "the key is [key]")
    assert len(result.failed.log_tail) == 20
    assert "  log | line 49" in result.stderr


def test_a_refused_connection_is_waited_for_while_the_process_lives(server: Server):
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            server.die()

    local = LocalServer(server.record, server.log, str)
    with pytest.raises(Failure, match="has died"):
        waiter(f"http://127.0.0.1:{free_port()}", server=local, pause=pause).reachable()
    assert len(pauses) == 3


def test_another_server_at_a_dead_ones_port_is_not_taken_for_it(
    endpoint: FakeEndpoint, server: Server
):
    server.die()
    result = verified(endpoint, process=server.record)
    assert result.failed.name == "reachable"
    assert "has died" in (result.failed.seen or "")


def test_a_record_that_is_not_there_counts_as_dead(endpoint: FakeEndpoint, tmp_path: Path):
    result = verified(endpoint, process=tmp_path / "none.json")
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert "no server is recorded" in (result.failed.seen or "")


def test_a_server_that_dies_of_a_chat_is_said_to_have_died(endpoint: FakeEndpoint, server: Server):
    def die(exchange: Exchange) -> None:
        server.die()
        exchange.reset()

    endpoint.on("POST", CHAT, endpoint.behave, endpoint.behave, die)
    result = verified(endpoint, process=server.record, log=server.log)
    assert result.failed.name == "chat"
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert "has died, and before that: the connection was cut off" in (result.failed.seen or "")
    assert result.failed.log_tail


def test_a_log_that_is_huge_is_read_from_its_end(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"\xff" * 200_000 + b"\n\n  \nfirst\n\x1b[31m" + b"long " * 500 + b"\n")
    first, last = log_tail(log, str)[-2:]
    assert first == "first"
    assert last.startswith("[31mlong long")
    assert len(last) == 300


def test_a_log_that_cannot_be_read_is_said_to_be_that(tmp_path: Path):
    (line,) = log_tail(tmp_path / "none", str)
    assert "can't be read: No such file" in line
