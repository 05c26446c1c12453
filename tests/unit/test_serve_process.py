"""Starting and stopping a real process: known by its token, never two of one home."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from components.rendering.process import LOG_NAME, RECORD_NAME
from scripts.models.stand_in import write_stand_in
from scripts.serve import home as homes
from scripts.serve import memory, ports, process
from scripts.serve.errors import ServeError
from scripts.serve.identity import (
    ServerRecord,
    is_alive,
    parse_record,
    read_record,
    replacement_trigger,
    servers_of,
)

# A server that listens on the port it is given, says what it sees, and ends on SIGTERM.
SERVER = """
import os, socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
print(sorted(k for k in os.environ if k.startswith("LLM_ENDPOINT_")), flush=True)
time.sleep(120)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"


@pytest.fixture(autouse=True)
def any_model_fits(monkeypatch):
    monkeypatch.setattr(memory, "why_not", lambda *_: None)


@pytest.fixture
def home(tmp_path: Path):
    folder = tmp_path / "a home with späces"
    homes.make(folder)
    yield folder
    for left in servers_of(folder):
        left.kill()


def order(home: Path, **changed: object) -> process.ServerOrder:
    return replace(
        process.ServerOrder(
            home=home,
            program=(sys.executable, "-c", SERVER),
            arguments=("{port}",),
            environment={},
            model=Path("/models/m.gguf"),
            model_bytes=1,
            model_sha256="ab" * 32,
            port=None,
            keys=("sk-one", "sk-two"),
            replaces="first",
        ),
        **changed,
    )


def silent(_: str) -> None:
    return None


def wait_until(condition) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about within 10 s")


def test_a_started_server_is_alive_detached_and_recorded(home: Path):
    record = process.start(order(home), silent)
    assert is_alive(record)
    assert read_record(home / RECORD_NAME) == record
    assert os.getsid(record.pid) == record.pid != os.getsid(0)
    wait_until(lambda: not ports.is_free(record.port))


def test_the_keys_lie_in_a_private_file_and_nowhere_in_the_process(home: Path):
    record = process.start(order(home), silent)
    keys = home / homes.KEYS_NAME
    assert keys.read_text() == "sk-one\nsk-two\n"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    running = psutil.Process(record.pid)
    assert "sk-one" not in json.dumps([running.cmdline(), running.environ()])


def test_the_server_does_not_inherit_its_orders(home: Path, monkeypatch):
    monkeypatch.setenv("LLM_ENDPOINT_KEYS", '["sk-one"]')
    process.start(order(home), silent)
    wait_until(lambda: (home / LOG_NAME).stat().st_size > 0)
    assert (home / LOG_NAME).read_text().strip() == str(
        ["LLM_ENDPOINT_SERVER", "LLM_ENDPOINT_SERVER_HOME"]
    )


def test_the_server_inherits_nothing_that_is_secret_or_that_llama_cpp_reads(
    home: Path, monkeypatch
):
    for name in ("PULUMI_CONFIG_PASSPHRASE", "HF_TOKEN", "LLAMA_API_KEY", "LLAMA_ARG_HOST"):
        monkeypatch.setenv(name, "hidden")
    record = process.start(order(home), silent)
    assert "hidden" not in psutil.Process(record.pid).environ().values()


def test_the_port_is_kept_when_the_server_is_replaced(home: Path):
    first = process.start(order(home), silent)
    second = process.start(order(home, keys=("sk-new",)), silent)
    assert second.port == first.port
    process.stop(home, "", silent)
    assert process.start(order(home), silent).port == first.port


def test_a_kept_port_that_another_program_has_taken_gives_way_to_a_free_one(home: Path):
    first = process.start(order(home), silent)
    process.stop(home, "", silent)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((ports.LOOPBACK, first.port))
        taken.listen()
        assert process.start(order(home), silent).port != first.port


def test_the_port_that_the_server_has_can_be_asked_for(home: Path):
    first = process.start(order(home), silent)
    second = process.start(order(home, port=first.port), silent)
    assert (second.pid, second.port) == (first.pid, first.port)


