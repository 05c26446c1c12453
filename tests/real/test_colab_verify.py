"""`scripts.runtime.verify` and the job that parks, on a real notebook server behind its door."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import CORE, NAMESPACE, SLICES, FakeCluster
from gateway_caddy import FILES, caddy_program, free_port
from real_packages import python

from components.rendering.kubernetes.colab.names import ORIGIN, PORT, RUNTIME
from machine.pod.park_runtime import Parking, Runtime, why_kernels_stay, why_not
from scripts.runtime import kernel
from scripts.runtime.checks import headers_of
from scripts.verify.bounds import Deadline
from scripts.verify.client import Client
from scripts.verify.options import Endpoint
from scripts.verify.scrub import Scrubber
from scripts.verify.via import Fixed

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

CHECKOUT = Path(__file__).resolve().parents[2]
TOKEN = secrets.token_hex(24)
PATTERN = r"--ServerApp.allow_origin_pat=^https://colab\.research\.google\.com$"


@dataclass(frozen=True)
class Stand:
    """A notebook server at `notebook`, and its door at `door`, ports of 127.0.0.1."""

    notebook: int
    door: int
    folder: Path

    def log(self) -> str:
        return (self.folder / "notebook.log").read_text() + (self.folder / "door.log").read_text()


def notebook_command(port: int, folder: Path) -> list[str]:
    words = [str(python()), "-m", "jupyter_server", "--no-browser", "--allow-root"]
    words += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    return [*words, PATTERN, "--ServerApp.allow_credentials=True", f"--ServerApp.root_dir={folder}"]


def door_command() -> list[str]:
    caddyfile = FILES / "colab" / "Caddyfile"
    return [str(caddy_program()), "run", "--adapter", "caddyfile", "--config", str(caddyfile)]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("runtime")
    made = Stand(free_port(), free_port(), folder)
    common = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    door = {
        "LLM_ENDPOINT_DOOR_PORT": str(made.door),
        "LLM_ENDPOINT_NOTEBOOK_PORT": str(made.notebook),
        "LLM_ENDPOINT_ORIGIN": ORIGIN.replace(".", r"\."),
    }
    commands = {
        "notebook": (notebook_command(made.notebook, folder), {"JUPYTER_TOKEN": TOKEN}),
        "door": (door_command(), door),
    }
    processes: list[subprocess.Popen[bytes]] = []
    for name, (command, variables) in commands.items():
        with (folder / f"{name}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    command,
                    env={**common, **variables},
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )
    try:
        yield made
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(20)


@dataclass(frozen=True)
class Ran:
    status: int
    receipt: dict[str, Any]
    said: str

    @property
    def failed(self) -> dict[str, Any]:
        (check,) = [one for one in self.receipt["checks"] if one["status"] == "failed"]
        return check


def verify(port: int, *words: str, token: str = TOKEN) -> Ran:
    """Verify what answers at `port`, in a process of its own."""
    return run_verification({}, "--via", f"127.0.0.1:{port}", *words, token=token)


def run_verification(variables: dict[str, str], *words: str, token: str = TOKEN) -> Ran:
    own = {"LLM_ENDPOINT_RUNTIME_TOKEN": token, "http_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.runtime.verify", "--wait-seconds", "60", *words],
        env={**os.environ, **own, **variables},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert token not in done.stdout + done.stderr
    return Ran(done.returncode, json.loads(done.stdout), done.stderr)


def test_a_real_notebook_server_behind_its_door_passes(stand: Stand):
    ran = verify(stand.door, "--disk", str(stand.folder))
    assert (ran.status, ran.receipt["status"]) == (0, "passed"), ran.said
    seen = {one["name"]: one["seen"] for one in ran.receipt["checks"]}
    assert seen["refuses_without_token"] == "without a token 403, with a wrong token 403"
    assert seen["refuses_strangers"].count(" 403") == 3
    (disk,) = ran.receipt["disks"]
    assert 0 < disk["free_bytes"] <= disk["total_bytes"]
    assert ran.receipt["server"].startswith("2.")
    assert ran.receipt["python"].startswith("3.")
    # Neither server says it, though it was in none of their arguments and in all requests.
    assert TOKEN not in stand.log()


def test_a_kernel_answers_through_a_port_forward_too(stand: Stand):
    deployment = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RUNTIME}"
    counts = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    endpoint = {"conditions": {"ready": True}, "targetRef": {"name": "colab-runtime-1"}}
    with FakeCluster() as cluster:
        cluster.ports["colab-runtime-1"] = stand.door
        cluster.objects |= {
            deployment: {"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": counts},
            f"{CORE}/services/{RUNTIME}": {"spec": {"ports": [{"name": "door", "port": PORT}]}},
            SLICES: {
                "items": [{"ports": [{"name": "door", "port": 8090}], "endpoints": [endpoint]}]
            },
        }
        ran = run_verification({**cluster.environment, "LLM_ENDPOINT_NAMESPACE": NAMESPACE})
    assert (ran.status, ran.receipt["status"]) == (0, "passed"), ran.said
    assert ran.receipt["via"] == f"kubernetes:{NAMESPACE}/{RUNTIME}/{PORT}"


def test_a_real_notebook_server_without_its_door_is_found_out(stand: Stand):
    ran = verify(stand.notebook)
    assert ran.status == 1
    assert ran.failed["name"] == "refuses_strangers"
    assert ran.failed["seen"].startswith("HTTP 200")


def test_a_token_that_a_real_server_does_not_take_fails(stand: Stand):
    ran = verify(stand.door, token=secrets.token_hex(24))
    assert ran.status == 1
    assert ran.failed["name"] == "accepts_token"
    assert ran.failed["seen"].startswith("HTTP 403")


def test_a_notebook_server_that_never_comes_ends_the_wait():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    ran = verify(port, "--wait-seconds", "0.5")
    assert ran.status == 3
    assert ran.failed["name"] == "reachable"
    assert "connection refused" in ran.failed["seen"]


@pytest.fixture
def client(stand: Stand) -> Client:
    endpoint = Endpoint(f"http://127.0.0.1:{stand.door}", "127.0.0.1")
    return Client(endpoint, None, scrubber=Scrubber([TOKEN]), headers=headers_of(TOKEN))


@pytest.fixture
def runtime(stand: Stand, tmp_path: Path) -> Runtime:
    (tmp_path / "token").write_text(TOKEN)
    url = f"http://127.0.0.1:{stand.door}"
    return Runtime(Parking(url, "localhost:9000", tmp_path / "token", 30, "n", "r"))


def until(wanted: Callable[[], bool]) -> None:
    deadline = Deadline(30)
    while not wanted():
        deadline.check()


def test_a_real_server_tells_of_its_use_and_being_asked_for_it_is_none(
    stand: Stand, client: Client, runtime: Runtime
):
    deadline = Deadline(60)
    route = Fixed("127.0.0.1", stand.door)
    with kernel.begun(client, deadline) as name:
        path = f"/api/kernels/{name}/channels"
        host = f"127.0.0.1:{stand.door}"
        channels = kernel.open_socket(route, host, path, headers_of(TOKEN, ORIGIN), deadline)
        assert kernel.run(channels, "print(6 * 7)", deadline) == "42\n"
        used = runtime.use()
        assert used.connections == 1
        assert why_not(used, used.last + 10**6, 30) == "1 connections to its kernels are open"
        assert why_kernels_stay(runtime.kernels()) is None
        channels.send(json.dumps(kernel.request("a", "import time; time.sleep(60)")))
        until(lambda: why_kernels_stay(runtime.kernels()) == "1 of its kernels are busy")
        channels.close()
        until(lambda: runtime.use().connections == 0)
    used = runtime.use()
    runtime.kernels()
    assert runtime.use() == used
    assert why_not(used, used.last + 29 * 60, 30) == "idle for 29 of 30 min"
    assert why_not(used, used.last + 30 * 60, 30) is None
