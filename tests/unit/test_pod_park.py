"""Parking of idle servers: when, what the cluster is asked, and never on doubt."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_authority import Authority, make_authority

from machine.pod.park import (
    Activity,
    AskError,
    Cluster,
    Parking,
    look,
    main,
    parse,
    parse_activity,
    why_not,
)
from machine.table import WrongError

TOKEN = "a-token-of-the-service-account"
SCALE = "/apis/apps/v1/namespaces/llm/statefulsets/{}/scale"
SETTINGS: dict[str, Any] = {
    "activity": "http://gateway-activity:8080/activity",
    "idle_minutes": 30,
    "namespace": "llm",
    "servers": ["chat", "embeddings"],
}
IDLE = {"ready_since": 1_000, "last_request": 2_000, "active": 0, "now": 2_000 + 30 * 60}


@dataclass
class Fake:
    """The gateway, the cluster's API and a service account, all of this test's own."""

    account: Path
    activity: object = None
    replicas: dict[str, int] = field(default_factory=lambda: {"chat": 2, "embeddings": 1})
    metadata: dict[str, Any] = field(default_factory=dict)
    refuses: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.ports['gateway']}/activity"
        return {**SETTINGS, "activity": url}

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LLM_ENDPOINT_PARK": json.dumps(self.settings),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.ports["api"]),
            "HTTPS_PROXY": "http://127.0.0.1:1",
        }

    def run(self) -> int:
        return main(self.environment, self.account)

    def patched(self) -> list[tuple[str, Any]]:
        return [(path, body) for method, path, body in self.asked if method == "PATCH"]


def handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/activity":
                self.answer(fake.activity)
            else:
                self.of_cluster(None)

        def do_PATCH(self) -> None:
            if self.headers["Content-Type"] != "application/merge-patch+json":
                fake.problems.append(f"content type {self.headers['Content-Type']}")
            self.of_cluster(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def of_cluster(self, body: Any) -> None:
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                fake.problems.append("no token")
            fake.asked.append((self.command, self.path, body))
            name = self.path.removesuffix("/scale").rpartition("/")[2]
            if fake.refuses and fake.refuses in f"{self.command} {self.path}":
                self.answer({"message": TOKEN}, 403)
                return
            if body is not None and "spec" in body:
                fake.replicas[name] = body["spec"]["replicas"]
            if not self.path.endswith("/scale") and body is None:
                self.answer({"kind": "StatefulSet", "metadata": fake.metadata})
                return
            count = fake.replicas[name]
            self.answer({"kind": "Scale", "spec": {"replicas": count} if count else {}})

        def answer(self, content: object, status: int = 200) -> None:
            text = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def fake(tmp_path: Path, authority: Authority) -> Iterator[Fake]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "ca.crt").write_bytes(authority.path.read_bytes())
    made = Fake(tmp_path, activity=IDLE)
    servers: list[ThreadingHTTPServer] = []
    for name in ("gateway", "api"):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
        if name == "api":
            server.socket = authority.context().wrap_socket(server.socket, server_side=True)
        server.daemon_threads = True
        made.ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True).start()
        servers.append(server)
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()
    assert made.problems == []


def test_idle_servers_are_noted_and_scaled_to_none(fake: Fake, capsys):
    assert fake.run() == 0
    assert fake.replicas == {"chat": 0, "embeddings": 0}
    assert capsys.readouterr().out == "no request for 30 min: parked chat, embeddings\n"
    (first, note), (second, scale), *_ = fake.patched()
    assert first == SCALE.format("chat").removesuffix("/scale")
    assert list(note["metadata"]["annotations"]) == ["llm-endpoint/parked-at"]
    assert (second, scale) == (SCALE.format("chat"), {"spec": {"replicas": 0}})


def test_the_note_is_the_time_in_utc(fake: Fake):
    parking = parse(json.dumps(fake.settings))
    look(parking, lambda: Cluster(fake.environment, fake.account), clock=lambda: 0.0)
    _, note = fake.patched()[0]
    assert note == {"metadata": {"annotations": {"llm-endpoint/parked-at": "1970-01-01T00:00:00Z"}}}


def test_servers_that_are_parked_already_are_left(fake: Fake, capsys):
    fake.replicas = {"chat": 0, "embeddings": 0}
    assert fake.run() == 0
    assert fake.patched() == []
    assert capsys.readouterr().out == "nothing is parked: the servers are parked already\n"


def test_a_server_that_the_last_run_did_not_come_to_is_parked_by_this_one(fake: Fake):
    fake.refuses = "PATCH /apis/apps/v1/namespaces/llm/statefulsets/embeddings"
    assert fake.run() == 1
    assert fake.replicas == {"chat": 0, "embeddings": 1}
    fake.refuses = ""
    assert fake.run() == 0
    assert fake.replicas["embeddings"] == 0


@pytest.mark.parametrize("at", ["GET ", "PATCH ", "/scale"])
def test_a_cluster_that_refuses_is_told_without_its_words(fake: Fake, capsys, at: str):
    fake.refuses = at
    assert fake.run() == 1
    said = capsys.readouterr()
    assert "idle, and can't be parked: " in said.err
    assert "was answered 403" in said.err
    assert TOKEN not in said.err + said.out


def test_no_note_means_no_parking(fake: Fake):
    fake.refuses = "PATCH /apis/apps/v1/namespaces/llm/statefulsets/chat"
    fake.run()
    assert fake.replicas["chat"] == 2


def test_a_cluster_of_another_authority_is_not_spoken_to(fake: Fake, tmp_path: Path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (fake.account / "ca.crt").write_bytes(make_authority(other).path.read_bytes())
    assert fake.run() == 1
    assert "SSLCertVerificationError" in capsys.readouterr().err
    assert fake.asked == []


def test_an_account_without_a_token_is_told(fake: Fake, capsys):
    (fake.account / "token").unlink()
    assert fake.run() == 1
    assert "the service account's files: FileNotFoundError" in capsys.readouterr().err


def test_a_gateway_that_can_not_be_asked_parks_nothing(fake: Fake, capsys):
    fake.ports["gateway"] = 1
    assert fake.run() == 0
    told = "nothing is parked: asking the gateway failed: ConnectionRefusedError\n"
    assert capsys.readouterr().out == told
    assert fake.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        {key: value for key, value in IDLE.items() if key != "last_request"},
        {key: value for key, value in IDLE.items() if key != "now"},
        {**IDLE, "active": "0"},
        {**IDLE, "active": True},
        {**IDLE, "active": None},
        {**IDLE, "active": -1},
        {**IDLE, "now": math.nan},
        {**IDLE, "now": math.inf},
        {**IDLE, "last_request": math.nan},
        {**IDLE, "ready_since": "1"},
        {**IDLE, "began": "1"},
    ],
)
def test_an_answer_that_can_not_be_parks_nothing(fake: Fake, answer: object):
    fake.activity = answer
    assert fake.run() == 0
    assert fake.asked == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"active": 1}, "1 requests are being answered"),
        ({"active": 1, "ready_since": None}, "1 requests are being answered"),
        ({"now": 1_500}, "a clock ran backwards"),
        ({"now": IDLE["now"] - 1}, "idle for 29 of 30 min"),
        ({"ready_since": IDLE["now"] - 60}, "idle for 1 of 30 min"),
        ({"last_request": IDLE["now"] - 120}, "idle for 2 of 30 min"),
    ],
)
def test_what_is_not_idle_stays(fake: Fake, capsys, changed: dict[str, object], why: str):
    fake.activity = {**IDLE, **changed}
    assert fake.run() == 0
    assert capsys.readouterr().out == f"nothing is parked: {why}\n"
    assert fake.asked == []


def test_an_endpoint_that_nobody_ever_asked_is_idle_since_it_was_ready():
    never = parse_activity({**IDLE, "last_request": None})
    assert never == Activity(1_000, None, 0, IDLE["now"])
    assert why_not(never, 30) is None
    assert why_not(never, 100) is not None


MADE, WOKEN = "1970-01-01T01:00:00Z", "1970-01-01T02:00:00+00:00"
STARTING = (30 + 180) * 60


@pytest.mark.parametrize(
    ("annotations", "last_request", "since"),
    [
        ({}, None, 3600),
        ({"llm-endpoint/woken-at": WOKEN}, None, 7200),
        ({"llm-endpoint/woken-at": WOKEN}, 9000, 9000),
    ],
)
def test_servers_that_never_get_ready_are_parked_in_the_end(
    fake: Fake, capsys, annotations: dict[str, str], last_request: int | None, since: int
):
    fake.metadata = {"creationTimestamp": MADE, "annotations": annotations}
    unready = {"ready_since": None, "last_request": last_request, "active": 0, "began": 0}
    fake.activity = {**unready, "now": since + STARTING - 1}
    assert fake.run() == 0
    told = "nothing is parked: the endpoint is not ready; idle for 209 of 210 min\n"
    assert capsys.readouterr().out == told
    assert fake.patched() == []
    fake.activity = {**unready, "now": since + STARTING}
    assert fake.run() == 0
    assert capsys.readouterr().out == "not ready, and not asked: parked chat, embeddings\n"
    assert fake.replicas == {"chat": 0, "embeddings": 0}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"began": 10**6}, "idle for 1 of 210 min"),
        ({}, "and the gateway does not say since when it looks"),
    ],
)
def test_servers_that_start_anew_behind_a_gateway_that_does_are_not_parked(
    fake: Fake, capsys, changed: dict[str, int], why: str
):
    """As where another model is deployed: both are other pods, and neither knows of a request."""
    fake.metadata = {"creationTimestamp": MADE, "annotations": {"llm-endpoint/woken-at": WOKEN}}
    unready = {"ready_since": None, "last_request": None, "active": 0, "now": 10**6 + 60}
    fake.activity = {**unready, **changed}
    assert fake.run() == 0
    assert capsys.readouterr().out.endswith(f"{why}\n")
    assert fake.patched() == []


def test_servers_that_a_person_woke_have_their_time_from_then_on(fake: Fake, capsys):
    parked = {"llm-endpoint/woken-at": WOKEN, "llm-endpoint/parked-at": "1970-01-01T03:00:00Z"}
    fake.metadata = {"creationTimestamp": MADE, "annotations": parked}
    unready = {"ready_since": None, "last_request": None, "active": 0, "began": 0}
    fake.activity = {**unready, "now": 10**6}
    assert fake.run() == 0
    assert capsys.readouterr().out.endswith("idle for 0 of 210 min\n")
    woken = {"metadata": {"annotations": {"llm-endpoint/woken-at": "1970-01-12T13:46:40Z"}}}
    assert [body for _, body in fake.patched()] == [woken, woken]
    parked.update(woken["metadata"]["annotations"])
    fake.activity = {**unready, "now": 10**6 + STARTING}
    assert fake.run() == 0
    assert fake.replicas == {"chat": 0, "embeddings": 0}


@pytest.mark.parametrize("metadata", [{}, {"creationTimestamp": "yesterday"}])
def test_servers_of_an_unknown_age_are_not_parked(fake: Fake, metadata: dict[str, Any]):
    fake.metadata = metadata
    fake.activity = {**IDLE, "ready_since": None, "began": 0, "now": 10**9}
    assert fake.run() == 1
    assert fake.patched() == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"servers": []}, "servers is [], and has to be a list of one or more names"),
        ({"servers": "chat"}, "servers has to be a list of texts"),
        ({"idle_minutes": 0}, "idle_minutes is 0, and has to be 1 or more"),
        ({"idle_minutes": 1.5}, "idle_minutes has to be a whole number"),
        ({"idle": 5}, "idle is not known here"),
    ],
)
def test_wrong_settings_are_refused_by_name(changed: dict[str, object], told: str):
    with pytest.raises(WrongError) as caught:
        parse(json.dumps({**SETTINGS, **changed}))
    assert told in str(caught.value)


def test_settings_that_are_missing_end_the_job_with_an_error(capsys):
    assert main({}) == 1
    assert capsys.readouterr().err == "LLM_ENDPOINT_PARK: it is not JSON\n"


def test_the_settings_are_read_whole():
    assert parse(json.dumps(SETTINGS)) == Parking(
        "http://gateway-activity:8080/activity", 30, "llm", ("chat", "embeddings")
    )


def test_an_address_of_ipv6_is_put_in_brackets(fake: Fake):
    environment = {**fake.environment, "KUBERNETES_SERVICE_HOST": "::1"}
    with pytest.raises(AskError, match=r"GET /apis/.* failed: (ConnectionRefused|OS)Error"):
        Cluster(environment, fake.account).replicas("llm", "chat")
