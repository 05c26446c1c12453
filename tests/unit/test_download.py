"""One download: resumed, checked, and clear about what went wrong."""

import errno
import os
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Fault, gguf_bytes, sha256

from scripts.models import download as downloading
from scripts.models import transport
from scripts.models.download import Downloaded, Wanted, download
from scripts.models.ensure import _refusal
from scripts.models.progress import Progress
from scripts.models.transport import Client, ModelError, Patience

CONTENT = gguf_bytes(1)
WHOLE = Downloaded(sha256(CONTENT), len(CONTENT))
HALF = 300_000
QUERY = "?signature=a-secret"

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    made = FakeHub()
    made.plain["m.gguf"] = CONTENT
    yield made
    made.close()


@dataclass
class Job:
    """A download with its own folder, that pauses nowhere."""

    hub: FakeHub
    folder: Path
    read_seconds: float = 10.0
    reports: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    @property
    def partial(self) -> Path:
        return self.folder / "m.gguf.partial"

    def run(self, **changes: Any) -> Downloaded:
        wanted = Wanted(
            **{
                "name": "m.gguf",
                "url": f"{self.hub.url}/plain/m.gguf{QUERY}",
                "sha256": WHOLE.sha256,
                "size_bytes": None,
                "vouched_by": "the reference says",
                "mismatch_step": "correct it",
                "refuse": _refusal,
                **changes,
            }
        )
        patience = Patience(read_seconds=self.read_seconds, retries=3, sleep=self.pauses.append)
        with Client(patience, self.reports.append) as client:
            return download(wanted, self.partial, client)

    def fails(self, **changes: Any) -> str:
        with pytest.raises(ModelError) as caught:
            self.run(**changes)
        message = str(caught.value)
        assert "a-secret" not in message + "".join(self.reports)
        assert "\nnext: " in message
        return message

    def ranges(self) -> list[str | None]:
        return [seen.headers.get("Range") for seen in self.hub.fetches("/plain/")]


@pytest.fixture
def job(hub: FakeHub, tmp_path: Path) -> Job:
    folder = tmp_path / "Zwischenspeicher für Modelle"
    folder.mkdir()
    return Job(hub, folder)


def test_a_file_comes_whole(job: Job):
    assert job.run() == WHOLE
    assert job.partial.read_bytes() == CONTENT
    assert job.pauses == []


def test_a_truncated_download_is_resumed(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=HALF)]
    assert job.run() == WHOLE
    assert job.partial.read_bytes() == CONTENT
    assert job.ranges() == [None, f"bytes={HALF}-"]
    assert job.pauses == [1.0]


def test_a_download_that_is_always_cut_off_ends_with_what_came_kept(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=1000) for _ in range(4)]
    message = job.fails()
    assert "m.gguf broke off in the middle (tried 4 times)" in message
    assert job.pauses == [1.0, 2.0, 4.0]
    assert job.partial.stat().st_size == 4000
    assert job.run() == WHOLE
    assert job.ranges()[-1] == "bytes=4000-"


def test_tries_that_bring_much_are_not_counted_against_a_long_download(
    job: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downloading, "_PROGRESS_BYTES", 50_000)
    job.hub.faults = [Fault("m.gguf", cut=100_000) for _ in range(6)]
    assert job.run() == WHOLE
    assert job.pauses == [1.0] * 6


def test_a_length_shorter_than_the_file_is_not_taken_for_the_whole(job: Job):
    job.hub.plain["m.gguf"] = CONTENT[:-1]
    message = job.fails(size_bytes=len(CONTENT))
    assert f"offers {len(CONTENT) - 1} bytes, where the file has {len(CONTENT)}" in message


def test_a_file_of_no_stated_length_and_digest_is_refused(job: Job):
    job.hub.faults = [Fault("m.gguf", without_length=True, cut=HALF)]
    assert "add #sha256=HEX" in job.fails(sha256=None)


def test_a_file_of_no_stated_length_is_held_to_its_digest(job: Job):
    job.hub.faults = [Fault("m.gguf", without_length=True)]
    assert job.run() == WHOLE


def test_a_body_without_a_length_that_ends_early_is_resumed(job: Job):
    job.hub.faults = [Fault("m.gguf", without_length=True, cut=HALF)]
    assert job.run(size_bytes=len(CONTENT)) == WHOLE
    assert job.ranges() == [None, f"bytes={HALF}-"]
    assert f"ended the file after {HALF} of {len(CONTENT)} bytes" in job.reports[0]


def test_a_server_that_ignores_ranges_is_read_from_the_start(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=HALF), Fault("m.gguf", ignore_range=True)]
    assert job.run() == WHOLE
    assert job.partial.read_bytes() == CONTENT
    assert any("starting over" in line for line in job.reports)


