"""Records of stages: files, console lines, what they are reduced to, and who tells which."""

import fcntl
import json
import os
from pathlib import Path

import pytest
from fake_world import FakeMachine, fake_machine

from machine import report
from machine.commands import Result
from machine.console import tell_news
from machine.errors import Permanent, Temporary
from machine.stage import MOST_UNFORESEEN, main, run, stage_named
from machine.status import STAGES, State, Status, parse_record


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    made.config()
    return made


def console(machine: FakeMachine) -> list[dict]:
    lines = machine.paths.console.read_text().splitlines()
    assert all(line.startswith("llm-endpoint: {") for line in lines)
    return [json.loads(line.removeprefix("llm-endpoint: ")) for line in lines]


def test_a_record_is_a_file_and_a_line_on_the_console(machine: FakeMachine):
    machine.status().report("model", State.RUNNING, "1.2 of 4.1 GB")
    expected = {
        "stage": "model",
        "state": "running",
        "message": "1.2 of 4.1 GB",
        "time": "2026-11-18T11:06:40Z",
        "boot": "0f1e2d3c",
    }
    file = machine.paths.run / "status" / "model.json"
    assert json.loads(file.read_text()) == expected
    assert console(machine) == [expected]
    assert file.stat().st_mode & 0o777 == 0o644


def test_progress_is_told_at_most_every_ten_seconds(machine: FakeMachine):
    status = machine.status()
    for second in range(25):
        machine.clock.now = 1000.0 + second
        status.report("model", State.RUNNING, f"{second} s")
    status.report("model", State.DONE, "pulled")
    assert [line["message"] for line in console(machine)] == ["0 s", "10 s", "20 s", "pulled"]


def test_a_console_that_can_not_be_written_is_no_failure(machine: FakeMachine, tmp_path: Path):
    status = Status(machine.paths.run, tmp_path / "no" / "console")
    assert status.report("disk", State.DONE, "mounted")
    assert status.read("disk") is not None


