"""The stack on the command line, in its files and in the backend; and the locks on it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from prepared_stack import prepared

from scripts.bootstrap import locks, stack
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.locks import Lock
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.pulumi_cli import Cli


@pytest.mark.parametrize(
    ("arguments", "name", "rest"),
    [
        ([], "local", []),
        (["cpu-vm"], "cpu-vm", []),
        (["cpu-vm", "--diff"], "cpu-vm", ["--diff"]),
        (["--diff"], "local", ["--diff"]),
        (["--target", "urn:x"], "local", ["--target", "urn:x"]),
        (["--stack", "a"], "a", []),
        (["-s", "a", "--diff"], "a", ["--diff"]),
        (["--diff", "--stack=me/project/a"], "me/project/a", ["--diff"]),
        (["a", "--stack", "a"], "a", []),
    ],
)
def test_the_first_argument_names_the_stack(arguments: list[str], name: str, rest: list[str]):
    assert stack.parse(arguments) == (name, rest)


@pytest.mark.parametrize(
    ("url", "step"),
    [
        ("gs://states", "gcloud auth application-default login"),
        ("s3://states?region=r", "aws configure"),
        ("https://api.pulumi.com", "scripts/pulumi login"),
    ],
)
def test_a_backend_that_lets_nobody_in_is_named_with_how_to_log_in(
    tmp_path: Path, url: str, step: str
):
    noted = prepared(tmp_path, Backend(url, "Pulumi.yaml", None), {"*": "exit 1"})
    ready = noted.ready
    with pytest.raises(BootstrapError, match="can't be asked for the stack dev") as refused:
        stack.exists(ready.checkout, "dev", ready.backend, ready.cli, ready.variables)
    assert step in refused.value.next_step


@pytest.mark.parametrize("arguments", [["a", "--stack", "b"], ["--stack"], ["a b"], ["../x"], [""]])
def test_a_name_that_can_t_be_one_is_refused(arguments: list[str]):
    with pytest.raises(BootstrapError):
        stack.parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["stack", "output", "--stack", "a"], "a"),
        (["up", "-s=b"], "b"),
        (["version"], None),
        (["up", "--stack"], None),
    ],
)
def test_pulumi_s_own_arguments_may_name_a_stack(arguments: list[str], name: str | None):
    assert stack.named(arguments) == name


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["config", "set", "gcp:project", "p", "--stack", "cpu-vm"], False),
        (["stack", "output", "--stack", "cpu-vm"], False),
        (["up", "--stack", "cpu-vm"], True),
        (["--stack", "cpu-vm", "config"], True),
        ([], True),
    ],
)
def test_only_what_runs_the_program_needs_its_plugins(arguments: list[str], needed: bool):
    assert stack.needs_program(arguments) is needed


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "stacks").mkdir()
    return Checkout(tmp_path)


def configure(checkout: Checkout, name: str, text: str) -> None:
    (checkout.stacks / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")


def test_a_value_is_read_from_the_stack_s_own_file(checkout: Checkout):
    configure(
        checkout,
        "dev",
        'config:\n  llm-endpoint:model: "a/b:c"\n  llm-endpoint:api_token:\n    secure: v1:x\n',
    )
    assert stack.configured(checkout, "dev", "model") == "a/b:c"
    assert stack.configured(checkout, "dev", "mode") is None
    assert stack.configured(checkout, "other", "model") is None


@pytest.mark.parametrize(
    ("name", "config", "local"),
    [
        ("local", None, True),
        ("me/llm-endpoint/local", None, True),
        ("dev", None, False),
        ("dev", "config:\n  llm-endpoint:program: local\n", True),
        ("local", "config:\n  llm-endpoint:program: cpu-vm\n", False),
    ],
)
def test_a_local_stack_is_known_by_its_program(
    checkout: Checkout, name: str, config: str | None, local: bool
):
    if config:
        configure(checkout, name, config)
    assert stack.is_local(checkout, name) is local


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("secretsprovider: gcpkms://k\nencryptedkey: eA==\n", ["--secrets-provider", "gcpkms://k"]),
        ("encryptionsalt: v1:x\n", []),
    ],
)
def test_a_stack_is_made_with_what_its_file_says_encrypts_its_secrets(
    checkout: Checkout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: list[str],
):
    configure(checkout, "dev", text)
    asked: list[list[str]] = []

    def run(
        checkout: Checkout, cli: object, environment: object, arguments: list[str]
    ) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(stack, "run", run)
    backend = Backend("gs://b", "a test", None)
    stack.create(checkout, "dev", backend, Cli(tmp_path, "v3", "on PATH"), {})
    assert asked == [["stack", "init", "dev", *words]]


def test_a_workflow_makes_no_stack_that_only_its_runner_could_decrypt(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configure(checkout, "dev", "config:\n  gcp:project: p\n")
    made: list[str] = []

    def run(*given: object) -> subprocess.CompletedProcess[str]:
        made.append(str(given[-1]))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(stack, "run", run)
    variables = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(checkout.state / "passphrase")}
    runner = {**variables, "GITHUB_ACTIONS": "true"}
    cli, shared = Cli(tmp_path, "v3", "on PATH"), Backend("gs://b", "a test", None)
    with pytest.raises(BootstrapError, match=r"Pulumi\.dev\.yaml names no secretsprovider"):
        stack.create(checkout, "dev", shared, cli, runner)
    assert made == []
    stack.create(checkout, "dev", shared, cli, variables)
    given = {**runner, "PULUMI_CONFIG_PASSPHRASE_FILE": "/run/secrets/passphrase"}
    stack.create(checkout, "dev", shared, cli, given)
    stack.create(checkout, "dev", Backend("https://api.pulumi.com", "a test", None), cli, runner)
    assert len(made) == 3


def test_stacks_in_a_folder_are_found_without_the_cli(tmp_path: Path):
    folder = tmp_path / ".pulumi" / "stacks" / "llm-endpoint"
    folder.mkdir(parents=True)
    for name in ("a.json", "a.json.attrs", "a.json.bak", "b.json.gz", "c.d.json"):
        (folder / name).touch()
    assert stack.names_in_folder(tmp_path) == ["a", "b", "c.d"]
    assert stack.in_folder(tmp_path, "organization/llm-endpoint/a")
    assert not stack.in_folder(tmp_path, "d")
    assert stack.names_in_folder(tmp_path / "nowhere") == []


HELD = Lock(4711, "ann", "here", "2026-11-21T10:00:00")


def test_a_lock_of_a_dead_pulumi_is_stale():
    assert locks.stale([HELD], "local", lambda _: False, "here")
    assert not locks.stale([], "local", lambda _: False, "here")


def test_a_living_pulumi_is_named():
    with pytest.raises(BootstrapError) as refused:
        locks.stale([HELD], "local", lambda pid: pid == 4711, "here")
    assert str(refused.value) == (
        "another pulumi (pid 4711, since 2026-11-21T10:00:00) is working on the stack local\n"
        "next: wait for it, or end it (kill -INT 4711), and try again"
    )


def test_a_lock_of_another_machine_is_left_to_the_person():
    with pytest.raises(BootstrapError, match="ann@there") as refused:
        locks.stale([Lock(1, "ann", "there", "x")], "dev", lambda _: False, "here")
    assert "scripts/pulumi cancel --stack dev" in refused.value.next_step


def test_one_living_pulumi_among_the_dead_is_enough():
    dead = Lock(1, "ann", "here", "x")
    with pytest.raises(BootstrapError, match="pid 4711"):
        locks.stale([dead, HELD], "local", lambda pid: pid == 4711, "here")


def test_locks_are_read_as_pulumi_writes_them(tmp_path: Path):
    folder = tmp_path / ".pulumi" / "locks" / "organization" / "llm-endpoint" / "local"
    folder.mkdir(parents=True)
    content = {
        "pid": 7,
        "username": "ann",
        "hostname": "here",
        "timestamp": "2026-11-21T11:01:59.676269692Z",
    }
    (folder / "1.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "1.json.attrs").write_text("{}", encoding="utf-8")
    (folder / "2.json").write_text("{", encoding="utf-8")
    assert locks.read(tmp_path, "local") == [Lock(7, "ann", "here", "2026-11-21T11:01:59")]
    assert locks.read(tmp_path, "other") == []
    assert locks.this_host() == socket.gethostname()


def test_a_process_that_is_no_pulumi_holds_no_lock():
    assert not locks.is_running_pulumi(os.getpid()), "pids are used again"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not locks.is_running_pulumi(ended.pid)


def test_a_running_pulumi_is_seen(tmp_path: Path):
    program = tmp_path / "pulumi"
    program.symlink_to(sys.executable)
    with subprocess.Popen(
        [program, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            assert locks.is_running_pulumi(running.pid)
        finally:
            running.communicate(b"\n")
