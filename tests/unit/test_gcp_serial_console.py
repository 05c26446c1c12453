"""A VM's serial console, piece by piece, and whether the VM runs."""

import json
from collections.abc import Iterator

import pytest
from fake_endpoint import FakeEndpoint, verified
from fake_google_apis import TOKEN, Asked, FakeApis, refusal

from scripts.gcp.serial_console import Instance, SerialConsole
from scripts.verify.console import ConsoleError, Piece
from scripts.verify.outcome import ExitStatus

VM = "compute/v1/projects/p/zones/z-a/instances/vm-1"


class Console:
    """A VM of the fake cloud: its text, as Google serves it with `start` and `next`."""

    def __init__(self, google: FakeApis) -> None:
        self.text = ""
        self.instance: dict[str, object] = {"id": "7", "status": "RUNNING"}
        google.on(VM, lambda _: (200, self.instance))
        google.on(f"{VM}/serialPort", self._serve)

    def _serve(self, asked: Asked) -> tuple[int, object]:
        assert asked.query["port"] == ["1"]
        start = min(int(asked.query["start"][0]), len(self.text))
        content = {"contents": self.text[start:], "next": str(len(self.text)), "start": str(start)}
        return 200, content


@pytest.fixture
def google() -> Iterator[FakeApis]:
    with FakeApis() as google:
        yield google


def console(google: FakeApis) -> SerialConsole:
    return SerialConsole(Instance("p", "z-a", "vm-1"), google.environment)


def test_a_console_is_read_from_where_it_was_left(google: FakeApis):
    cloud, seen = Console(google), console(google)
    cloud.text = "one\n"
    assert seen.read() == Piece("one\n")
    assert seen.read() == Piece("")
    cloud.text += "two\n"
    assert seen.read() == Piece("two\n")
    assert [asked.query["start"] for asked in google.asked] == [["0"], ["4"], ["4"]]


def test_a_console_that_begins_anew_is_read_from_its_start(google: FakeApis):
    cloud, seen = Console(google), console(google)
    cloud.text = "a long text of the boot before\n"
    seen.read()
    cloud.text = "new\n"
    assert seen.read() == Piece("new\n", afresh=True)
    assert seen.read() == Piece("")


def test_another_machine_of_the_same_name_begins_anew(google: FakeApis):
    cloud, seen = Console(google), console(google)
    cloud.text = "old\n"
    seen.machine()
    seen.read()
    cloud.instance["id"], cloud.text = "8", "new and longer\n"
    seen.machine()
    assert seen.read() == Piece("new and longer\n", afresh=True)


@pytest.mark.parametrize(
    ("status", "stopped"),
    [("RUNNING", False), ("STAGING", False), ("STOPPING", False), ("TERMINATED", True)],
)
def test_a_machine_counts_as_stopped_once_nobody_starts_it(
    google: FakeApis, status: str, stopped: bool
):
    cloud = Console(google)
    cloud.instance |= {"status": status, "lastStartTimestamp": "2026-11-21T06:00:00.123-08:00"}
    machine = console(google).machine()
    assert (machine.name, machine.status, machine.is_stopped) == ("vm-1", status, stopped)
    assert machine.started is not None
    assert machine.started.isoformat() == "2026-11-21T06:00:00.123000-08:00"


def test_a_machine_of_a_group_is_started_again_by_it(google: FakeApis):
    cloud = Console(google)
    group = {"key": "created-by", "value": "projects/1/zones/z-a/instanceGroupManagers/g"}
    cloud.instance |= {"status": "TERMINATED", "metadata": {"items": [group]}}
    assert not console(google).machine().is_stopped


def test_a_console_that_may_not_be_read_names_the_permission(google: FakeApis):
    google.on(VM, refusal(403, "Required 'compute.instances.get' permission"))
    with pytest.raises(ConsoleError, match=r"HTTP 403.*roles/compute.viewer") as caught:
        console(google).machine()
    assert not caught.value.passing


def test_a_machine_that_is_not_there_may_come(google: FakeApis):
    with pytest.raises(ConsoleError, match="HTTP 404") as caught:
        console(google).machine()
    assert caught.value.passing


def test_no_credentials_are_no_console(google: FakeApis):
    environment = {"LLM_ENDPOINT_GOOGLE_API": google.url, "GOOGLE_CREDENTIALS": "/none"}
    with pytest.raises(ConsoleError, match="gcloud auth application-default login") as caught:
        SerialConsole(Instance("p", "z-a", "vm-1"), environment).read()
    assert not caught.value.passing


def test_the_command_shows_all_of_it(google: FakeApis):
    assert console(google).command == (
        "gcloud compute instances get-serial-port-output vm-1 --zone z-a --project p"
    )


def test_a_verification_ends_at_once_when_the_machine_s_boot_has_failed(
    google: FakeApis, monkeypatch: pytest.MonkeyPatch
):
    for name, value in google.environment.items():
        monkeypatch.setenv(name, value)
    cloud = Console(google)
    record = {"stage": "disk", "state": "failed", "message": "no disk", "boot": "b", "log": ["l"]}
    cloud.text = f"[    1.0] kernel\r\nllm-endpoint: {json.dumps(record)}\r\n"
    result = verified("http://127.0.0.1:9", wait_seconds=600, boot="gcp:p/z-a/vm-1", stack="cpu-vm")
    assert result.verdict.exit_status == ExitStatus.NEVER_READY
    assert result.failed.seen == "the stage disk failed: no disk"
    assert "get-serial-port-output vm-1" in (result.failed.next_step or "")
    assert TOKEN not in result.stderr + result.receipt.dumps()


def test_a_console_nobody_may_read_does_not_keep_an_endpoint_from_passing(
    google: FakeApis, monkeypatch: pytest.MonkeyPatch
):
    for name, value in google.environment.items():
        monkeypatch.setenv(name, value)
    google.on(VM, refusal(403, "denied"))
    with FakeEndpoint(key="sk-0123456789abcdef") as endpoint:
        endpoint.on("GET", "/health", lambda e: e.error(503, "starting"), endpoint.behave)
        result = verified(endpoint, boot="gcp:p/z-a/vm-1")
    assert result.verdict.exit_status == ExitStatus.PASSED, result.stderr
