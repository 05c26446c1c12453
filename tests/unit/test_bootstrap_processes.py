"""Other programs: their signals, their progress, one at a time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.bootstrap import processes
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.running import run_live
from scripts.bootstrap.staging import staged

CHECKOUT = Path(__file__).resolve().parents[2]


def run(program: str, tmp_path: Path) -> None:
    processes.run_with_progress(
        [sys.executable, "-c", program],
        what="Doing it",
        log=tmp_path / "log",
        environment=os.environ,
        next_step="look",
    )


def test_a_long_program_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(processes, "SHOWN_EVERY_SECONDS", 0.1)
    run("import time; print('step 1', flush=True); time.sleep(0.5)", tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Doing it …"
    assert any(line.endswith(" s: step 1") for line in said[1:])


def test_a_program_that_fails_is_quoted_with_its_end(tmp_path: Path):
    with pytest.raises(BootstrapError) as failed:
        run("import sys; print('x' * 20000); print('the reason'); sys.exit(7)", tmp_path)
    assert "ended with status 7" in failed.value.problem
    assert failed.value.problem.endswith("  | the reason")
    assert str(tmp_path / "log") in failed.value.next_step


def test_a_second_process_waits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lock = tmp_path / "lock"
    entered = threading.Event()

    def second() -> None:
        with processes.one_at_a_time(lock, "building"):
            entered.set()

    with processes.one_at_a_time(lock, "building"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join()
    assert entered.is_set()
    assert capsys.readouterr().err == "Another process is building: waiting for it.\n"


def test_a_program_keeps_the_lock_of_a_process_that_died(tmp_path: Path):
    lock = tmp_path / "lock"
    with processes.one_at_a_time(lock, "x") as descriptor:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    try:
        with lock.open() as file, pytest.raises(BlockingIOError):
            processes.fcntl.flock(file, processes.fcntl.LOCK_EX | processes.fcntl.LOCK_NB)
    finally:
        child.communicate(b"")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path):
    target = tmp_path / "target"
    with pytest.raises(ZeroDivisionError), staged(target) as partial:
        (partial / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "target.partial" / "left by a killed one").mkdir(parents=True)
    with staged(target) as partial:
        (partial / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"]


# A program that counts the signals it gets, and a parent that runs it as scripts/up does.
COUNTS = """
import signal, sys, time
seen = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda got, _: seen.append(got))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.3)
print(len(seen), flush=True)
sys.exit(255)
"""
PARENT = f"""
import os, sys
from pathlib import Path
from scripts.bootstrap.running import run_live
sys.exit(run_live([sys.executable, "-c", {COUNTS!r}], Path("."), os.environ))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_program_once(number: int, status: int):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        cwd=CHECKOUT,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(number)
        assert parent.stdout.read() == b"1\n"
    assert parent.returncode == status


def test_the_program_s_own_status_is_kept(tmp_path: Path):
    assert run_live(["sh", "-c", "exit 3"], tmp_path, os.environ) == 3
    assert run_live(["sh", "-c", "kill -9 $$"], tmp_path, os.environ) == 137