def test_a_console_that_nobody_reads_holds_nothing_up(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("machine.status._CONSOLE_SECONDS", 0.01)
    pipe = tmp_path / "console"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        status = Status(tmp_path / "run", pipe)
        for _ in range(4):
            status.report("disk", State.RETRYING, "m" * 2000)
        assert status.read("disk") is not None
    finally:
        os.close(reader)


def test_a_log_keeps_its_end_within_twenty_lines_and_four_kilobytes(machine: FakeMachine):
    status = machine.status()
    status.report("caddy", State.FAILED, "no", [f"line {n}" for n in range(100)])
    record = status.read("caddy")
    assert record is not None
    assert record.log == tuple(f"line {n}" for n in range(80, 100))
    status.report("caddy", State.FAILED, "no", ["x" * 3000, "y" * 3000])
    record = status.read("caddy")
    assert record is not None
    assert record.log == ("y" * 3000,)
    status.report("caddy", State.FAILED, "no", ["z" * 9000])
    record = status.read("caddy")
    assert record is not None
    assert record.log == ("z" * 4096,)


def test_a_damaged_record_counts_as_none(machine: FakeMachine):
    for text in ("", "[]", '{"stage": "disk"}', '{"stage":"disk","state":"odd","message":""}'):
        machine.put(machine.paths.run / "status" / "disk.json", text)
        assert machine.status().read("disk") is None


def test_the_summary_names_the_failed_stage_before_any_other(machine: FakeMachine):
    status = machine.status()
    assert status.summary().status == "starting"
    assert status.summary().stage == "packages"
    for stage in ("packages", "disk", "tools"):
        status.report(stage, State.DONE, "done")
    status.report("caddy", State.RUNNING, "building")
    assert (status.summary().stage, status.summary().message) == ("caddy", "building")
    status.report("model", State.RETRYING, "no network")
    assert status.summary().stage == "model"
    status.report("keys", State.FAILED, "no such secret")
    assert (status.summary().status, status.summary().stage) == ("failed", "keys")
    assert list(status.read_all()) == [s for s in STAGES if s in status.read_all()]


def test_a_machine_without_gpus_does_not_wait_for_them(machine: FakeMachine):
    status = machine.status()
    for stage in STAGES[: STAGES.index("gpu")]:
        status.report(stage, State.DONE, "done")
    assert (status.summary().stage, status.summary().message) == ("keys", "waits for its turn")
    status.report("gpu", State.RUNNING, "has begun")
    assert status.summary().stage == "gpu"
    status.report("gpu", State.FAILED, "no driver")
    assert (status.summary().status, status.summary().stage) == ("failed", "gpu")


def test_the_summary_is_ok_once_the_endpoint_is_ready(machine: FakeMachine):
    status = machine.status()
    status.report("ready", State.DONE, "serving")
    assert status.summary().status == "ok"
    status.report("server", State.FAILED, "out of memory")
    assert status.summary().status == "failed"


def test_a_stage_that_succeeds_is_done(machine: FakeMachine):
    status = machine.status()
    assert run("disk", lambda config, world: "mounted", machine.world, status) == 0
    assert [line["state"] for line in console(machine)] == ["running", "done"]


def test_a_temporary_failure_is_retried_for_ever(machine: FakeMachine, capsys):
    def stage(config, world):
        raise Temporary("no network\nnext: wait", ["could not resolve"])

    status = machine.status()
    for _ in range(MOST_UNFORESEEN + 2):
        assert run("tools", stage, machine.world, status) == 75
    record = status.read("tools")
    assert record is not None
    assert (record.state, record.log) == (State.RETRYING, ("could not resolve",))
    assert "no network" in capsys.readouterr().err


def test_a_permanent_failure_ends_with_78(machine: FakeMachine):
    def stage(config, world):
        raise Permanent("a foreign disk")

    status = machine.status()
    assert run("disk", stage, machine.world, status) == 78
    assert status.summary().status == "failed"


def test_settings_that_can_not_be_read_are_a_permanent_failure(machine: FakeMachine):
    machine.paths.config.write_text("{")
    status = machine.status()
    assert run("disk", lambda config, world: "", machine.world, status) == 78
    record = status.read("disk")
    assert record is not None
    assert "machine.json is not JSON" in record.message


def test_an_error_that_no_stage_knows_is_tried_thrice_and_its_text_kept_back(
    machine: FakeMachine, capsys
):
    def stage(config, world):
        raise ValueError("sk-secret")

    status = machine.status()
    codes = [run("keys", stage, machine.world, status) for _ in range(MOST_UNFORESEEN)]
    assert codes == [75, 75, 78]
    record = status.read("keys")
    assert record is not None
    assert (record.state, record.unforeseen) == (State.FAILED, 3)
    assert record.log[-1] == "ValueError"
    assert "test_machine_status.py" in record.log[-2]
    captured = capsys.readouterr()
    told = machine.paths.console.read_text() + captured.out + captured.err
    assert "sk-secret" not in told


def test_unforeseen_errors_count_only_in_a_row(machine: FakeMachine):
    def broken(config, world):
        raise OSError(28, "No space left on device", "/opt/file")

    def offline(config, world):
        raise Temporary("no network")

    status = machine.status()
    for stage in (broken, broken, offline, broken, broken):
        assert run("tools", stage, machine.world, status) == 75
    record = status.read("tools")
    assert record is not None
    assert record.log[-1] == "OSError: No space left on device: /opt/file"


def test_a_name_that_is_no_stage_is_refused(capsys):
    assert main(["reboot"]) == 78
    assert "usage" in capsys.readouterr().err


def test_every_stage_before_the_servers_has_its_function():
    assert [name for name in STAGES if stage_named(name)] == list(STAGES[:8])


def test_a_unit_that_systemd_gave_up_fails_its_stage_with_the_end_of_its_journal(
    machine: FakeMachine,
):
    machine.run.answers = {
        "systemctl show": Result(0, "oom-kill\n"),
        "journalctl": Result(0, "loading\nKilled\n"),
    }
    status = machine.status()
    report.report("llm-endpoint-server-chat.service", "server", machine.world, status)
    record = status.read("server")
    assert record is not None
    assert record.state is State.FAILED
    assert "llm-endpoint-server-chat.service ran out of memory" in record.message
    assert record.log == ("loading", "Killed")


def test_a_unit_that_was_not_started_for_want_of_another_fails_no_stage(machine: FakeMachine):
    machine.run.answers = {"systemctl show": Result(0, "success\n")}
    status = machine.status()
    report.report("llm-endpoint-server-chat.service", "server", machine.world, status)
    assert status.read("server") is None


def test_a_stage_that_said_why_it_failed_is_not_overwritten(machine: FakeMachine):
    status = machine.status()
    status.report("model", State.FAILED, "the hub has no such file")
    report.report("llm-endpoint-model.service", "model", machine.world, status)
    record = status.read("model")
    assert record is not None
    assert record.message == "the hub has no such file"
    assert machine.run.commands == []


def test_records_of_the_gateway_are_told_to_the_console_once(machine: FakeMachine):
    status = machine.status()
    folder = machine.paths.run / "status"
    text = '{"stage": "%s", "state": "done", "message": "m", "time": "t", "boot": "b"}'
    machine.put(folder / "ready.json", text % "ready")
    machine.put(folder / "disk.json", text % "disk")
    for _ in range(2):
        tell_news(machine.paths, status)
    assert [line["stage"] for line in console(machine)] == ["ready"]
    machine.put(folder / "ready.json", (text % "ready").replace("done", "running"))
    tell_news(machine.paths, status)
    assert [line["state"] for line in console(machine)] == ["done", "running"]
    assert parse_record(text % "ready").state is State.DONE
