"""What an earlier pulumi left locked, and a state that is not here any more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from backend_files import lock, side, update
from prepared_stack import prepared

from scripts.backend import asking, held
from scripts.backend.__main__ import do
from scripts.backend.held import Move
from scripts.backend.place import Place, folder_url
from scripts.bootstrap import locks
from scripts.bootstrap.backend import Backend
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.locks import Lock

TO = "gs://state-1a2b"


def in_folder(folder: Path, why: str = "the default") -> Backend:
    return Backend(folder_url(folder), why, folder)


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "is_running_pulumi", lambda _: False)
    monkeypatch.setattr(locks, "this_host", lambda: "here")


def test_the_lock_of_a_dead_pulumi_is_removed_and_told(
    tmp_path: Path, dead: None, capsys: pytest.CaptureFixture[str]
):
    noted = prepared(tmp_path, in_folder(tmp_path / "state"))
    lock(side(tmp_path / "state"), "dev")
    assert locks.settle(noted.ready, "dev")
    assert locks.read(tmp_path / "state", "dev") == []
    assert "pulumi that is gone (pid 7, since 2026-11-21T11:01:59)" in capsys.readouterr().err


def test_without_locks_nothing_is_asked(tmp_path: Path, dead: None):
    noted = prepared(tmp_path, in_folder(tmp_path / "state"))
    assert not locks.settle(noted.ready, "dev")
    assert noted.asked() == []


def test_a_lock_that_came_since_is_not_removed_with_a_dead_one(
    tmp_path: Path, dead: None, monkeypatch: pytest.MonkeyPatch
):
    noted, there = prepared(tmp_path, in_folder(tmp_path / "state")), side(tmp_path / "state")
    lock(there, "dev")
    judged = locks.stale

    def judge(found: list[Lock], *given: object) -> bool:
        lock(there, "dev", pid=8, host="elsewhere")
        return judged(found, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(locks, "stale", judge)
    assert locks.settle(noted.ready, "dev")
    assert [one.pid for one in locks.read(tmp_path / "state", "dev")] == [8]


def test_a_lock_that_can_not_be_removed_is_an_error(
    tmp_path: Path, dead: None, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object) -> None:
        raise BootstrapError("permission denied", "chmod")

    monkeypatch.setattr(held, "remove", refused)
    noted = prepared(tmp_path, in_folder(tmp_path / "state"))
    lock(side(tmp_path / "state"), "dev")
    with pytest.raises(BootstrapError, match="can't be removed: permission denied") as error:
        locks.settle(noted.ready, "dev")
    assert error.value.next_step == "scripts/pulumi cancel --stack dev"


def test_a_state_that_has_moved_is_refused_with_where_it_is(tmp_path: Path, dead: None):
    noted = prepared(tmp_path, in_folder(tmp_path / "state"))
    held.write_move(side(tmp_path / "state").objects, "dev", Move(TO, "moved"), 0, only_new=True)
    with pytest.raises(BootstrapError, match=f"moved to {TO}") as refused:
        locks.settle(noted.ready, "dev")
    assert f"backend: {{url: '{TO}'}}" in refused.value.next_step
    assert noted.asked() == []


@pytest.mark.parametrize("step", ["copying", "copied"])
def test_a_move_that_was_broken_off_is_refused_with_how_it_ends(
    tmp_path: Path, dead: None, step: held.Step
):
    noted = prepared(tmp_path, in_folder(tmp_path / "state"))
    held.write_move(side(tmp_path / "state").objects, "dev", Move(TO, step), 7, only_new=True)
    with pytest.raises(BootstrapError) as refused:
        locks.settle(noted.ready, "dev")
    assert f"scripts/state move dev '{TO}'" in refused.value.next_step


def test_the_locks_in_a_bucket_are_looked_at_too(
    tmp_path: Path, dead: None, monkeypatch: pytest.MonkeyPatch
):
    lock(side(tmp_path / "bucket"), "dev", pid=8)
    asked: list[tuple[str, str]] = []

    def ask(
        _: object, environment: dict[str, str], verb: str, stack: str, place: Place, *more: str
    ):
        asked.append((verb, place.url))
        return do([verb, stack, folder_url(tmp_path / "bucket"), *more], environment)

    monkeypatch.setattr(asking, "ask", ask)
    noted = prepared(tmp_path, Backend("s3://state?region=r", "Pulumi.yaml", None))
    monkeypatch.setattr(held, "this_user", lambda: "bob")
    with pytest.raises(BootstrapError, match="locked by ann@here"):
        locks.settle(noted.ready, "dev")
    monkeypatch.setattr(held, "this_user", lambda: "ann")
    assert locks.settle(noted.ready, "dev")
    assert asked[1:] == [("locks", "s3://state?region=r"), ("unlock", "s3://state?region=r")]
    assert locks.read(tmp_path / "bucket", "dev") == []


def test_a_bucket_that_does_not_answer_is_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refused(*_: object) -> None:
        raise BootstrapError("no credentials", "log in")

    monkeypatch.setattr(asking, "ask", refused)
    noted = prepared(tmp_path, Backend("gs://state", "Pulumi.yaml", None))
    assert not locks.settle(noted.ready, "dev")
    assert "no credentials" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["https://api.pulumi.com", "azblob://container"])
def test_other_backends_see_to_their_locks_themselves(tmp_path: Path, url: str):
    noted = prepared(tmp_path, Backend(url, "your pulumi login", None))
    assert not locks.settle(noted.ready, "dev")


def test_a_stack_that_the_project_s_backend_would_leave_behind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "ask", lambda *_: {"locks": []})
    noted = prepared(tmp_path, Backend(TO, "Pulumi.yaml", None))
    own = noted.ready.checkout.state / "backend"
    update(side(own), "dev", 1)
    with pytest.raises(BootstrapError, match="dev has its state in") as refused:
        locks.settle(noted.ready, "dev")
    assert f"scripts/state move dev '{TO}'" in refused.value.next_step
    assert not locks.settle(noted.ready, "other")
    held.write_move(side(own).objects, "dev", Move(TO, "moved"), 0, only_new=True)
    assert not locks.settle(noted.ready, "dev")


def test_what_runs_on_this_machine_may_stay_although_the_project_has_a_backend(tmp_path: Path):
    noted = prepared(tmp_path, Backend(TO, "Pulumi.yaml", None))
    own = noted.ready.checkout.state / "backend"
    update(side(own), "local", 1)
    with pytest.raises(BootstrapError, match="has its state in") as refused:
        locks.settle(noted.ready, "local")
    assert f"export PULUMI_BACKEND_URL='file://{own}'; or move it: " in refused.value.next_step


@pytest.mark.parametrize("step", ["copying", "copied"])
def test_a_stack_on_its_way_to_the_project_s_backend_is_not_made_there(
    tmp_path: Path, step: held.Step
):
    noted = prepared(tmp_path, Backend(TO, "Pulumi.yaml", None))
    own = noted.ready.checkout.state / "backend"
    update(side(own), "dev", 1)
    held.write_move(side(own).objects, "dev", Move(TO, step), 7, only_new=True)
    with pytest.raises(BootstrapError, match="or that was broken off") as refused:
        locks.settle(noted.ready, "dev")
    assert f"PULUMI_BACKEND_URL='file://{own}' scripts/state move dev" in refused.value.next_step


def test_a_stack_that_moved_elsewhere_is_not_made_in_the_project_s_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(asking, "ask", lambda *_: {"locks": []})
    lacks = {"*--show-name*": "echo \"error: no stack named 'dev' found\" >&2; exit 1"}
    noted = prepared(tmp_path, Backend("gs://mistyped", "Pulumi.yaml", None), lacks)
    own = noted.ready.checkout.state / "backend"
    update(side(own), "dev", 1)
    held.write_move(side(own).objects, "dev", Move(TO, "moved"), 0, only_new=True)
    with pytest.raises(BootstrapError, match=f"dev has moved to {TO}"):
        locks.settle(noted.ready, "dev")
    went_on = prepared(tmp_path / "2", Backend("gs://the-next", "Pulumi.yaml", None))
    shutil.copytree(own, went_on.ready.checkout.state / "backend")
    assert not locks.settle(went_on.ready, "dev")


def test_what_moves_a_state_holds_it_while_it_lives(tmp_path: Path):
    script = tmp_path / "scripts" / "bootstrap"
    script.mkdir(parents=True)
    (script / "__main__.py").write_text("print(flush=True); input()", encoding="utf-8")
    move = Move(TO, "copying")
    with subprocess.Popen(
        [sys.executable, script, "state"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            assert locks.lives(Lock(running.pid, "ann", "here", "x", move))
            assert not locks.lives(Lock(running.pid, "ann", "here", "x")), "it is no pulumi"
        finally:
            running.communicate(b"\n")
    assert not locks.lives(Lock(running.pid, "ann", "here", "x", move))
    assert not locks.lives(Lock(os.getpid(), "ann", "here", "x", move)), "pids are used again"
