"""How localllm serves a model, and its tool on a machine, against a stand-in of that tool."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.engines.localllm import (
    LocalllmError,
    LocalllmOptions,
    launch,
    model_file,
    problems,
    pull,
)
from components.launch import Form, Slot
from components.serving.installations import LOCALLLM_SOURCE
from machine import localllm

CHECKOUT = Path(__file__).resolve().parents[2]
FILE = "model.Q4_K_M.gguf"
PULL = ("pull", "owner/repo", "--filename", FILE)
RUN = ("run", "owner/repo", "8081", "--host", "127.0.0.1", "--filename", FILE, "--verbose")
SECONDS = 20

# Behaves as local-llm/local_llm.py and modelserving.py do: `run` waits for a line of the server,
# closes the pipe that the server writes to, and returns.
FAKE = f"""
import hashlib, os, pathlib, subprocess, sys
words = sys.argv[1:]
place = pathlib.Path(os.environ["HF_HOME"], "hub", "models--owner--repo")
if words[0] == "ps":
    print("it runs")
elif words[0] == "pull":
    print("Pulling")
    if os.environ.get("FAIL"):
        print(os.environ["FAIL"], file=sys.stderr)
        sys.exit(1)
    with pathlib.Path(os.environ["HF_HOME"], "asked").open("a") as asked:
        asked.write("x")
    content = b"GGUF" + os.environ.get("CONTENT", "").encode()
    blob = place / "blobs" / (os.environ.get("SHA") or hashlib.sha256(content).hexdigest())
    link = place / "snapshots" / "c1" / "{FILE}"
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.unlink(missing_ok=True)
    link.symlink_to(blob)
    print(f"Pulled to {{link}}")
