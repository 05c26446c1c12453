"""localllm's server as it is installed and started on a machine, with the stand-in model.

`LLM_ENDPOINT_TEST_LOCALLLM` names a checkout of the tool, which only its Git repository has: the
tool itself then pulls, runs and lists. Without it the server that it starts is started as it does.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from components.engines.localllm import LocalllmOptions, launch, pull
from components.launch import Slot
from machine.commands import runner
from machine.config import Environment
from machine.google import Google
from machine.paths import Paths
from machine.stages import engine as engine_stage
from machine.world import World
from scripts.bootstrap import places
from scripts.models.stand_in import ANSWER, write_stand_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("LLM_ENDPOINT_TEST_LOCALLLM", "")
NO_TOOL = "localllm's own tool is not there: LLM_ENDPOINT_TEST_LOCALLLM names no checkout of it"
PIN = tomllib.loads((CHECKOUT / "pins.toml").read_text())["localllm"]
OPTIONS = LocalllmOptions("owner", "repo-GGUF", 4096, selector="stand-in.gguf", threads=2)
SECONDS_TO_START = 120
# The hub's client writes 10 MiB at a time (huggingface_hub's DOWNLOAD_CHUNK_SIZE).
WRITTEN_BYTES = 10 * 1024 * 1024
FIRST_BYTES = WRITTEN_BYTES + 1_000_000


@pytest.fixture(scope="session")
def python() -> Path:
    """The Python of the engine's environment, built by the very stage that does it on a machine."""
    paths = Paths(places.cache_root(os.environ) / "localllm-test")
    paths.requirements("x").parent.mkdir(parents=True, exist_ok=True)
    for lock in ("localllm", "localllm-build"):
        shutil.copy(CHECKOUT / "requirements" / f"{lock}.txt", paths.requirements(lock))
    with suppress(FileExistsError):
        (paths.root / "proc").symlink_to("/proc")
    world = World(paths, runner(print), Google(), print)
    engine_stage.run(SimpleNamespace(engines={"localllm": Environment("localllm", None)}), world)
    return paths.engine("localllm") / "bin" / "python"


@pytest.fixture(scope="session")
def tool(python: Path) -> Path:
    """The environment's Python, with the tool of the pinned commit beside it."""
    if not TOOL:
        pytest.skip(NO_TOOL)
    source = (
        f"git+file://{Path(TOOL).absolute()}@{PIN['commit']}#subdirectory={PIN['subdirectory']}"
    )
    options = ("--no-deps", "--no-build-isolation", "--use-pep517", "--force-reinstall", "--quiet")
    subprocess.run([python, "-I", "-m", "pip", "install", *options, source], check=True)
    return python


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stand-in.gguf"
    write_stand_in(path)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Hub:
    """One file of one repository, as the hub answers for it; it can break off a first download."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.digest = hashlib.sha256(content).hexdigest()
        self.breaks_off = False
        self.ranges: list[str | None] = []
        self.broken_off = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(send=False)

            def do_GET(self) -> None:
                self.answer(send=True)

            def answer(self, send: bool) -> None:
                if self.path != "/owner/repo-GGUF/resolve/main/stand-in.gguf":
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                wanted = self.headers.get("Range")
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(hub.content) - start))
                if wanted:
                    end = len(hub.content)
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
                self.send_header("ETag", f'"{hub.digest}"')
                self.send_header("X-Repo-Commit", "c" * 40)
                self.end_headers()
                if not send:
                    return
                hub.ranges.append(wanted)
                if hub.breaks_off:
                    self.wfile.write(hub.content[start : start + FIRST_BYTES])
                    self.wfile.flush()
                    hub.broken_off.wait(30)
                    self.close_connection = True
                else:
                    self.wfile.write(hub.content[start:])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.broken_off.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(stand_in: Path) -> Iterator[Hub]:
    with closing(Hub(stand_in.read_bytes())) as made:
        yield made


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a unit gives: nothing of this process's own."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **more,
    }


def started(python: Path, home: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start what the engine's unit starts."""
    place = {Slot.PORT: str(port), Slot.HOST: "127.0.0.1"}
    made = launch(OPTIONS)
    words = [place.get(word, word) for word in made.arguments]  # type: ignore[call-overload]
    with log.open("ab") as output:
        return subprocess.Popen(
            [python, "-m", "machine.localllm", *words],
            env=environment(home, **made.environment),
            stdout=output,
            stderr=output,
        )