def test_a_file_changed_on_the_server_is_not_glued_to_the_old_beginning(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=1000) for _ in range(4)]
    job.fails(sha256=None)
    other = job.hub.plain["m.gguf"] = gguf_bytes(2)
    assert job.run(sha256=None) == Downloaded(sha256(other), len(other))
    assert job.partial.read_bytes() == other
    assert "If-Range" in job.hub.seen[-1].headers


def test_without_validator_or_digest_nothing_is_resumed(job: Job):
    job.hub.etags = False
    job.hub.faults = [Fault("m.gguf", cut=HALF)]
    assert job.run(sha256=None) == WHOLE
    assert job.ranges() == [None, None]


def test_a_partial_file_of_another_content_is_thrown_away(job: Job):
    job.partial.write_bytes(b"GGUF of something else")
    assert job.run() == WHOLE
    assert job.ranges() == [None]


def test_a_partial_file_longer_than_the_whole_is_thrown_away(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=1000) for _ in range(4)]
    job.fails(size_bytes=len(CONTENT))
    job.partial.write_bytes(CONTENT + b"more")
    assert job.run(size_bytes=len(CONTENT)) == WHOLE


def test_a_range_past_the_end_starts_over(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=HALF), Fault("m.gguf", status=416)]
    assert job.run() == WHOLE
    assert job.ranges() == [None, f"bytes={HALF}-", None]


def test_a_whole_partial_file_is_only_checked(job: Job):
    job.run()
    assert job.run(size_bytes=len(CONTENT)) == WHOLE
    assert len(job.ranges()) == 1


def test_a_corrupted_download_is_pulled_again(job: Job):
    job.hub.faults = [Fault("m.gguf", damage=True)]
    assert job.run() == WHOLE
    assert any("came damaged" in line for line in job.reports)


def test_a_damaged_beginning_is_found_out_and_pulled_again(job: Job):
    job.hub.faults = [Fault("m.gguf", cut=1000) for _ in range(4)]
    job.fails()
    job.partial.write_bytes(CONTENT[:3999] + b"?")
    assert job.run() == WHOLE
    assert job.ranges()[-2:] == ["bytes=4000-", None]


def test_a_download_that_stays_corrupted_names_both_digests(job: Job):
    job.hub.faults = [Fault("m.gguf", damage=True) for _ in range(2)]
    message = job.fails()
    damaged = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    assert sha256(damaged) in message
    assert f"the reference says {WHOLE.sha256}" in message
    assert job.partial.stat().st_size == 0


def test_a_disk_with_too_little_room_is_refused_before_anything_is_written(
    job: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: Usage(1, 0, 720_000))
    message = job.fails()
    assert f"{job.folder} has 720 kB free, and the model needs 735 kB there, 15 kB more" in message
    assert job.partial.stat().st_size == 0


def test_a_disk_that_fills_up_gives_one_message_and_keeps_what_came(
    job: Job, monkeypatch: pytest.MonkeyPatch
):
    def append(descriptor: int, data: memoryview) -> int:
        room = HALF - os.fstat(descriptor).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data[:room])

    with monkeypatch.context() as full:
        full.setattr(downloading, "_append", append)
        message = job.fails()
    assert "the disk filled up while a model of 700 kB was written to" in message
    assert str(job.folder) in message
    assert job.partial.stat().st_size == HALF
    assert job.run() == WHOLE
    assert job.ranges()[-1] == f"bytes={HALF}-"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("m.gguf", 200, body=b"<!DOCTYPE html>Sign in"), "an HTML page, such as a login"),
        (Fault("m.gguf", 200, body=b"version https://git-lfs.git"), "Git LFS pointer"),
        (Fault("m.gguf", 200, body=b'{"error": 1}'), "JSON"),
        (Fault("m.gguf", 200, body=b"\x08\0\0\0\0\0\0\0{}"), "safetensors"),
        (Fault("m.gguf", 200), "it is empty"),
        (Fault("m.gguf", 200, body=b"GG"), "begins with b'GG'"),
    ],
)
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_what_is_not_gguf_is_named_and_dropped(job: Job, fault: Fault, told: str, size: int | None):
    fault.headers["Content-Type"] = "text/html; charset=utf-8"
    job.hub.faults = [fault]
    message = job.fails(size_bytes=size)
    assert told in message
    assert "(text/html)" in message
    assert job.partial.stat().st_size == 0
    assert job.pauses == []


def test_compressed_content_is_refused(job: Job):
    job.hub.faults = [Fault("m.gguf", headers={"Content-Encoding": "gzip"})]
    assert "compressed" in job.fails()


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "wants a login"), (403, "refuses it"), (404, "no such file"), (410, "gone")],
)
def test_a_refusal_is_final_and_says_why(job: Job, status: int, told: str):
    job.hub.faults = [Fault("m.gguf", status)]
    message = job.fails()
    assert f"{job.hub.url}/plain/m.gguf answered {status}" in message
    assert told in message
    assert job.pauses == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_refusal_is_tried_again(job: Job, status: int):
    job.hub.faults = [Fault("m.gguf", status) for _ in range(3)]
    assert job.run() == WHOLE
    assert job.pauses == [1.0, 2.0, 4.0]
    assert "trying again in 4 s (3 of 3)" in job.reports[2]


