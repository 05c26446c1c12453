"""Stages that prepare the machine: packages, the cache disk, tools, engines."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_world import FakeMachine, fake_machine

from machine.commands import Command, Result
from machine.environments import STAMP
from machine.errors import Permanent, Temporary
from machine.stages import disk, engine, packages, tools
from scripts.serve.errors import ServeError
from scripts.serve.llama_build import Build

EXT4 = Result(0, "DEVNAME=/dev/sdb\nLABEL=llm-endpoint\nTYPE=ext4\nUSAGE=filesystem\n")
NOTHING = Result(2)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    for name in ("machine", "llama-wheel", "native", "localllm", "localllm-build"):
        made.put(made.paths.requirements(name), f"{name}==1 --hash=sha256:00\n")
    return made


def test_packages_that_are_there_are_left_alone(machine: FakeMachine):
    listed = Result(0, "python3-venv ii \nca-certificates hi \n")
    machine.run.answers = {"dpkg-query": listed}
    assert packages.run(machine.config(), machine.world) == "2 packages are there"
    assert not machine.run.lines("apt-get")


def test_the_folder_of_records_is_opened_to_the_gateway(machine: FakeMachine):
    packages.run(machine.config(packages=[]), machine.world)
    (line,) = machine.run.lines("install --directory")
    assert "--mode=0775 --group=llm-gateway" in line


def test_packages_that_lack_are_installed_quietly_and_patiently(machine: FakeMachine):
    state = {"known": "python3-venv ii \nca-certificates rc \n"}

    def install(command: Command) -> Result:
        state["known"] = "python3-venv ii \nca-certificates ii \n"
        return Result(0)

    machine.run.answers = {
        "dpkg-query": lambda command: Result(1, state["known"], "no package found"),
        "install -y": install,
    }
    assert packages.run(machine.config(), machine.world) == "installed ca-certificates"
    update, added = machine.run.lines("apt-get")
    assert update.endswith(" update")
    assert "DPkg::Lock::Timeout=300" in added
    assert added.endswith("install -y --no-install-recommends ca-certificates")
    quiet = [c for c in machine.run.commands if c.words[0] == "apt-get"]
    assert all(c.environment["DEBIAN_FRONTEND"] == "noninteractive" for c in quiet)


def test_optional_packages_are_installed_where_the_distribution_has_them(machine: FakeMachine):
    there = "python3-venv ii \nca-certificates ii \n"
    machine.run.answers = {"dpkg-query": Result(1, there), "apt-cache": Result(100)}
    config = machine.config(optional_packages=["docker-buildx"])
    assert packages.run(config, machine.world) == "2 packages are there"
    assert not machine.run.lines("apt-get")

    def install(command: Command) -> Result:
        machine.run.answers["dpkg-query"] = Result(0, f"{there}docker-buildx ii \n")
        return Result(0)

    machine.run.answers |= {"apt-cache": Result(0, "Package: docker-buildx"), "install -y": install}
    assert packages.run(config, machine.world) == "installed docker-buildx"
    assert packages.run(config, machine.world) == "2 packages are there"


def test_what_the_archives_have_is_asked_once_their_lists_are_read(machine: FakeMachine):
    def update(command: Command) -> Result:
        machine.run.answers["apt-cache"] = Result(0, "Package: docker-buildx")
        return Result(0)

    def install(command: Command) -> Result:
        known = "".join(f"{name} ii \n" for name in command.words[-3:])
        machine.run.answers["dpkg-query"] = Result(0, known)
        return Result(0)

    machine.run.answers = {"apt-cache": Result(100), "update": update, "install -y": install}
    config = machine.config(optional_packages=["docker-buildx"])
    said = packages.run(config, machine.world)
    assert said == "installed python3-venv ca-certificates docker-buildx"


@pytest.mark.parametrize("step", ["update", "install -y"])
def test_archives_that_do_not_answer_are_tried_again(machine: FakeMachine, step: str):
    machine.run.answers = {step: Result(100, "", "E: Failed to fetch")}
    with pytest.raises(Temporary, match="apt-get ended with 100") as caught:
        packages.run(machine.config(), machine.world)
    assert caught.value.log == ("E: Failed to fetch",)


def test_a_half_installed_package_lacks():
    listed = "a ii \nb iU \nc rc \nd un \ne hi \n"
    assert packages.lacking(("a", "b", "c", "d", "e", "f"), listed) == ("b", "c", "d", "f")


# disk


def attach(machine: FakeMachine) -> Path:
    device = machine.put(machine.paths.root / "dev" / "sdb", "")
    link = machine.paths.disk("llm-endpoint-cache")
    link.parent.mkdir(parents=True)
    link.symlink_to(device)
    return device


def test_an_empty_disk_is_formatted_and_mounted(machine: FakeMachine):
    device = attach(machine)
    machine.run.answers = {"findmnt": Result(1), "blkid": NOTHING, "wipefs": Result(0)}
    said = disk.run(machine.config(), machine.world)
    assert said == "the cache disk llm-endpoint-cache is formatted and mounted"
    programs = [command.words[0] for command in machine.run.commands]
    assert (
        programs
        == ["findmnt", "blkid", "wipefs", "mkfs.ext4", "mount", "resize2fs"] + ["chown"] * 2
    )
    (mount,) = machine.run.lines("mount --types")
    assert mount.endswith(f"nodev,nosuid,noexec,noatime {device} {machine.paths.data}")


def test_a_disk_with_models_is_checked_mounted_and_grown(machine: FakeMachine):
    attach(machine)
    machine.run.answers = {
        "findmnt": Result(1),
        "blkid": EXT4,
        "wipefs": Result(0, "sdb 0x438 ext4\n"),
        "e2fsck": Result(1, "clean after repair"),
    }
    said = disk.run(machine.config(), machine.world)
    assert said == "the cache disk llm-endpoint-cache is mounted"
    programs = [command.words[0] for command in machine.run.commands]
    assert "mkfs.ext4" not in programs
    assert programs.index("e2fsck") < programs.index("mount") < programs.index("resize2fs")


def test_a_disk_that_is_mounted_is_only_grown(machine: FakeMachine):
    device = attach(machine)
    machine.run.answers = {"findmnt": Result(0, f"{device}\n")}
    disk.run(machine.config(), machine.world)
    programs = {command.words[0] for command in machine.run.commands}
    assert programs == {"findmnt", "resize2fs", "chown"}


def test_something_else_at_the_mount_point_is_refused(machine: FakeMachine):
    attach(machine)
    machine.run.answers = {"findmnt": Result(0, "/dev/sdz\n")}
    with pytest.raises(Permanent, match="/dev/sdz is mounted at"):
        disk.run(machine.config(), machine.world)


@pytest.mark.parametrize(
    ("probed", "signatures", "named"),
    [
        (Result(0, "TYPE=xfs\nUSAGE=filesystem\n"), Result(0, "sdb 0x0 xfs\n"), "xfs"),
        (Result(0, "PTTYPE=gpt\n"), Result(0, "sdb 0x200 gpt\n"), "gpt"),
        (Result(0, "TYPE=crypto_LUKS\n"), Result(0, "sdb 0x0 crypto_LUKS\n"), "crypto_LUKS"),
        (Result(8), Result(0, "sdb 0x0 xfs\nsdb 0x438 ext4\n"), "can't be told"),
        (NOTHING, Result(0, "sdb 0x1fe dos\n"), "can't be told"),
        (Result(2, "PTTYPE=dos\n"), Result(0), "dos"),
    ],
)
def test_a_disk_with_anything_else_is_never_formatted(
    machine: FakeMachine, probed: Result, signatures: Result, named: str
):
    attach(machine)
    machine.run.answers = {"findmnt": Result(1), "blkid": probed, "wipefs": signatures}
    with pytest.raises(Permanent, match=f"{named}.*left as it is"):
        disk.run(machine.config(), machine.world)
    assert not machine.run.lines("mkfs")


def test_a_disk_that_can_not_be_read_is_not_taken_for_an_empty_one():
    with pytest.raises(Temporary, match="can't be read"):
        disk.plan_disk("d", NOTHING, Result(1, "", "wipefs: error: I/O error"))
    assert disk.plan_disk("d", NOTHING, Result(0)) == "format"
    for code in (1, 8, 127):
        with pytest.raises(Permanent, match="can't be told"):
            disk.plan_disk("d", Result(code), Result(0))


@pytest.mark.parametrize(("code", "kind"), [(4, Permanent), (8, Temporary), (12, Temporary)])
def test_a_filesystem_that_does_not_repair_itself_is_not_mounted(
    machine: FakeMachine, code: int, kind: type[Exception]
):
    attach(machine)
    machine.run.answers = {"findmnt": Result(1), "blkid": EXT4, "e2fsck": Result(code)}
    with pytest.raises(kind):
        disk.run(machine.config(), machine.world)
    assert not machine.run.lines("mount --types")


def test_a_disk_that_does_not_come_is_waited_for_a_minute(machine: FakeMachine):
    with pytest.raises(Temporary, match="no disk is attached as llm-endpoint-cache"):
        disk.run(machine.config(), machine.world)
    assert machine.clock.now == 1060.0


def test_without_a_cache_disk_the_boot_disk_has_the_folders(machine: FakeMachine):
    assert "boot disk" in disk.run(machine.config(cache_disk=None), machine.world)
    modes = {f.name: f.stat().st_mode & 0o777 for f in machine.paths.data.iterdir()}
    assert modes == {"models": 0o755, "hub": 0o755, "build": 0o755, "caddy": 0o700}
    owners = [command.words[3:] for command in machine.run.commands]
    data = machine.paths.data
    assert owners == [("llm-gateway:", f"{data}/caddy"), ("nobody:", f"{data}/hub")]


# tools and engines


def make_venv(machine: FakeMachine) -> Callable[[Command], Result]:
    def make(command: Command) -> Result:
        folder = Path(command.words[-1])
        shutil.rmtree(folder, ignore_errors=True)
        machine.put(folder / "bin" / "python", "")
        return Result(0)

    return make


def test_tools_are_installed_from_their_lock_once(machine: FakeMachine):
    machine.run.answers = {"venv": make_venv(machine)}
    assert tools.run(machine.config(), machine.world) == "installed the tools"
    made, installed = machine.run.lines()
    assert made == f"/usr/bin/python3 -I -m venv --clear {machine.paths.tools}"
    assert installed.startswith(f"{machine.paths.tools}/bin/python -I -m pip install")
    assert "--require-hashes --only-binary=:all:" in installed
    assert tools.run(machine.config(), machine.world) == "the tools are there"
    assert len(machine.run.commands) == 2


def test_what_counts_as_installed_is_on_the_disk_when_the_power_is_cut_off(machine: FakeMachine):
    stamp, stamped = machine.paths.tools / STAMP, list[bool]()
    world = replace(machine.world, sync=lambda: stamped.append(stamp.exists()))
    tools.run(machine.config(), world)
    assert stamped == [False]
    assert stamp.exists()


def test_another_lock_makes_the_tools_anew(machine: FakeMachine):
    tools.run(machine.config(), machine.world)
    machine.put(machine.paths.requirements("machine"), "requests==2 --hash=sha256:11\n")
    assert tools.run(machine.config(), machine.world) == "installed the tools"


def test_an_installation_that_was_cut_off_begins_anew(machine: FakeMachine):
    machine.run.answers = {"pip install": Result(1, "", "ReadTimeoutError")}
    with pytest.raises(Temporary, match="pip ended with 1"):
        tools.run(machine.config(), machine.world)
    machine.run.answers = {}
    assert tools.run(machine.config(), machine.world) == "installed the tools"
    assert len(machine.run.lines("--clear")) == 2


def test_a_package_with_another_hash_is_permanent(machine: FakeMachine):
    said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."
    machine.run.answers = {"pip install": Result(1, "", said)}
    with pytest.raises(Permanent, match="another hash than its lock"):
        tools.run(machine.config(), machine.world)


def test_a_lock_that_was_not_placed_is_named(machine: FakeMachine):
    machine.paths.requirements("machine").unlink()
    with pytest.raises(Permanent, match=r"machine\.txt can't be read"):
        tools.run(machine.config(), machine.world)


def test_an_engine_of_wheels_is_installed_once(machine: FakeMachine):
    config = machine.config()
    assert engine.run(config, machine.world) == "installed llama-wheel"
    assert "--only-binary=:all:" in machine.run.lines("pip install")[0]
    machine.put(machine.paths.root / "proc/cpuinfo", "flags : fpu avx2 avx512f\n")
    assert engine.run(config, machine.world) == "llama-wheel is there"


SOURCE = {"url": "https://example.org/tool", "commit": "c" * 40, "subdirectory": "sub"}


def localllm(machine: FakeMachine):
    (server,) = machine.config().servers
    changed = {"name": server.name, "model": server.model, "engine": "localllm", "port": 8081}
    rest = {"pull": None, "probe": {"path": "/", "loading_status": 503}, "api_path": "/v1"}
    none = {"context_tokens_total": None, "slots": None, "kv_type": None}
    none |= {"gpu_layers": None, "gpus": None, "snapshot": False}
    return machine.config(
        engines={"localllm": {"kind": "environment", "requirements": "localllm", "source": SOURCE}},
        servers=[{**changed, **rest, **none}],
    )


def test_an_engine_with_a_source_is_built_by_pinned_tools_at_its_commit(machine: FakeMachine):
    machine.run.answers = {"venv": make_venv(machine), "rev-parse": Result(0, "c" * 40 + "\n")}
    assert engine.run(localllm(machine), machine.world) == "installed localllm"
    builders, wheels, source = machine.run.lines("pip install")
    assert "--only-binary=:all:" in builders
    assert builders.endswith("localllm-build.txt --no-deps")
    assert "--require-hashes --no-deps --no-build-isolation" in wheels
    assert source.endswith(f"{machine.paths.engine('localllm')}/source/sub")
    assert f"git fetch --quiet --depth=1 {SOURCE['url']} {SOURCE['commit']}" in machine.run.lines()
    (build,) = [c for c in machine.run.commands if "CMAKE_ARGS" in c.environment]
    assert build.environment["CMAKE_BUILD_PARALLEL_LEVEL"] == "4"


def test_another_commit_than_the_pinned_one_is_not_installed(machine: FakeMachine):
    machine.run.answers = {"venv": make_venv(machine), "rev-parse": Result(0, "d" * 40)}
    with pytest.raises(Permanent, match="gave commit dddd"):
        engine.run(localllm(machine), machine.world)
    assert not machine.run.lines("--use-pep517")


def test_what_was_compiled_for_another_processor_is_built_again(machine: FakeMachine):
    machine.run.answers = {"venv": make_venv(machine), "rev-parse": Result(0, "c" * 40)}
    config = localllm(machine)
    engine.run(config, machine.world)
    assert engine.run(config, machine.world) == "localllm is there"
    machine.put(machine.paths.root / "proc/cpuinfo", "flags : fpu avx2 avx512f\n")
    assert engine.run(config, machine.world) == "installed localllm"


def native(machine: FakeMachine):
    return machine.config(
        engines={"llama-wheel": {"kind": "environment", "requirements": "native", "source": None}},
    )


def test_a_native_server_is_built_with_as_many_compilers_as_the_memory_bears(
    machine: FakeMachine,
):
    machine.put(machine.paths.memory, "MemTotal: 4000000 kB\n")
    builds: list[Build] = []
    engine.run(native(machine), machine.world, lambda build, say: builds.append(build))
    (build,) = builds
    folder = machine.paths.engine("llama-wheel")
    assert build.binary == folder / "bin" / "llama-server"
    assert build.python == f"{folder}/bin/python"
    assert build.jobs == 2


def test_a_build_that_fails_is_tried_again_with_the_end_of_its_log(machine: FakeMachine):
    def build(wanted, say):
        raise ServeError("building llama-server failed at compiling; log ends:\ng++: killed")

    with pytest.raises(Temporary, match="failed at compiling") as caught:
        engine.run(native(machine), machine.world, build)
    assert caught.value.log == ("g++: killed",)