def until_it_serves(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    path = launch(OPTIONS).probe.path
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def pulled(python: Path, home: Path, hub: Hub) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "machine.localllm", *pull(OPTIONS)],
        env=environment(home, HF_ENDPOINT=hub.url),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def serving(process: subprocess.Popen[bytes], port: int, log: Path) -> Iterator[int]:
    try:
        until_it_serves(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def server(python: Path, stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The server as local-llm/modelserving.py starts it; yields its port."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    words = f"--factory llama_cpp.server.app:create_app --host 127.0.0.1 --port {port}"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [python.parent / "uvicorn", *words.split()],
            env=environment(
                log.parent, **launch(OPTIONS).environment, MODEL=str(stand_in), VERBOSE="False"
            ),
            stdout=output,
            stderr=output,
        )
    with serving(process, port, log):
        yield port


def stream(port: int) -> str:
    """Return the whole of a streamed answer; the stream has to end as streams do."""
    said, done = "", False
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    with requests.post(url, json=body, stream=True, timeout=120) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            text = line.decode().removeprefix("data: ")
            if text == "[DONE]":
                done = True
            elif line.startswith(b"data: "):
                said += json.loads(text)["choices"][0]["delta"].get("content") or ""
    assert done
    return said


def verified(port: int) -> dict:
    """Return the receipt of the checks that follow a deployment."""
    process = subprocess.run(
        [sys.executable, "-m", "scripts.verify", f"http://127.0.0.1:{port}", "--stand-in", "--json",
         "--engine", "localllm", "--engine-package", "llama-cpp-python",
         "--probe-path", launch(OPTIONS).probe.path],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def provoke(port: int) -> requests.Response:
    """Ask for what the launch has switched off, of which the server also writes to its output."""
    body = {"prompt": "Hello!", "logprobs": 1}
    return requests.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=60)


def listed(port: int) -> list[str]:
    answer = requests.get(f"http://127.0.0.1:{port}/v1/models", timeout=60).json()
    return [model["id"] for model in answer["data"]]


def test_the_server_names_its_model_by_the_files_path(server: int, stand_in: Path):
    assert listed(server) == [str(stand_in)]


def test_streams_at_once_are_answered_one_after_the_other_and_none_is_cut_off(server: int):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: stream(server), range(4))) == [ANSWER] * 4


