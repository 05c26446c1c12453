"""Parking of an idle notebook runtime: when, what is asked, and never on doubt."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_authority import Authority, make_authority

from machine.pod.park_runtime import Parking, look, main, parse
from machine.pod.workloads import Cluster, Kind
from machine.table import WrongError

TOKEN = "the-token-of-the-runtime"
ACCOUNT_TOKEN = "a-token-of-the-service-account"
PATH = "/apis/apps/v1/namespaces/colab-llm-cpu/deployments/colab-runtime"
LAST = "2026-11-21T10:00:00.123456Z"
NOW = 1_795_255_200.0  # 2026-11-21T10:00:00Z
MINUTE = 60.0
READY = {"availableReplicas": 1, "conditions": [{"type": "Available", "status": "True"}]}
UNREADY = {
    "conditions": [
        {"type": "Progressing", "lastTransitionTime": "2026-11-21T11:00:00Z"},
        {"type": "Available", "status": "False", "lastTransitionTime": "2026-11-21T10:00:00Z"},
    ]
}


@dataclass
class Fake:
    """The runtime's door, the cluster's API, a service account and the token's file."""

    folder: Path
    status: object = field(default_factory=lambda: {"last_activity": LAST, "connections": 0})
    kernels: object = field(default_factory=list)
    deployment: dict[str, Any] = field(default_factory=lambda: {"status": READY})
    replicas: int = 1
    refuses: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "url": f"http://127.0.0.1:{self.ports['door']}",
            "host": "localhost:9000",
            "token_file": str(self.folder / "runtime-token"),
            "idle_minutes": 30,
            "namespace": "colab-llm-cpu",
            "runtime": "colab-runtime",
        }

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LLM_ENDPOINT_PARK_RUNTIME": json.dumps(self.settings),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.ports["api"]),
            "HTTP_PROXY": "http://127.0.0.1:1",
        }

    def look(self, minutes: float) -> str:
        """What is said so many minutes after the runtime was last used."""
        cluster = Cluster(self.environment, self.folder, Kind.DEPLOYMENT)
        parking = parse(json.dumps(self.settings))
        return look(parking, lambda: cluster, lambda: NOW + minutes * MINUTE)


def handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            fake.asked.append(("GET", self.path))
            if self.path.startswith("/api/"):
                fake.headers.append((self.headers["Host"], self.headers["Authorization"]))
                self.answer(fake.status if self.path == "/api/status" else fake.kernels)
            elif self.path.endswith("/scale"):
                self.answer({"spec": {"replicas": fake.replicas} if fake.replicas else {}})
            else:
                self.answer(fake.deployment)

        def do_PATCH(self) -> None:
            fake.asked.append(("PATCH", self.path))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.bodies.append(body)
            self.answer({})

        def answer(self, content: object) -> None:
            refused = fake.refuses and fake.refuses in f"{self.command} {self.path}"
            text = json.dumps(content).encode()
            self.send_response(403 if refused else 200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def fake(tmp_path: Path, authority: Authority) -> Iterator[Fake]:
    (tmp_path / "token").write_text(ACCOUNT_TOKEN)
    (tmp_path / "runtime-token").write_text(f"{TOKEN}\n")
    (tmp_path / "ca.crt").write_bytes(authority.path.read_bytes())
    made = Fake(tmp_path)
    servers: list[ThreadingHTTPServer] = []
    for name in ("door", "api"):
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


def test_a_runtime_that_nobody_uses_is_noted_and_scaled_to_none(fake: Fake):
    fake.kernels = [{"execution_state": "idle"}, {"execution_state": "starting"}]
    assert fake.look(31) == "not used for 30 min: parked colab-runtime"
    note = {"metadata": {"annotations": {"llm-endpoint/parked-at": "2026-11-21T10:31:00Z"}}}
    assert fake.bodies == [note, {"spec": {"replicas": 0}}]
    assert [path for method, path in fake.asked if method == "PATCH"] == [PATH, f"{PATH}/scale"]


def test_it_is_asked_with_its_token_by_a_name_that_its_door_lets_in(fake: Fake):
    fake.look(31)
    assert set(fake.headers) == {("localhost:9000", f"token {TOKEN}")}
    # Asked otherwise, the list of kernels would itself be a use.
    assert ("GET", "/api/kernels?no_track_activity=1") in fake.asked


@pytest.mark.parametrize(
    ("status", "minutes", "why"),
    [
        ({"last_activity": LAST, "connections": 1}, 90, "1 connections to its kernels are open"),
        ({"last_activity": LAST, "connections": 0}, 30, "idle for 29 of 30 min"),
        ({"last_activity": LAST, "connections": 0}, -1, "a clock ran backwards"),
        ({"last_activity": LAST}, 90, "it can't be asked: its status is none"),
        ({"last_activity": "now", "connections": 0}, 90, "it can't be asked: its status is none"),
        ({"last_activity": LAST, "connections": True}, 90, "it can't be asked: its status is none"),
        ([], 90, "it can't be asked: its status is none"),
    ],
)
def test_what_is_used_or_unsure_stays(fake: Fake, status: object, minutes: float, why: str):
    fake.status = status
    assert fake.look(minutes) == f"nothing is parked: {why}"
    assert fake.bodies == []


@pytest.mark.parametrize(
    ("kernels", "why"),
    [
        ([{"execution_state": "busy"}, {"execution_state": "idle"}], "1 of its kernels are busy"),
        ([{}], "1 of its kernels are busy"),
        ({}, "its list of kernels is none"),
    ],
)
def test_a_kernel_that_computes_without_a_word_keeps_it(fake: Fake, kernels: object, why: str):
    fake.kernels = kernels
    assert fake.look(600) == f"nothing is parked: {why}"
    assert fake.bodies == []


def test_a_runtime_that_refuses_its_token_stays(fake: Fake):
    fake.refuses = "GET /api/status"
    assert fake.look(90) == (
        "nothing is parked: it can't be asked: asking for its status was answered 403"
    )


def test_a_token_that_is_not_there_parks_nothing(fake: Fake):
    (fake.folder / "runtime-token").unlink()
    assert fake.look(90) == (
        "nothing is parked: it can't be asked: its token's file: FileNotFoundError"
    )


def test_a_runtime_that_is_parked_is_not_asked(fake: Fake):
    fake.replicas = 0
    assert fake.look(90) == "nothing is parked: the runtime is parked already"
    assert fake.headers == []


@pytest.mark.parametrize(
    ("metadata", "minutes"),
    [
        # As long as it may be idle, and then what it may take to start.
        ({"creationTimestamp": "2026-11-21T09:00:00Z"}, 210),
        (
            {
                "creationTimestamp": "2026-11-01T09:00:00Z",
                "annotations": {"llm-endpoint/woken-at": "2026-11-21T10:30:00Z"},
            },
            240,
        ),
    ],
)
def test_a_runtime_that_never_gets_ready_is_parked_in_the_end(
    fake: Fake, metadata: dict[str, Any], minutes: int
):
    fake.deployment = {"metadata": metadata, "status": UNREADY}
    assert fake.look(minutes - 0.1) == (
        "nothing is parked: it is not ready; idle for 209 of 210 min"
    )
    assert fake.bodies == []
    assert fake.look(minutes) == "not ready for 210 min: parked colab-runtime"
    assert fake.bodies[1] == {"spec": {"replicas": 0}}
    # What can't be ready can't be asked.
    assert fake.headers == []


def test_a_runtime_that_a_person_woke_has_its_time_from_then_on(fake: Fake):
    annotations = {"llm-endpoint/parked-at": "2026-11-21T09:00:00Z"}
    metadata = {"creationTimestamp": "2026-11-01T09:00:00Z", "annotations": annotations}
    fake.deployment = {"metadata": metadata, "status": UNREADY}
    assert fake.look(300) == "nothing is parked: it is not ready; idle for 0 of 210 min"
    woken = {"metadata": {"annotations": {"llm-endpoint/woken-at": "2026-11-21T15:00:00Z"}}}
    assert fake.bodies == [woken]


@pytest.mark.parametrize("status", [{}, {"conditions": [{"type": "Available"}]}])
def test_a_runtime_of_which_it_is_not_said_since_when_it_is_unready_stays(
    fake: Fake, status: dict[str, Any], capsys: pytest.CaptureFixture[str]
):
    fake.deployment = {"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}, "status": status}
    assert main(fake.environment, fake.folder) == 1
    assert "does not say since when it is awake" in capsys.readouterr().err
    assert fake.bodies == []


def test_a_job_says_what_it_did_and_no_token(fake: Fake, capsys: pytest.CaptureFixture[str]):
    fake.status = {"last_activity": "2020-01-01T00:00:00Z", "connections": 0}
    assert main(fake.environment, fake.folder) == 0
    fake.refuses = "PATCH"
    assert main(fake.environment, fake.folder) == 1
    said = capsys.readouterr()
    assert said.out == "not used for 30 min: parked colab-runtime\n"
    assert said.err == (
        f"the cluster can't be asked, or the runtime not parked: PATCH {PATH} was answered 403\n"
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"idle_minutes": 0}, "idle_minutes is 0, and has to be 1 or more"),
        ({"runtime": 1}, "runtime has to be a text"),
        ({"token": TOKEN}, "token is not known here"),
    ],
)
def test_wrong_settings_are_refused_by_name(fake: Fake, changed: dict[str, object], told: str):
    with pytest.raises(WrongError) as caught:
        parse(json.dumps({**fake.settings, **changed}))
    assert told in str(caught.value)


def test_settings_that_are_missing_end_the_job_with_an_error(capsys: pytest.CaptureFixture[str]):
    assert main({}) == 1
    assert capsys.readouterr().err == "LLM_ENDPOINT_PARK_RUNTIME: it is not JSON\n"


def test_the_settings_are_read_whole(fake: Fake):
    assert parse(json.dumps(fake.settings)) == Parking(
        url=fake.settings["url"],
        host="localhost:9000",
        token_file=fake.folder / "runtime-token",
        idle_minutes=30,
        namespace="colab-llm-cpu",
        runtime="colab-runtime",
    )