def test_a_preflight_refuses_what_start_would_and_touches_nothing(home: Path, monkeypatch):
    running = process.start(order(home), silent)
    process.preflight(order(home, port=running.port))
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        with pytest.raises(ServeError, match="is taken by"):
            process.preflight(order(home, port=taken.getsockname()[1]))
    monkeypatch.setattr(memory, "why_not", lambda *_: "it needs 9 GB of 2 GB")
    with pytest.raises(ServeError, match="9 GB of 2 GB"):
        process.preflight(order(home))
    assert is_alive(running)


def test_a_preflight_counts_what_the_running_server_will_have_given_back(home: Path, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "why_not", lambda *words: seen.append(words[-1]))
    process.preflight(order(home))
    process.start(order(home), silent)
    process.preflight(order(home))
    assert seen[0] == 1000
    assert seen[-1] > 1_000_000


def test_a_home_in_which_anothers_server_runs_is_not_claimed(home: Path):
    record = process.start(order(home), silent)
    with pytest.raises(ServeError, match=f"kill {record.pid}"):
        process.claim(home)
    assert is_alive(record)
    process.stop(home, "", silent)
    process.claim(home)


def test_what_a_kill_leaves_of_a_file_goes_with_the_home(home: Path):
    (home / f"{homes.KEYS_NAME}.new").write_text("sk-half")
    homes.remove(home)
    assert not home.exists()


def test_the_same_order_twice_keeps_the_server(home: Path):
    wanted = order(home)
    first = process.start(wanted, silent)
    second = process.start(replace(wanted, replaces="second"), silent)
    assert second.pid == first.pid
    assert replacement_trigger(home) == "second"


@pytest.mark.parametrize(
    "changed",
    [{"model_sha256": "cd" * 32}, {"keys": ("sk-new",)}, {"environment": {"A": "1"}}],
    ids=["model", "keys", "environment"],
)
def test_another_order_replaces_the_server(home: Path, changed):
    wanted = order(home)
    first = process.start(wanted, silent)
    second = process.start(replace(wanted, **changed), silent)
    assert second.pid != first.pid
    assert not is_alive(first)
    assert is_alive(second)
    assert [p.pid for p in servers_of(home)] == [second.pid]


def test_a_server_whose_record_is_lost_is_found_and_ended(home: Path):
    first = process.start(order(home), silent)
    (home / RECORD_NAME).unlink()
    second = process.start(order(home), silent)
    assert not is_alive(first)
    assert is_alive(second)


def test_stop_ends_the_server_and_frees_its_port(home: Path):
    record = process.start(order(home), silent)
    wait_until(lambda: not ports.is_free(record.port))
    process.stop(home, "", silent)
    assert not is_alive(record)
    assert ports.is_free(record.port)
    assert not (home / RECORD_NAME).exists()


def test_stop_ends_a_server_that_only_the_state_still_knows(home: Path, tmp_path: Path):
    record = process.start(order(home), silent)
    process.stop(tmp_path / "elsewhere", record.as_json(), silent)
    assert not is_alive(record)


def test_stop_ends_a_server_that_is_deaf_to_sigterm(home: Path, monkeypatch):
    monkeypatch.setattr(process, "STOP_SECONDS", 0.5)
    record = process.start(order(home, program=(sys.executable, "-c", DEAF)), silent)
    wait_until(lambda: psutil.Process(record.pid).status() == psutil.STATUS_SLEEPING)
    process.stop(home, "", silent)
    assert not is_alive(record)


def test_stopping_twice_is_no_fault(home: Path):
    process.start(order(home), silent)
    process.stop(home, "", silent)
    process.stop(home, "not a record", silent)


def test_a_reused_pid_is_not_taken_for_the_server(home: Path):
    stranger = ServerRecord(os.getpid(), "token", 1, "digest", "first")
    assert not is_alive(stranger)
    process.stop(home, stranger.as_json(), silent)


def test_a_zombie_is_dead(home: Path):
    record = process.start(order(home), silent)
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(record))


def test_the_trigger_stays_while_the_server_lives_and_changes_once_when_it_dies(home: Path):
    record = process.start(order(home), silent)
    assert replacement_trigger(home) == replacement_trigger(home) == "first"
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(record))
    died = replacement_trigger(home)
    assert died == replacement_trigger(home) != "first"
    process.start(order(home, replaces=died), silent)
    assert replacement_trigger(home) == died


