"""Linters built from Go modules: once, pinned, and with what is at hand."""

import shutil
from pathlib import Path

import pytest

from scripts.bootstrap import go_build, go_tools, pins
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout

SOURCE = Path(__file__).resolve().parents[2]
TOOL = go_tools.ACTIONLINT

FAKE_GO = """#!/bin/sh
[ "$1" = env ] && {{ echo go1.99.0; exit; }}
[ "$1" = clean ] && exit
echo "$(basename "$PWD") $*" >> "{calls}"
while [ "$1" != -o ]; do shift; done
{build}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "check out"
    ignored = shutil.ignore_patterns("__pycache__")
    for sources in (go_tools.SOURCES, go_build.SOURCES):
        shutil.copytree(SOURCE / sources, root / sources, ignore=ignored)
    shutil.copy(SOURCE / "pins.toml", root)
    return Checkout(root)


def environment(tmp_path: Path, build: str = 'echo built > "$2"') -> dict[str, str]:
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    text = FAKE_GO.format(calls=tmp_path / "calls", build=build)
    (programs / "go").write_text(text, encoding="utf-8")
    (programs / "go").chmod(0o755)
    return {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "LLM_ENDPOINT_CACHE": str(tmp_path / "cache"),
    }


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def test_it_is_built_once_from_the_module_that_pins_it(checkout: Checkout, tmp_path: Path):
    variables = environment(tmp_path)
    first = go_tools.ensure(checkout, TOOL, variables)
    assert first.read_text(encoding="utf-8") == "built\n"
    assert go_tools.ensure(checkout, TOOL, variables) == first
    (call,) = calls(tmp_path)
    assert call.startswith("actionlint build -mod=readonly -buildvcs=false -ldflags ")
    assert call.endswith(f" {TOOL.package}")


def test_another_version_is_another_program(checkout: Checkout, tmp_path: Path):
    before = go_tools.program(checkout, TOOL, tmp_path)
    with (checkout.root / go_tools.SOURCES / TOOL.name / "go.sum").open("a") as file:
        file.write("\n")
    assert go_tools.program(checkout, TOOL, tmp_path) != before


def test_a_build_that_fails_leaves_no_program_and_says_what_to_look_at(
    checkout: Checkout, tmp_path: Path
):
    fails = environment(tmp_path, build='echo half > "$2"; echo no module; exit 1')
    with pytest.raises(BootstrapError, match="no module") as failed:
        go_tools.ensure(checkout, TOOL, fails)
    assert "GOPROXY" in failed.value.next_step
    assert not go_tools.program(checkout, TOOL, tmp_path / "cache").exists()


def test_what_the_build_of_pulumi_wants_too_is_left_to_it(checkout: Checkout, tmp_path: Path):
    go_tools.ensure(checkout, TOOL, environment(tmp_path))
    assert (tmp_path / "cache" / "go").is_dir()


def test_with_pulumi_at_hand_nothing_of_the_build_is_left(checkout: Checkout, tmp_path: Path):
    version = pins.load(checkout.root / "pins.toml").build_version
    go_build.folder(checkout, version, tmp_path / "cache").mkdir(parents=True)
    go_tools.ensure(checkout, TOOL, environment(tmp_path))
    assert not (tmp_path / "cache" / "go").exists()


@pytest.mark.parametrize("tool", go_tools.TOOLS, ids=lambda tool: tool.name)
def test_every_tool_s_module_pins_it_by_checksum(tool: go_tools.GoTool):
    folder = SOURCE / go_tools.SOURCES / tool.name
    module = tool.package.partition("/cmd/")[0]
    (line,) = [
        line for line in (folder / "go.mod").read_text("utf-8").splitlines()
        if line.startswith(f"require {module} ")
    ]  # fmt: skip
    version = line.split()[2]
    assert f"{module} {version} h1:" in (folder / "go.sum").read_text(encoding="utf-8")
    assert tool.package in (folder / "tools.go").read_text(encoding="utf-8")
