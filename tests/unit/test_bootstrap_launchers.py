"""The program that starts a Pulumi program for a language host that is built here."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

FILE = (
    Path(__file__).resolve().parents[2]
    / "scripts/bootstrap/engine_build/launchers/pulumi-language-python-exec"
)


@pytest.fixture(scope="module")
def launcher() -> ModuleType:
    loader = SourceFileLoader("launcher", str(FILE))
    spec = importlib.util.spec_from_loader("launcher", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_what_the_language_host_says_is_understood(launcher: ModuleType):
    parsed = launcher.parse_arguments(
        [
            *("--monitor", "m:1", "--engine", "e:2", "--project", "p", "--stack", "s"),
            *("--pwd", "/a", "--dry_run", "true", "--parallel", "16", "--tracing", "t"),
            *("--organization", "o", ".", "--flag", "of-the-program"),
        ]
    )
    assert vars(parsed) == {
        **{"monitor": "m:1", "engine": "e:2", "project": "p", "stack": "s", "pwd": "/a"},
        **{"dry_run": True, "parallel": 16, "tracing": "t", "organization": "o", "program": "."},
        "arguments": ["--flag", "of-the-program"],
    }
    assert launcher.parse_arguments(["--dry_run", "false", "x"]).dry_run is False


def test_a_folder_s_program_is_its_main_file(launcher: ModuleType, tmp_path: Path):
    assert launcher.main_file(tmp_path) == tmp_path / "__main__.py"
    assert launcher.main_file(tmp_path / "other.py") == tmp_path / "other.py"


def error_of(source: str, path: Path) -> Exception:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        exec(compile(source, str(path), "exec"), {})
    except Exception as error:
        return error
    raise AssertionError("no error")


def test_a_traceback_begins_in_the_program(launcher: ModuleType, tmp_path: Path):
    error = error_of("def f():\n    1 / 0\nf()\n", tmp_path / "__main__.py")
    frame = launcher.own_frames(error, tmp_path)
    assert frame.tb_frame.f_code.co_filename == str(tmp_path / "__main__.py")
    assert frame.tb_next is not None


def test_packages_in_the_program_s_folder_are_not_the_program(launcher: ModuleType, tmp_path: Path):
    error = error_of("1 / 0\n", tmp_path / ".venv" / "site-packages" / "pulumi" / "x.py")
    assert launcher.own_frames(error, tmp_path) is error.__traceback__


def test_a_program_that_is_no_python_needs_no_frames(launcher: ModuleType, tmp_path: Path):
    error = error_of("x = (\n", tmp_path / "__main__.py")
    assert launcher.own_frames(error, tmp_path) is None


def test_a_python_without_the_sdk_says_what_to_do(tmp_path: Path):
    started = subprocess.run(
        [sys.executable, "-S", FILE, "--pwd", str(tmp_path), "."],
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 1
    assert "cannot import the Pulumi SDK" in started.stderr
    assert "scripts/pulumi" in started.stderr
    assert "Traceback" not in started.stderr


def installed(*command: str) -> set[tuple[str, str, str]]:
    """Return name, version and place of Pulumi's packages, as COMMAND lists them.

    The host takes pulumi-x and pulumi_x for the same.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    listed = subprocess.run(
        [*command, "-m", "pip", "list", "-v", "--format", "json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    # Some versions of pip print more than JSON after it.
    packages, _ = json.JSONDecoder().raw_decode(listed.stdout.decode())
    return {
        (package["name"].replace("_", "-"), package["version"], package["location"])
        for package in packages
        if package["name"].startswith("pulumi")
    }


def test_pulumi_s_packages_are_listed_as_pip_lists_them():
    fast = installed(str(FILE.with_name("pulumi-python")))
    assert fast == installed(sys.executable)
    assert any(name == "pulumi-command" for name, *_ in fast)


def test_everything_else_is_python_s():
    ran = subprocess.run(
        [FILE.with_name("pulumi-python"), "-c", "import sys; print(sys.argv[1])", "a b"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "a b\n"
