"""Which CLI is used: the person's own, else the published one, else one built here."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.bootstrap import go_build, published, pulumi_cli
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.downloads import Unreachable
from scripts.bootstrap.memory import Memory
from scripts.bootstrap.pins import Pins, ReleasePin
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.published import Releases
from scripts.bootstrap.pulumi_cli import Cli, Rejected, new_enough, parse_version

CHECKOUT = Checkout(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize(
    ("text", "numbers", "prerelease"),
    [
        ("v3.210.0", (3, 210, 0), ""),
        ("3.272.1\n", (3, 272, 1), ""),
        ("v3.210.0-alpha.1", (3, 210, 0), "alpha.1"),
        ("v3.211.0+dirty", (3, 211, 0), ""),
        ("v3.211.0-dev.0+1a2b", (3, 211, 0), "dev.0"),
    ],
)
def test_versions_are_read_with_their_prefixes_and_suffixes(
    text: str, numbers: tuple[int, int, int], prerelease: str
):
    assert parse_version(text) == (numbers, prerelease)


@pytest.mark.parametrize("text", ["", "pulumi", "3.210", "v3.x.1", "warning: v3.210.0"])
def test_what_is_no_version_is_not_taken_for_one(text: str):
    assert parse_version(text) is None
    assert not new_enough(text)


@pytest.mark.parametrize(
    ("version", "will_do"),
    [
        ("v3.210.0", True),
        ("v3.209.9", False),
        ("v3.210.0-alpha.1", False),
        ("v3.211.0-alpha.1", True),
        ("v4.0.0", True),
        ("v2.999.0", False),
    ],
)
def test_a_cli_must_be_3_210_or_later(version: str, will_do: bool):
    assert new_enough(version) is will_do


@dataclass(frozen=True)
class Machine:
    """A cache and a PATH of a test's own. `environment` is what the CLI is chosen in."""

    cache: Path
    path: Path
    memory: Memory
    pins: Pins
    environment: dict[str, str]

    def put_on_path(self, version: str, *, host: bool = True) -> Path:
        self.path.mkdir(exist_ok=True)
        program = self.path / "pulumi"
        calls = self.path / "calls"
        program.write_text(f"#!/bin/sh\necho x >> '{calls}'\necho {version}\n", encoding="utf-8")
        program.chmod(0o755)
        if host:
            (self.path / "pulumi-language-python").write_text("", encoding="utf-8")
        return program

    def put_published(self) -> Path:
        folder = published.folder(self.pins.release, self.cache)
        folder.mkdir(parents=True)
        return folder / "pulumi"

    def put_built(self) -> Path:
        folder = go_build.folder(CHECKOUT, self.pins.build_version, self.cache)
        folder.mkdir(parents=True)
        return folder / "pulumi"

    def choose(self) -> Cli:
        releases = Releases(self.pins.release, self.cache)
        return pulumi_cli.choose(CHECKOUT, self.pins, releases, self.environment, self.memory)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    def nothing_answers(releases: Releases) -> Unreachable:
        return Unreachable("nothing answers")

    def no_build(*_: object) -> Path:
        raise BootstrapError("asked to build", "")

    monkeypatch.setattr(Releases, "ask", nothing_answers)
    monkeypatch.setattr(go_build, "build", no_build)
    path = tmp_path / "ä path"
    return Machine(
        cache=tmp_path / "cache",
        path=path,
        memory=Memory(tmp_path / "answers.json"),
        pins=Pins(ReleasePin("3.300.0", ("http://x/",), "c", "a-{platform}", {}), "3.210.0"),
        environment={"PATH": f"{path}{os.pathsep}/usr/bin:/bin"},
    )


def test_the_cli_on_path_wins(machine: Machine):
    program = machine.put_on_path("v3.250.0")
    machine.put_published()
    assert machine.choose() == Cli(program, "v3.250.0", "on PATH")


def test_the_cli_on_path_is_asked_its_version_once(machine: Machine):
    machine.put_on_path("v3.250.0")
    machine.choose()
    machine.choose()
    assert (machine.path / "calls").read_text(encoding="utf-8") == "x\n"


def test_another_cli_on_path_is_asked_its_version_anew(machine: Machine):
    machine.put_on_path("v3.250.0")
    machine.choose()
    os.utime(machine.put_on_path("v3.251.0"), (1, 1))
    assert machine.choose().version == "v3.251.0"


def test_an_old_cli_on_path_gives_way(machine: Machine, capsys: pytest.CaptureFixture[str]):
    machine.put_on_path("v3.150.0")
    published_program = machine.put_published()
    assert machine.choose() == Cli(published_program, "v3.300.0", "published")
    assert capsys.readouterr().out == ""


def test_an_old_cli_on_path_is_named_before_another_is_got(
    machine: Machine, capsys: pytest.CaptureFixture[str]
):
    program = machine.put_on_path("v3.150.0")
    with pytest.raises(BootstrapError, match="asked to build"):
        machine.choose()
    said = capsys.readouterr().err
    assert f"{program} won't do: it is v3.150.0, and 3.210.0 or later is needed." in said
    assert "The published Pulumi 3.300.0 can't be had (nothing answers)." in said


def test_a_cli_without_its_language_host_gives_way(machine: Machine):
    machine.put_on_path("v3.250.0", host=False)
    rejected = pulumi_cli.on_path(machine.environment, machine.memory)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "comes without pulumi-language-python"


def test_a_cli_that_does_not_run_gives_way(machine: Machine):
    machine.put_on_path("v3.250.0").write_text("#!/nonexistent\n", encoding="utf-8")
    rejected = pulumi_cli.on_path(machine.environment, machine.memory)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "does not say its version"


def test_the_published_cli_comes_before_a_built_one(machine: Machine):
    machine.put_built()
    machine.put_published()
    assert machine.choose().origin == "published"


def test_a_built_cli_is_used_while_releases_are_not_reached(machine: Machine):
    program = machine.put_built()
    assert machine.choose() == Cli(program, "v3.210.0", "built here")


def test_a_built_cli_gives_way_once_a_release_is_reached(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    machine.put_built()
    machine.choose()
    asked: list[Releases] = []

    def install(releases: Releases) -> Path:
        asked.append(releases)
        return machine.cache / "fetched"

    monkeypatch.setattr(published, "install", install)
    assert machine.choose().origin == "built here", "it was asked for a moment ago"
    assert not asked
    tomorrow = time.time() + published.ASK_AGAIN_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    chosen = machine.choose()
    assert chosen == Cli(machine.cache / "fetched" / "pulumi", "v3.300.0", "published")


def test_with_neither_it_is_built(machine: Machine):
    with pytest.raises(BootstrapError, match="asked to build"):
        machine.choose()
