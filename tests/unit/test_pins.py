"""Filling in the digests that could not be seen yet, and refusing those that changed."""

import shutil
import tomllib
from pathlib import Path

import pytest

from scripts import pins, registry
from scripts.bootstrap.downloads import Unreachable

CHECKOUT = Path(__file__).resolve().parents[2]
PINNED = tomllib.loads((CHECKOUT / "pins.toml").read_text(encoding="utf-8"))["images"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(CHECKOUT / "pins.toml", tmp_path))


def content(file: Path):
    return tomllib.loads(file.read_text(encoding="utf-8"))


def by_name() -> dict[str, str]:
    """Return the pinned digest of each image by its name."""
    named = {f"{pin['repository']}:{pin['tag']}": pin["digest"] for pin in PINNED.values()}
    return {str(registry.parse(name)): digest for name, digest in named.items()}


def publishers(digit: str, **images: str) -> pins.Publishers:
    """Lists every file with digests made of one digit; images are as pinned, or as given."""

    def fetch(url: str) -> str:
        if "caddy" in url:
            assert url.endswith("/caddy_2.11.9_checksums.txt")
            return f"{digit * 128}  caddy_2.11.9_linux_amd64.tar.gz\n{'0' * 128}  other.deb\n"
        platforms = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64")
        return "".join(f"{digit * 64}  pulumi-v3.272.0-{name}.tar.gz\n" for name in platforms)

    return pins.Publishers(fetch, lambda image: (by_name() | images)[str(image)])


def test_what_is_empty_is_filled_with_what_its_publisher_lists(file: Path):
    comments = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert pins.main(file, publishers("a")) == 0
    assert content(file)["caddy"]["sha512"] == "a" * 128
    assert set(content(file)["pulumi"]["sha256"].values()) == {"a" * 64}
    assert [line for line in file.read_text().splitlines() if line.startswith("#")] == comments


def test_a_second_run_changes_nothing(file: Path):
    pins.main(file, publishers("a"))
    before = file.read_bytes()
    assert pins.main(file, publishers("a")) == 0
    assert file.read_bytes() == before


def test_a_digest_that_its_publisher_has_changed_is_refused_and_kept(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    pins.main(file, publishers("a"))
    before = file.read_bytes()
    assert pins.main(file, publishers("b")) == pins.CHANGED
    assert file.read_bytes() == before
    assert "caddy.sha512" in capsys.readouterr().err


def test_what_cannot_be_seen_stays_empty_and_is_said(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    def nothing(url: str) -> str:
        raise Unreachable(f"{url}: no answer")

    def nobody(image: registry.Image) -> str:
        raise registry.RegistryError(f"{image}: no answer", passing=True)

    before = file.read_bytes()
    assert pins.main(file, pins.Publishers(nothing, nobody)) == pins.UNSEEN
    assert file.read_bytes() == before
    said = capsys.readouterr().out
    for name in ("caddy.sha512", "pulumi.sha256.linux-x64", "images.vllm.digest"):
        assert f"{name}: could not be seen from here" in said


def test_a_login_page_is_no_list_of_digests(file: Path):
    page = pins.Publishers(lambda url: "<html>Please log in</html>", publishers("a").ask)
    assert pins.main(file, page) == pins.UNSEEN
    assert content(file)["caddy"]["sha512"] == ""


def test_a_machine_takes_the_published_caddy_once_its_digest_is_pinned(file: Path):
    empty = content(file)["caddy"]
    assert empty["url"].startswith("https://github.com/caddyserver/caddy/releases/")
    pins.main(file, publishers("a"))
    assert content(file)["caddy"] == {**empty, "sha512": "a" * 128}


VLLM = PINNED["vllm"]["digest"]


def test_an_image_s_digest_is_what_its_registry_tells_for_the_tag(file: Path):
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(VLLM, ""), encoding="utf-8")
    assert content(file)["images"]["vllm"]["digest"] == ""
    pins.main(file, publishers("a"))
    assert content(file)["images"] == PINNED


def test_a_tag_that_stands_for_another_image_now_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    pins.main(file, publishers("a"))
    before = file.read_bytes()
    name = next(name for name in by_name() if "vllm" in name)
    moved = publishers("a", **{name: f"sha256:{'b' * 64}"})
    assert pins.main(file, moved) == pins.CHANGED
    assert file.read_bytes() == before
    assert f"images.vllm.digest: pinned {VLLM}" in capsys.readouterr().err


def test_a_tag_that_was_only_inferred_may_stand_for_another_image(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    ovms, other = PINNED["ovms"], f"sha256:{'e' * 64}"
    tagged = "openvino/model_server:" + ovms["tag"]
    assert pins.main(file, publishers("a", **{tagged: other})) == 0
    said = capsys.readouterr().out
    assert f"images.ovms.digest: stays {ovms['digest']}" in said
    assert f"{tagged}, a tag that was inferred for it, is {other}" in said
    assert content(file)["images"]["ovms"]["digest"] == ovms["digest"]