@pytest.mark.parametrize(("status", "told"), [(429, "HF_TOKEN"), (500, "again later")])
def test_a_refusal_that_does_not_pass_ends_with_its_status(job: Job, status: int, told: str):
    job.hub.faults = [Fault("m.gguf", status) for _ in range(4)]
    message = job.fails()
    assert f"m.gguf answered {status}" in message
    assert "(tried 4 times)" in message
    assert told in message


def test_the_wait_that_a_server_asks_for_is_kept(job: Job):
    job.hub.faults = [
        Fault("m.gguf", 429, {"Retry-After": "17"}),
        Fault("m.gguf", 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault("m.gguf", 429, {"Retry-After": "soon"}),
    ]
    assert job.run() == WHOLE
    assert job.pauses == [17.0, 2.0, 4.0]


def test_a_server_that_asks_for_a_long_wait_is_not_waited_for(job: Job):
    job.hub.faults = [Fault("m.gguf", 429, {"Retry-After": "3600"})]
    assert "asks to wait 3600 s" in job.fails()
    assert job.pauses == []


def test_a_stalled_download_is_resumed(job: Job):
    job.read_seconds = 0.2
    job.hub.faults = [Fault("m.gguf", hang=HALF)]
    assert job.run() == WHOLE
    assert job.ranges()[-1] == f"bytes={HALF}-"
    assert "sent nothing for 0.2 s" in job.reports[0]


def test_a_server_that_hangs_ends_in_one_message(job: Job):
    job.read_seconds = 0.1
    job.hub.faults = [Fault("m.gguf", hang=0) for _ in range(4)]
    assert "m.gguf sent nothing for 0.1 s (tried 4 times)" in job.fails()


def test_a_server_that_trickles_counts_as_stalled(job: Job, monkeypatch: pytest.MonkeyPatch):
    ticks = iter(range(0, 10_000, 3))
    monkeypatch.setattr(transport.time, "monotonic", lambda: float(next(ticks)))

    class Trickle:
        url = job.hub.url

        class raw:
            read1 = staticmethod(lambda *_, **__: b"x")

    client = Client(Patience(read_seconds=30.0), job.reports.append)
    with pytest.raises(transport.Passing, match="sent only 11 bytes in 33 s"):
        list(client.chunks(Trickle()))  # pyright: ignore


def test_a_server_that_is_not_there_is_named(job: Job):
    job.hub.close()
    message = job.fails()
    assert "m.gguf can't be reached: connection refused (tried 4 times)" in message
    assert "HTTPS_PROXY" in message


def test_a_name_that_does_not_resolve_is_named(job: Job):
    message = job.fails(url="http://no-such-host.invalid/m.gguf?signature=a-secret")
    assert "no-such-host.invalid/m.gguf can't be reached: its name does not resolve" in message


def test_a_proxy_that_fails_is_named(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", job.hub.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert "the proxy in HTTPS_PROXY" in job.fails(url="https://example.invalid/m.gguf")


def test_endless_redirects_are_refused(job: Job):
    place = {"Location": "/plain/m.gguf?again&signature=a-secret"}
    job.hub.faults = [Fault("m.gguf", 302, place) for _ in range(12)]
    assert "redirects more than 10 times" in job.fails()


@pytest.mark.parametrize(
    ("place", "target", "followed"),
    [
        ("https://a.example/m", "https://b.example/m", True),
        ("https://a.example/m", "/other", True),
        ("https://a.example/m", "http://a.example/m", False),
        ("https://a.example/m", "http://127.0.0.1/m", True),
        ("http://127.0.0.1/m", "http://127.0.0.1/n", True),
        ("https://a.example/m", "file:///etc/passwd", False),
    ],
)
def test_no_redirect_leads_away_from_https(place: str, target: str, followed: bool):
    if followed:
        assert transport._redirected(place, target)
    else:
        with pytest.raises(ModelError, match="not https"):
            transport._redirected(place, target)


def test_progress_is_said_at_most_once_a_second():
    lines: list[str] = []
    now = 0.0
    progress = Progress("pulling", "q.gguf", 491_000_000, lines.append, clock=lambda: now)
    for _ in range(45):
        now += 0.25
        progress.add(2_750_000)
    assert len(lines) == 11
    assert lines[-1] == "pulling q.gguf: 121 of 491 MB, 25 %, 11 MB/s, 34 s left"


def test_progress_of_an_unknown_length_has_no_share():
    lines: list[str] = []
    clock = iter([0.0, 2.0])
    progress = Progress("pulling", "n" * 60, None, lines.append, clock=lambda: next(clock))
    progress.add(4_000)
    assert lines == [f"pulling {'n' * 23}…{'n' * 23}: 4.0 kB, 2.0 kB/s"]
