"""The published CLI: what is fetched is what was listed, pinned and locked, or it is refused."""

import hashlib
import io
import os
import socket
import tarfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_releases import FakeReleases, archive_of, fake_releases

from scripts.bootstrap import pins, published
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.downloads import Unreachable, fetch_file, fetch_text
from scripts.bootstrap.places import release_platform
from scripts.bootstrap.published import Releases, parse_checksums

CHECKOUT = Path(__file__).resolve().parents[2]
ARCHIVE = f"pulumi-v3.300.0-{release_platform()}.tar.gz"
CHECKSUMS = "pulumi-3.300.0-checksums.txt"
PROGRAMS = {
    "pulumi": "#!/bin/sh\necho v3.300.0\n",
    "pulumi-language-python": "#!/bin/sh\n",
}


@pytest.fixture
def server() -> Iterator[FakeReleases]:
    with fake_releases() as releases:
        yield releases


def pin(*sources: str, sha256: dict[str, str] | None = None) -> pins.ReleasePin:
    archive = "pulumi-v3.300.0-{platform}.tar.gz"
    return pins.ReleasePin("3.300.0", sources, CHECKSUMS, archive, sha256 or {})


def closed_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}/"


def test_the_published_cli_is_put_into_the_cache_whole(server: FakeReleases, tmp_path: Path):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    folder = published.install(Releases(pin(server.url), tmp_path / "cäche"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(PROGRAMS)
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())
    assert list((tmp_path / "cäche" / "downloads").iterdir()) == []


def test_what_is_in_the_cache_is_not_fetched_again(server: FakeReleases, tmp_path: Path):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    published.install(Releases(pin(server.url), tmp_path))
    published.install(Releases(pin(server.url), tmp_path))
    assert [name for name, _ in server.requests].count(ARCHIVE) == 1


def test_only_programs_in_the_release_s_own_folder_are_extracted(
    server: FakeReleases, tmp_path: Path
):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("pulumi/pulumi", "pulumi/../../evil", "/tmp/evil", "other/evil"):
            member = tarfile.TarInfo(name)
            archive.addfile(member, io.BytesIO())
        link = tarfile.TarInfo("pulumi/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    server.publish(ARCHIVE, packed.getvalue(), CHECKSUMS)
    folder = published.install(Releases(pin(server.url), tmp_path))
    assert [path.name for path in folder.iterdir()] == ["pulumi"]
    assert not list(tmp_path.rglob("evil"))


def test_another_sha256_than_the_listed_one_is_refused(server: FakeReleases, tmp_path: Path):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS, listed="0" * 64)
    releases = Releases(pin(server.url), tmp_path)
    with pytest.raises(BootstrapError, match="its publisher lists 0000") as refused:
        published.install(releases)
    assert refused.value.next_step
    assert not published.folder(releases.pin, tmp_path).exists()
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_list_that_differs_from_pins_toml_is_refused(server: FakeReleases, tmp_path: Path):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    pinned = pin(server.url, sha256={release_platform(): "1" * 64})
    with pytest.raises(BootstrapError, match=r"pins\.toml has 1111"):
        published.install(Releases(pinned, tmp_path))
    assert ARCHIVE not in [name for name, _ in server.requests]


def test_what_changes_after_it_was_locked_is_refused(server: FakeReleases, tmp_path: Path):
    pins.hold(tmp_path / pins.LOCK_NAME, ARCHIVE, "2" * 64)
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    with pytest.raises(BootstrapError, match=r"pins\.lock\.toml has 2222"):
        published.install(Releases(pin(server.url), tmp_path))


def test_what_was_listed_first_is_locked(server: FakeReleases, tmp_path: Path):
    content = archive_of(PROGRAMS)
    server.publish(ARCHIVE, content, CHECKSUMS)
    published.install(Releases(pin(server.url), tmp_path))
    with (tmp_path / pins.LOCK_NAME).open("rb") as lock:
        assert tomllib.load(lock) == {"sha256": {ARCHIVE: hashlib.sha256(content).hexdigest()}}


def test_a_lock_keeps_what_it_knew(tmp_path: Path):
    lock = tmp_path / pins.LOCK_NAME
    pins.hold(lock, "a", "1" * 64)
    pins.hold(lock, "b", "2" * 64)
    pins.hold(lock, "a", "1" * 64)
    assert pins.locked(lock) == {"a": "1" * 64, "b": "2" * 64}


def test_a_truncated_download_is_resumed(server: FakeReleases, tmp_path: Path):
    content = os.urandom(50_000)
    server.files["file"] = content
    server.cut_after["file"] = 20_000
    digest = fetch_file(f"{server.url}file", tmp_path / "file")
    assert digest == hashlib.sha256(content).hexdigest()
    assert server.requests == [("file", 0), ("file", 20_000)]


def test_a_download_that_an_earlier_run_left_is_resumed(server: FakeReleases, tmp_path: Path):
    content = os.urandom(1000)
    server.files["file"] = content
    (tmp_path / "file").write_bytes(content[:400])
    assert fetch_file(f"{server.url}file", tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert server.requests == [("file", 400)]


def test_a_remnant_longer_than_the_file_is_fetched_anew(server: FakeReleases, tmp_path: Path):
    server.files["file"] = b"short"
    (tmp_path / "file").write_bytes(b"much longer than that")
    assert (
        fetch_file(f"{server.url}file", tmp_path / "file") == hashlib.sha256(b"short").hexdigest()
    )


def test_a_refused_download_is_not_tried_again(server: FakeReleases, tmp_path: Path):
    server.statuses["file"] = 403
    with pytest.raises(Unreachable, match="answers 403"):
        fetch_file(f"{server.url}file", tmp_path / "file")


def test_the_second_source_is_asked_where_the_first_is_not_there(
    server: FakeReleases, tmp_path: Path
):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    source, listed = Releases(pin(closed_port(), server.url), tmp_path).checksums()
    assert source == server.url
    assert ARCHIVE in listed


def test_releases_that_are_not_there_are_asked_once_a_run_and_once_a_day(tmp_path: Path):
    releases = Releases(pin(closed_port(), closed_port()), tmp_path)
    assert releases.worth_asking
    with pytest.raises(Unreachable, match=r"refused.*refused") as first:
        releases.checksums()
    with pytest.raises(Unreachable) as second:
        releases.checksums()
    assert second.value is first.value
    later = Releases(releases.pin, tmp_path)
    assert not later.worth_asking


def test_releases_are_asked_again_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    releases = Releases(pin(closed_port()), tmp_path)
    releases.remember(Unreachable("gone"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + published.ASK_AGAIN_SECONDS + 1)
    assert releases.worth_asking


def test_a_download_that_fails_counts_as_not_reached(server: FakeReleases, tmp_path: Path):
    server.publish(ARCHIVE, archive_of(PROGRAMS), CHECKSUMS)
    server.statuses[ARCHIVE] = 404
    releases = Releases(pin(server.url), tmp_path)
    with pytest.raises(Unreachable, match="404"):
        published.install(releases)
    assert not releases.worth_asking


def test_a_platform_that_nothing_is_published_for_is_not_reached(
    server: FakeReleases, tmp_path: Path
):
    server.publish("pulumi-v3.300.0-plan9-mips.tar.gz", b"", CHECKSUMS)
    with pytest.raises(Unreachable, match="not published for"):
        published.install(Releases(pin(server.url), tmp_path))


def test_a_page_that_is_no_list_of_checksums_is_no_answer():
    with pytest.raises(Unreachable, match="<html>"):
        parse_checksums("<html>\nplease log in\n</html>\n")
    with pytest.raises(Unreachable, match="nothing"):
        parse_checksums("")


def test_a_text_that_is_not_there_says_host_and_reason():
    with pytest.raises(Unreachable, match=r"^127\.0\.0\.1:\d+: Connection refused$"):
        fetch_text(f"{closed_port()}list")


def test_the_published_cli_is_of_the_sdk_s_version():
    release = pins.load(CHECKOUT / "pins.toml").release
    requirements = (CHECKOUT / "requirements" / "local.txt").read_text(encoding="utf-8")
    assert f"\npulumi=={release.version} " in requirements
    assert release.version in release.checksums
    assert release.version in release.archive
    assert all(source.startswith("https://") for source in release.sources)


def test_pins_that_lack_something_say_what(tmp_path: Path):
    (tmp_path / "pins.toml").write_text("[pulumi]\nversion = '1'\n", encoding="utf-8")
    with pytest.raises(BootstrapError, match="sources"):
        pins.load(tmp_path / "pins.toml")