elif words[0] == "run":
    print(*words, flush=True)
    if os.environ.get("FAIL"):
        sys.exit(1)
    with subprocess.Popen(
        ["serves", os.environ["SERVER"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        server.stdout.readline()
        os._exit(0)
"""
SERVER = """
import signal, sys
def late(*_):
    print("said late", flush=True)
def ends(*_):
    print("ends", flush=True)
    sys.exit(0)
signal.signal(signal.SIGUSR1, late)
signal.signal(signal.SIGTERM, ends)
print("listens", flush=True)
for _ in range(20):
    signal.sigtimedwait([], 1)
"""


def options(**more: Any) -> LocalllmOptions:
    given: dict[str, Any] = {"owner": "owner", "repo": "repo-GGUF", "selector": FILE}
    return LocalllmOptions(**{**given, "context_tokens": 4096, **more})


def test_the_tool_is_told_the_place_and_the_file_and_nothing_of_keys():
    made = launch(options())
    assert made.program == "local-llm"
    assert made.arguments == (
        *("run", "owner/repo-GGUF", Slot.PORT, "--host", Slot.HOST),
        *("--filename", FILE, "--verbose"),
    )
    assert not made.checks_keys
    assert made.model_id is None
    assert not made.capabilities
    assert made.forms == {Form.PROCESS}


def test_the_servers_options_are_variables_of_its_environment():
    environment = launch(
        options(
            threads=8,
            batch_tokens=256,
            flash_attention=True,
            kv_type="q8_0",
            extra_flags=("--chat-format", "chatml", "--seed=-1"),
        )
    ).environment
    expected = {
        **{"N_CTX": "4096", "N_THREADS": "8", "N_THREADS_BATCH": "8", "N_BATCH": "256"},
        **{"FLASH_ATTN": "true", "TYPE_K": "8", "TYPE_V": "8"},
        **{"CHAT_FORMAT": "chatml", "SEED": "-1", "INTERRUPT_REQUESTS": "false"},
    }
    assert {name: environment[name] for name in expected} == expected
    assert not {"N_THREADS", "TYPE_K", "CHAT_FORMAT"} & launch(options()).environment.keys()


@pytest.mark.parametrize(
    ("repo", "selector", "file"),
    [
        ("saiga_mistral_7b-GGUF", None, "saiga_mistral_7b.Q4_K_M.gguf"),
        ("Llama-2-7B-Chat-GGUF", "q5_k_m", "llama-2-7b-chat.Q5_K_M.gguf"),
        ("any", "sub/Other.gguf", "sub/Other.gguf"),
    ],
)
def test_a_file_is_named_by_itself_or_by_the_rule_of_the_one_whose_files_have_one(
    repo: str, selector: str | None, file: str
):
    chosen = options(owner="TheBloke", repo=repo, selector=selector)
    assert model_file(chosen) == file
    assert pull(chosen) == ("pull", f"TheBloke/{repo}", "--filename", file)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"selector": None},
            "a repository without a file means; name the file, as",
        ),
        ({"selector": "Q4_K_M"}, "the quantisation Q4_K_M means; name the file"),
        ({"selector": "a-00001-of-00002.gguf"}, "is a part of a split model"),
        ({"owner": "TheBloke", "repo": "other", "selector": None}, "name the file"),
        ({"revision": "v1"}, "the branch main alone, not 'v1'; leave out the @revision"),
        ({"slots": 4}, "slots is 4; engine 'localllm' answers one request at a time"),
        ({"kv_type": "q9"}, "kv_type is 'q9'; it can be f16, q8_0, q4_0"),
        ({"kv_type": "q8_0"}, "needs flash_attention"),
        ({"extra_flags": ("--api_key", "x")}, "'--api_key' is no option"),
        ({"extra_flags": ("stray",)}, "'stray' is no option"),
        ({"extra_flags": ("--seed", "x")}, "--seed is x; it takes a whole number"),
        ({"extra_flags": ("--use_mmap",)}, "--use_mmap is without a value; it takes true or false"),
        ({"extra_flags": ("--chat_template_kwargs", "[1]")}, "it takes a JSON object"),
    ],
)
def test_what_the_tool_can_not_do_is_refused_with_what_would_do(changed: dict[str, Any], said: str):
    (problem,) = problems(options(**changed))
    assert said in problem
    with pytest.raises(LocalllmError, match=re.escape(said)):
        launch(options(**changed))


def test_the_tool_is_installed_from_the_commit_that_is_pinned():
    pin = tomllib.loads((CHECKOUT / "pins.toml").read_text(encoding="utf-8"))["localllm"]
    assert asdict(LOCALLLM_SOURCE) == pin


def test_all_problems_are_told_at_once():
    assert len(problems(options(selector=None, revision="v1", slots=2, extra_flags=("-x",)))) == 4


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The `bin` of an environment with a stand-in of the tool, and `serves`: a Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = Path(sys.executable).resolve()
    (folder / "python").symlink_to(python)
    tool = folder / "local-llm"
    tool.write_text(f"#!{python} -ISu\n{FAKE}")
    tool.chmod(0o755)
    (folder / "serves").write_text(f'#!/bin/sh\nexec "{python}" -ISc "$1"\n')
    (folder / "serves").chmod(0o755)
    return folder


class Machine:
    """Calls `machine.localllm`, and starts it, as stages and units do."""

    def __init__(
        self, programs: Path, patch: pytest.MonkeyPatch, outputs: pytest.CaptureFixture[str]
    ) -> None:
        self.python = programs / "python"
        self.home = programs.parent / "hub"
        self.home.mkdir()
        self.outputs = outputs
        self.patch = patch
        self.started: list[subprocess.Popen[str]] = []
        patch.setattr(sys, "executable", str(self.python))
        patch.setenv("HF_HOME", str(self.home))

    def start(self, words: tuple[str, ...], **environment: str) -> subprocess.Popen[str]:
        given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT), "HF_HOME": str(self.home)}
        process = subprocess.Popen(
            [self.python, "-S", "-m", "machine.localllm", *words],
            env={**given, "SERVER": SERVER, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def done(self, words: tuple[str, ...], **environment: str) -> tuple[int, str, str]:
        """Return the exit status, stdout, and the last line of stderr of a start that ends."""
        process = self.start(words, **environment)
        output, errors = process.communicate(timeout=SECONDS)
        return process.returncode, output.strip(), errors.strip().rpartition("\n")[2]

    def call(self, words: tuple[str, ...], **environment: str) -> tuple[int, str, str]:
        """Return what `done` does, with no process but the tool's."""
        with self.patch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            status = localllm.main(words)
        output, errors = self.outputs.readouterr()
        return status, output.strip(), errors.strip().rpartition("\n")[2]

    def serve(self) -> tuple[subprocess.Popen[str], int]:
        """Return a `run` whose server was listed by the tool, and the server's pid."""
        assert self.call(PULL)[0] == 0
        process = self.start(RUN)
        for line in process.stdout or ():
            if line == "it runs\n":
                children = [child.pid for child in psutil.Process(process.pid).children()]
                (server,) = (pid for pid in children if os.getpgid(pid) != os.getpgid(process.pid))
                return process, server
        raise AssertionError(process.communicate(timeout=SECONDS))


@pytest.fixture
def machine(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    made = Machine(programs, monkeypatch, capfd)
    yield made
    for process in made.started:
        process.kill()
        process.communicate(timeout=SECONDS)


def test_a_pull_says_where_the_file_is_and_does_not_ask_for_it_again(machine: Machine):
    status, path, _ = machine.call(PULL)
    assert status == 0
    assert Path(path).read_bytes() == b"GGUF"
    assert machine.call(PULL, FAIL="the hub is gone") == (0, path, "")
    assert (machine.home / "asked").read_text() == "x"


def test_a_file_that_was_changed_since_is_pulled_again(machine: Machine):
    _, path, _ = machine.call(PULL)
    Path(path).resolve().write_bytes(b"cut")
    assert machine.call(PULL)[0] == 0
    assert Path(path).read_bytes() == b"GGUF"


def test_a_file_with_another_checksum_is_deleted_and_the_pull_is_to_be_tried_again(
    machine: Machine,
):
    status, _, why = machine.call(PULL, SHA="0" * 64)
    assert status == 75
    assert "another sha256" in why
    assert not list(machine.home.rglob("blobs/*"))
    assert machine.call(PULL)[0] == 0


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        ("huggingface_hub.errors.RemoteEntryNotFoundError: 404", 78, f"has no file {FILE}"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 401", 78, "not open to everyone"),
        ("huggingface_hub.errors.GatedRepoError: 403", 78, "is gated"),
        ("OSError: [Errno 28] No space left on device", 78, "make cache_gb larger"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: offline", 75, "offline"),
        ("httpx.ConnectError: [Errno 111] Connection refused", 75, "Connection refused"),
        (
            "'certificate verify failed' thrown while requesting HEAD https://hub.example/file\n"
            "RuntimeError: Cannot send a request, as the client has been closed.",
            75,
            "not pulled: certificate verify failed (HEAD https://hub.example/file)",
        ),
    ],
)
def test_a_pull_that_failed_says_whether_another_may_do(
    machine: Machine, said: str, status: int, why: str
):
    code, _, message = machine.call(PULL, FAIL=said)
    assert code == status
    assert why in message


@pytest.mark.parametrize(
    ("words", "why"),
    [(("serve",), "it takes pull or run"), (("pull", "owner/repo"), "no --filename")],
)
def test_a_command_line_that_can_not_be_followed_is_refused_for_good(
    machine: Machine, words: tuple[str, ...], why: str
):
    status, _, said = machine.call(words)
    assert status == 78
    assert why in said


def test_a_run_names_the_pulled_file_by_its_commit_and_fails_where_the_tool_does(
    machine: Machine,
):
    assert machine.call(PULL)[0] == 0
    status, output, why = machine.done(RUN, FAIL="1")
    assert output.endswith(f"--host 127.0.0.1 --filename snapshots/c1/{FILE} --verbose")
    assert status == 1
    assert "did not start its server (local-llm: exit status 1)" in why


def test_a_run_of_what_was_not_pulled_says_so(machine: Machine):
    status, _, why = machine.done(RUN)
    assert status == 1
    assert f"owner/repo has no pulled file {FILE}" in why


def test_a_run_stays_shows_what_the_server_says_and_ends_it_when_told(machine: Machine):
    process, server = machine.serve()
    os.kill(server, signal.SIGUSR1)
    assert (process.stdout and process.stdout.readline()) == "said late\n"
    assert process.poll() is None
    process.terminate()
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "ends" in output.split()
    assert not Path(f"/proc/{server}").exists()


def test_a_run_ends_as_failed_when_its_server_dies(machine: Machine):
    process, server = machine.serve()
    os.kill(server, signal.SIGKILL)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "localllm's server ended (SIGKILL)" in errors
