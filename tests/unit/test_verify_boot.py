"""A machine's boot as its console and its gateway tell it: stages, early failure, silence."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_endpoint import CHAT, MODELS, Exchange, FakeEndpoint, verified

from machine.status import State, Status
from scripts.verify import boot as boot_module
from scripts.verify.boot import Boot
from scripts.verify.boot_log import BootLog
from scripts.verify.console import ConsoleError, FileConsole, Machine, Piece
from scripts.verify.outcome import ExitStatus, Failure

KEY = "sk-0123456789abcdef"


def line(stage: str, state: str, message: str = "", boot: str = "aaaaaaaa", **more: object) -> str:
    record = {"stage": stage, "state": state, "message": message, "boot": boot, **more}
    return f"llm-endpoint: {json.dumps(record)}\r\n"


def stages(text: str, log: BootLog | None = None) -> dict[str, str]:
    log = log or BootLog()
    log.feed(text)
    return {name: record.state for name, record in log.stages.items()}


@dataclass
class FakeConsole:
    """A console that says the next of `pieces` each time it is read."""

    pieces: list[Piece | ConsoleError] = field(default_factory=list)
    status: str = "RUNNING"
    command: str = "show the console"
    reads: int = 0

    def machine(self) -> Machine:
        return Machine("vm-1", self.status, self.status == "TERMINATED")

    def read(self) -> Piece:
        self.reads += 1
        piece = self.pieces.pop(0) if self.pieces else Piece("")
        if isinstance(piece, ConsoleError):
            raise piece
        return piece


def watch(console: FakeConsole | FileConsole | None, lines: list[str] | None = None) -> Boot:
    ticks = iter(range(0, 10**6, 10))
    report = (lines if lines is not None else []).append
    return Boot(report, str, console, "cpu-vm", clock=lambda: float(next(ticks)))


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(key=KEY) as endpoint:
        yield endpoint


def test_records_are_found_anywhere_in_a_line_and_whatever_stands_around_them():
    noise = (
        "\x1b[0m[  OK  ] Started something.\r\n"
        f"[   12.345678] cloud-init[611]: {line('packages', 'done')}"
        "llm-endpoint: {not json}\r\nllm-endpoint: \r\n"
        'llm-endpoint: {"stage": "disk", "sta[   13.1] audit: something}\r\n'
        f"{line('tools', 'running').strip()}[   14.0] kernel says more\r\n"
        'llm-endpoint: {"stage": 7, "state": "done"}\r\n'
        'llm-endpoint: {"stage": "x", "state": "sleeping"}\r\n'
    )
    assert stages(noise) == {"packages": "done", "tools": "running"}


def test_a_record_that_comes_in_pieces_counts_once_its_line_has_ended():
    log = BootLog()
    whole = line("model", "running", "1.2 of 4.1 GB")
    assert stages(whole[:30], log) == {}
    assert stages(whole[30:-2], log) == {}
    assert stages("\r\n", log) == {"model": "running"}
    assert log.stages["model"].shown == "model: 1.2 of 4.1 GB"


def test_what_a_machine_writes_is_what_is_read(tmp_path: Path):
    console, boot_id = tmp_path / "console", tmp_path / "boot_id"
    console.touch()
    boot_id.write_text("0a1b2c3d-0000-4000-8000-000000000000\n")
    (tmp_path / "status").mkdir()
    status = Status(tmp_path, console, boot_id=boot_id, clock=lambda: 1795269600.5)
    status.report("model", State.RUNNING, 'résumé of "4.1 GB"\nand more')
    status.report("engine", State.FAILED, "pip ended with 1", ["one", "two"])
    log = BootLog(since=datetime(2026, 11, 21, 14, tzinfo=UTC))
    log.feed(console.read_text())
    assert log.stages["model"].shown == 'model: résumé of "4.1 GB" and more'
    assert log.stages["engine"].log == ("one", "two")
    assert log.stages["engine"].boot == "0a1b2c3d"
    assert log.stages["engine"].time == datetime(2026, 11, 21, 14, tzinfo=UTC)


def test_only_the_newest_boot_counts():
    text = line("model", "failed", boot="aaaaaaaa") + line("packages", "done", boot="bbbbbbbb")
    assert stages(text) == {"packages": "done"}


def test_a_kernel_that_starts_ends_the_boot_before_it():
    text = line("model", "failed") + "[    0.000000] Linux version 6.1.0-28-cloud-amd64\r\n"
    assert stages(text) == {}


def test_what_was_said_before_the_machine_was_started_is_an_earlier_boots():
    log = BootLog(since=datetime(2026, 11, 21, 14, tzinfo=UTC))
    old = line("model", "failed", time="2026-11-21T13:59:59Z")
    new = line("disk", "done", time="2026-11-21T14:00:09Z")
    assert stages(old + new + line("tools", "done", time="soon"), log) == {
        "disk": "done",
        "tools": "done",
    }


def test_each_change_of_a_stage_is_shown_once():
    lines: list[str] = []
    console = FakeConsole(
        [
            Piece(line("packages", "done") + line("model", "running", "0.1 of 4.1 GB")),
            Piece(line("model", "running", "0.1 of 4.1 GB")),
            Piece(
                line("model", "running", "1.2 of 4.1 GB") + line("caddy", "retrying", "no route")
            ),
        ]
    )
    boot = watch(console, lines)
    for _ in range(5):
        assert boot.failure() is None
    assert lines == [
        "packages: done",
        "model: 0.1 of 4.1 GB",
        "model: 1.2 of 4.1 GB",
        "caddy: retrying, no route",
    ]
    assert boot.where() == (
        "the machine's boot is at model: 1.2 of 4.1 GB; caddy: retrying, no route"
    )


def test_a_console_is_read_every_few_seconds_and_no_oftener():
    console = FakeConsole()
    now = 100.0
    boot = Boot(str, str, console, clock=lambda: now)
    for _ in range(20):
        boot.failure()
        now += 0.5
    assert console.reads == 4
    assert boot_module.POLL_SECONDS >= 2


def test_a_slow_console_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boot_module, "PATIENCE_SECONDS", 0.01)
    let_go = threading.Event()

    class Slow(FakeConsole):
        def read(self) -> Piece:
            let_go.wait(30)
            return super().read()

    console = Slow([Piece(line("disk", "failed", "late"))])
    boot = watch(console)
    assert [boot.failure() for _ in range(5)] == [None] * 5
    let_go.set()
    failures = (boot.failure() for _ in iter(lambda: time.sleep(0.01), 0))
    found = next(filter(None, itertools.islice(failures, 500)))
    assert found.seen == "the stage disk failed: late"
    assert console.reads == 1


def test_a_stage_that_failed_ends_the_wait_at_once_with_its_log(endpoint, tmp_path: Path):
    endpoint.on("GET", "/health", lambda e: e.error(503, "starting"))
    console = tmp_path / "console"
    log = ["pip: no matching distribution", f"the key is {KEY}"]
    console.write_text(
        "".join(f"noise {n}\n" for n in range(50))
        + line("packages", "done")
        + line("engine", "failed", "pip ended with status 1", log=log)
    )
    result = verified(endpoint, wait_seconds=600, boot=f"file:{console}", stack="cpu-vm")
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert result.failed.name == "ready"
    assert result.failed.seen == "the stage engine failed: pip ended with status 1"
    assert "scripts/up cpu-vm" in (result.failed.next_step or "")
    assert f"cat {console}" in (result.failed.next_step or "")
    assert result.failed.log_tail == ("pip: no matching distribution", "the key is [key]")
    assert "packages: done" in result.stderr
    assert result.receipt.boot == f"file:{console}"


def test_a_failure_without_a_log_shows_the_end_of_the_console():
    console = FakeConsole([Piece("one\r\n\r\ntwo\r\n" + line("disk", "failed"))])
    failure = watch(console).failure()
    assert failure is not None
    assert failure.seen == "the stage disk failed: without a message"
    assert failure.log_tail[:2] == ("one", "two")
    assert "show the console" in failure.next_step


def test_a_stage_that_tries_again_is_waited_for():
    boot = watch(FakeConsole([Piece(line("keys", "retrying", "HTTP 403"))]))
    assert boot.failure() is None
    assert "keys: retrying, HTTP 403" in boot.where()


def test_a_machine_that_was_stopped_ends_the_wait_at_once():
    console = FakeConsole([Piece("the last words\r\n")], status="TERMINATED")
    failure = watch(console).failure()
    assert failure is not None
    assert failure.never_ready
    assert failure.seen.startswith("it is TERMINATED: preempted, or stopped")
    assert failure.next_step == "scripts/up cpu-vm starts it again"
    assert failure.log_tail == ("the last words",)


def test_a_machine_that_does_not_run_yet_is_shown_and_waited_for():
    lines: list[str] = []
    boot = watch(FakeConsole(status="STAGING"), lines)
    assert boot.failure() is None
    assert boot.failure() is None
    assert lines == ["the machine vm-1 is STAGING"]


def test_another_machine_under_the_same_name_begins_anew():
    console = FakeConsole(
        [Piece(line("model", "running")), Piece(line("disk", "running"), afresh=True)]
    )
    boot = watch(console)
    boot.failure()
    boot.failure()
    assert boot.where() == "the machine's boot is at disk: running"


def test_a_console_that_may_not_be_read_is_said_once_and_fails_nothing():
    lines: list[str] = []
    console = FakeConsole([ConsoleError("HTTP 403: denied", passing=False)])
    boot = watch(console, lines)
    assert [boot.failure() for _ in range(3)] == [None] * 3
    assert lines == ["the console can't be read, so stages may not show: HTTP 403: denied"]
    assert console.reads == 1
    assert boot.where() == ""


def test_a_console_that_can_t_be_read_for_a_while_is_asked_again():
    lines: list[str] = []
    hiccup = ConsoleError("HTTP 503: busy", passing=True)
    boot = watch(FakeConsole([hiccup, hiccup, Piece(line("disk", "running"))]), lines)
    for _ in range(3):
        assert boot.failure() is None
    assert lines == [
        "the console can't be read, so stages may not show: HTTP 503: busy",
        "disk: running",
    ]


def test_a_wait_that_runs_out_names_the_stage_and_the_end_of_the_console(endpoint, tmp_path: Path):
    endpoint.on("GET", "/health", lambda e: e.error(502, "Bad gateway"))
    console = tmp_path / "console"
    console.write_text(line("model", "running", "1.2 of 4.1 GB") + "last words\n")
    result = verified(endpoint, wait_seconds=0, boot=f"file:{console}")
    assert result.failed.name == "ready"
    seen = result.failed.seen or ""
    assert seen.startswith("/health answers HTTP 502")
    assert seen.endswith("; the machine's boot is at model: 1.2 of 4.1 GB")
    assert result.failed.log_tail[-1] == "last words"


def test_the_stage_of_the_whole_does_not_repeat_the_one_it_waits_for():
    lines: list[str] = []
    text = line("model", "running", "1.2 of 4.1 GB") + line("ready", "running", "stage model: 1.2")
    boot = watch(FakeConsole([Piece(text)]), lines)
    boot.failure()
    assert lines == ["model: 1.2 of 4.1 GB"]
    assert boot.where() == "the machine's boot is at model: 1.2 of 4.1 GB"


def test_a_boot_is_through_once_server_and_gateway_are():
    boot = watch(
        FakeConsole(
            [
                Piece(line("server", "done") + line("ready", "running")),
                Piece(line("gateway", "done")),
                Piece(line("ready", "done")),
            ]
        )
    )
    seen: list[bool] = []
    for _ in range(3):
        boot.failure()
        seen.append(boot.is_through)
    assert seen == [False, False, True]


def test_a_silent_console_and_a_finished_boot_are_said_to_be_that():
    boot = watch(FakeConsole([Piece("noise\n"), Piece(line("gateway", "done"))]))
    boot.failure()
    assert boot.where() == "the machine's boot has said nothing yet"
    boot.failure()
    assert boot.where() == "the machine's boot is through, with gateway last"


def test_the_gateway_tells_the_stage_where_no_console_does(endpoint):
    def starting(exchange: Exchange) -> None:
        body = {"status": "starting", "stage": "model", "message": "1.2 of 4.1 GB"}
        exchange.json(503, body)

    endpoint.on("GET", "/health", starting, starting, starting, endpoint.behave)
    result = verified(endpoint)
    assert result.verdict.exit_status == ExitStatus.PASSED
    assert result.stderr.count("model: 1.2 of 4.1 GB\n") == 1


def test_a_gateway_that_says_failed_ends_the_wait_with_the_console_s_log(endpoint, tmp_path: Path):
    body = {"status": "failed", "stage": "server", "message": f"out of memory {KEY}"}
    endpoint.on("GET", "/health", lambda e: e.json(503, body))
    result = verified(endpoint, wait_seconds=600)
    assert result.failed.seen == "the stage server failed: out of memory [key]"
    assert result.verdict.exit_status == ExitStatus.NEVER_READY


def test_another_servers_health_page_is_no_stage():
    boot = watch(None)
    for body in (None, [], {"status": "ok"}, {"status": "starting"}, {"status": "no slot"}):
        assert boot.hear(body) is None
    assert boot.where() == ""


def test_what_the_gateway_failed_at_takes_its_log_from_the_console():
    console = FakeConsole([Piece(line("server", "failed", "died", log=["GGML_ASSERT"]))])
    boot = watch(console)
    boot.failure()
    with pytest.raises(Failure) as caught:
        boot.hear({"status": "failed", "stage": "server", "message": "died"})
    assert caught.value.log_tail == ("GGML_ASSERT",)


def test_a_server_that_dies_of_a_chat_takes_the_stage_s_log(endpoint, tmp_path: Path):
    console = tmp_path / "console"

    def die(exchange: Exchange) -> None:
        console.write_text(line("server", "failed", "killed", log=["out of memory"]))
        exchange.error(502, "no upstream")

    endpoint.on("POST", CHAT, endpoint.behave, endpoint.behave, die)
    result = verified(endpoint, boot=f"file:{console}")
    assert result.failed.name == "chat"
    assert result.failed.seen is not None
    assert result.failed.seen.startswith("the stage server failed: killed, and before that: ")
    assert result.failed.log_tail == ("out of memory",)


def test_a_file_is_read_as_it_grows_and_anew_when_it_is_another(tmp_path: Path):
    file = tmp_path / "console"
    console = FileConsole(file)
    with pytest.raises(ConsoleError, match="No such file"):
        console.read()
    file.write_text("one\n")
    assert console.read() == Piece("one\n")
    with file.open("a") as more:
        more.write("two\n")
    assert console.read() == Piece("two\n")
    file.write_text("3\n")
    assert console.read() == Piece("3\n", afresh=True)
    assert console.machine() is None


def test_a_long_file_is_read_from_its_end(tmp_path: Path):
    file = tmp_path / "console"
    with file.open("wb") as sparse:
        sparse.seek(5 * 2**20)
        sparse.write(b"the end\n")
    assert len(FileConsole(file).read().text) == 2**20


def test_a_key_that_the_machine_does_not_know_yet_is_waited_for(endpoint):
    def not_yet(exchange: Exchange) -> None:
        exchange.error(401, "Invalid API Key")

    endpoint.on("GET", MODELS, not_yet, not_yet, endpoint.behave)
    result = verified(endpoint, key_seconds=30)
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr
    assert len(endpoint.asked("GET", MODELS)) == 4


def test_a_key_that_stays_unknown_fails_when_its_time_is_up(endpoint):
    endpoint.on("GET", MODELS, lambda e: e.error(401, "Invalid API Key"))
    result = verified(endpoint, key_seconds=0.2)
    assert result.failed.name == "ready"
    assert result.failed.expected == "the key to be accepted within 0.2 s"
    assert "HTTP 401: Invalid API Key" in (result.failed.seen or "")
    assert "each minute" in (result.failed.next_step or "")


def test_a_key_is_not_waited_for_unless_that_is_asked(endpoint):
    endpoint.on("GET", MODELS, lambda e: e.error(401, "Invalid API Key"))
    assert verified(endpoint).failed.name == "lists_model"