def test_a_context_that_is_too_long_is_refused_by_a_message(server: int):
    body = {"messages": [{"role": "user", "content": "Hello! " * OPTIONS.context_tokens}]}
    answer = requests.post(f"http://127.0.0.1:{server}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_the_options_of_the_launch_reach_the_server(server: int, python: Path):
    program = (
        "from llama_cpp.server.settings import Settings; import sys; "
        "s = Settings(model='m'); sys.stdout.write(s.model_dump_json())"
    )
    seen = subprocess.run(
        [python, "-I", "-c", program],
        env={"PATH": "/usr/bin:/bin", **launch(OPTIONS).environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    settings = json.loads(seen.stdout)
    assert settings["n_ctx"] == OPTIONS.context_tokens
    assert settings["n_threads"] == settings["n_threads_batch"] == OPTIONS.threads
    assert settings["interrupt_requests"] is settings["logits_all"] is False


def test_the_server_is_verified(server: int, stand_in: Path):
    receipt = verified(server)
    assert receipt["status"] == "passed"
    assert receipt["model"]["id"] == str(stand_in)


def test_the_tool_pulls_runs_and_lists_and_its_server_is_verified(
    tool: Path, hub: Hub, tmp_path: Path
):
    done = pulled(tool, tmp_path, hub)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == hub.digest
    hub.close()
    assert pulled(tool, tmp_path, hub).stdout == done.stdout, "asked again without the hub"

    port, log = free_port(), tmp_path / "log"
    process = started(tool, tmp_path, port, log)
    with serving(process, port, log):
        assert listed(port) == [str(path)]
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda _: stream(port), range(3))) == [ANSWER] * 3
        assert verified(port)["model"]["id"] == str(path)
        assert "logprobs is not supported" in provoke(port).json()["error"]["message"]
        (bound,) = [
            each.laddr.ip
            for child in psutil.Process(process.pid).children(recursive=True)
            for each in child.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        ]
        assert bound == "127.0.0.1"
    assert process.returncode == 0
    said = log.read_text()
    assert re.search(r"currently running\.\.\.\s+owner/repo-GGUF stand-in\.gguf", said)
    assert "Finished server process" in said, "what the server says late is lost"
    with pytest.raises(requests.ConnectionError):
        listed(port)


def test_the_end_of_the_server_is_the_end_of_what_the_unit_started(
    tool: Path, hub: Hub, tmp_path: Path
):
    assert pulled(tool, tmp_path, hub).returncode == 0
    port, log = free_port(), tmp_path / "log"
    process = started(tool, tmp_path, port, log)
    with serving(process, port, log):
        # `local-llm ps` may still be at it, in this process's own group.
        children = [child.pid for child in psutil.Process(process.pid).children()]
        (server,) = (pid for pid in children if os.getpgid(pid) != os.getpgid(process.pid))
        os.kill(server, signal.SIGSEGV)
        assert process.wait(60) == 1
    assert "localllm's server ended (SIGSEGV)" in log.read_text()


def test_a_pull_that_was_killed_goes_on_where_it_was(tool: Path, tmp_path: Path):
    with closing(Hub(b"GGUF" + random.Random(1).randbytes(2 * FIRST_BYTES))) as hub:
        check_that_a_killed_pull_goes_on(tool, hub, tmp_path)


def check_that_a_killed_pull_goes_on(tool: Path, hub: Hub, tmp_path: Path):
    hub.breaks_off = True
    words = [tool, "-m", "machine.localllm", *pull(OPTIONS)]
    first = subprocess.Popen(
        words,
        env=environment(tmp_path, HF_ENDPOINT=hub.url),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size >= WRITTEN_BYTES for part in tmp_path.rglob("*.incomplete")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(10)
    hub.breaks_off = False
    hub.ranges.clear()
    done = pulled(tool, tmp_path, hub)
    assert done.returncode == 0, done.stderr
    (wanted,) = hub.ranges
    assert wanted is not None
    assert int(wanted.removeprefix("bytes=").removesuffix("-")) >= WRITTEN_BYTES


@pytest.mark.parametrize(("damage", "status"), [(True, 75), (False, 78)])
def test_a_pull_that_fails_says_whether_another_may_do(
    tool: Path, hub: Hub, tmp_path: Path, damage: bool, status: int
):
    if damage:
        hub.digest = "0" * 64
        done = pulled(tool, tmp_path, hub)
        assert "another sha256" in done.stderr.splitlines()[-1]
    else:
        words = [tool, "-m", "machine.localllm", "pull", "owner/repo-GGUF", "--filename", "b.gguf"]
        done = subprocess.run(
            words,
            env=environment(tmp_path, HF_ENDPOINT=hub.url),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "has no file b.gguf" in done.stderr.splitlines()[-1]
    assert done.returncode == status
    hub.close()
    gone = pulled(tool, tmp_path, hub)
    assert gone.returncode == 75