def test_a_lost_record_is_never_taken_for_a_living_server(home: Path):
    process.start(order(home), silent)
    (home / RECORD_NAME).unlink()
    assert replacement_trigger(home) != replacement_trigger(home)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_torn_record_is_none(text: str):
    assert parse_record(text) is None


def test_a_model_that_does_not_fit_is_refused_before_anything_starts(home: Path, monkeypatch):
    monkeypatch.setattr(memory, "why_not", lambda *_: "it needs 9 GB of 2 GB")
    with pytest.raises(ServeError, match="needs 9 GB of 2 GB"):
        process.start(order(home), silent)
    assert not list(servers_of(home))


def test_a_damaged_model_is_one_message(tmp_path: Path, monkeypatch):
    monkeypatch.undo()
    model = tmp_path / "damaged.gguf"
    model.write_bytes(b"GGUF\x03\x00\x00")
    with pytest.raises(ServeError, match="next: set model to a GGUF file that is whole"):
        memory.why_not(model, 7, ["--ctx-size", "4096"], 10**9)


def test_the_last_value_of_a_flag_is_the_one_that_counts(tmp_path: Path, monkeypatch):
    monkeypatch.undo()
    model = tmp_path / "tiny.gguf"
    size = write_stand_in(model) and model.stat().st_size
    small = ["--ctx-size", "1024", "--parallel", "1", "--cache-type-k=q8_0"]
    assert memory.why_not(model, size, small, 10**9) is None
    assert "memory" in str(memory.why_not(model, size, [*small, "--ctx-size", "1048576"], 10**9))
    with pytest.raises(ServeError, match="kv_type is 'nope'"):
        memory.why_not(model, size, [*small, "--cache-type-k", "nope"], 10**9)


def test_a_taken_port_is_refused_with_its_holder_and_the_next_step(home: Path):
    with socket.socket() as taken:
        taken.bind((ports.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError) as refused:
            process.start(order(home, port=port), silent)
        assert ports.choose(None, last=port) != port
        with pytest.raises(ServeError):
            ports.choose(port, last=None)
    assert f"port {port}" in str(refused.value)
    assert f"(pid {os.getpid()})" in str(refused.value)
    assert "scripts/pulumi config set port" in str(refused.value)


def test_a_program_that_is_not_there_is_one_message(home: Path):
    with pytest.raises(ServeError, match="can't start"):
        process.start(order(home, program=("/nonexistent/llama-server",)), silent)


def test_the_last_log_is_kept_beside_the_new_one(home: Path):
    process.start(order(home), silent)
    process.start(order(home, keys=("sk-new",)), silent)
    assert (home / homes.OLD_LOG_NAME).exists()


def test_a_second_worker_waits_for_the_first_and_gives_up_in_the_end(home: Path, monkeypatch):
    monkeypatch.setattr(homes, "LOCK_SECONDS", 0.3)
    with homes.locked(home), pytest.raises(ServeError, match="another program has worked on"):
        process.start(order(home), silent)


def test_a_home_with_files_that_are_not_ours_is_kept(home: Path):
    (home / "notes.txt").write_text("mine")
    with pytest.raises(ServeError, match=r"notes\.txt"):
        homes.remove(home)
    (home / "notes.txt").unlink()
    homes.remove(home)
    assert not home.exists()


def test_memory_is_the_control_groups_where_that_is_less(tmp_path: Path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert memory.available_bytes(tmp_path) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(tmp_path) > 1_500_000


def serve(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.serve", command],
        cwd=process.CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_for_a_home_makes_it_and_removes_it(tmp_path: Path):
    folder = tmp_path / "домой"
    made = serve("home", LLM_ENDPOINT_HOME=str(folder))
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(folder)
    assert serve("remove-home", LLM_ENDPOINT_HOME=str(folder)).returncode == 0
    assert not folder.exists()


def test_a_key_is_long_new_each_time_and_printed_alone():
    first, second = serve("new-key").stdout, serve("new-key").stdout
    assert first != second
    assert first.startswith("sk-")
    assert len(first.strip()) > 40


def test_a_missing_order_is_named():
    missing = serve("home")
    assert missing.returncode == 1
    assert "LLM_ENDPOINT_HOME is not set" in missing.stderr
    assert "Traceback" not in missing.stderr
