"""Filling in the digests that could not be seen yet, and refusing those that changed."""

import shutil
import tomllib
from pathlib import Path

import pytest

from scripts import pins
from scripts.bootstrap.downloads import Unreachable

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(CHECKOUT / "pins.toml", tmp_path))


def content(file: Path):
    return tomllib.loads(file.read_text(encoding="utf-8"))


def publisher(digit: str):
    """Lists every file with digests made of one digit."""

    def fetch(url: str) -> str:
        if "caddy" in url:
            assert url.endswith("/caddy_2.11.9_checksums.txt")
            return f"{digit * 128}  caddy_2.11.9_linux_amd64.tar.gz\n{'0' * 128}  other.deb\n"
        platforms = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")
        return "".join(f"{digit * 64}  pulumi-v3.272.0-{name}.tar.gz\n" for name in platforms)

    return fetch


def test_what_is_empty_is_filled_with_what_its_publisher_lists(file: Path):
    comments = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert pins.main(file, publisher("a")) == 0
    assert content(file)["caddy"]["sha512"] == "a" * 128
    assert set(content(file)["pulumi"]["sha256"].values()) == {"a" * 64}
    assert [line for line in file.read_text().splitlines() if line.startswith("#")] == comments


def test_a_second_run_changes_nothing(file: Path):
    pins.main(file, publisher("a"))
    before = file.read_bytes()
    assert pins.main(file, publisher("a")) == 0
    assert file.read_bytes() == before


def test_a_digest_that_its_publisher_has_changed_is_refused_and_kept(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    pins.main(file, publisher("a"))
    before = file.read_bytes()
    assert pins.main(file, publisher("b")) == pins.CHANGED
    assert file.read_bytes() == before
    assert "caddy.sha512" in capsys.readouterr().err


def test_what_cannot_be_seen_stays_empty_and_is_said(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    def nothing(url: str) -> str:
        raise Unreachable(f"{url}: no answer")

    before = file.read_bytes()
    assert pins.main(file, nothing) == pins.UNSEEN
    assert file.read_bytes() == before
    assert "could not be seen from here" in capsys.readouterr().out


def test_a_login_page_is_no_list_of_digests(file: Path):
    assert pins.main(file, lambda url: "<html>Please log in</html>") == pins.UNSEEN
    assert content(file)["caddy"]["sha512"] == ""


def test_a_machine_takes_the_published_caddy_once_its_digest_is_pinned(file: Path):
    empty = content(file)["caddy"]
    assert empty["url"].startswith("https://github.com/caddyserver/caddy/releases/")
    pins.main(file, publisher("a"))
    assert content(file)["caddy"] == {**empty, "sha512": "a" * 128}
