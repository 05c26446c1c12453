"""Imports point one way, and the local stack loads nothing of a cloud."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "components/launch.py": set(),
    "components/engines": {"components.launch", "components.engines"},
    "components/compose.py": {"components.launch"},
    "components/rendering": {"components.launch", "components.rendering"},
    "components/endpoint.py": {"components.launch", "components.rendering"},
    "components/targets": {
        "components.launch",
        "components.compose",
        "components.endpoint",
        "components.rendering",
    },
}


def imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files(place: str) -> list[Path]:
    path = CHECKOUT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_imports_point_one_way(place: str):
    allowed = MAY_IMPORT[place]
    for file in files(place):
        ours = {name for name in imports(file) if name.split(".")[0] in {"components", "stacks"}}
        wrong = {
            name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)
        }
        assert not wrong, f"{file.relative_to(CHECKOUT)} imports {sorted(wrong)}"


def test_components_import_no_script_and_no_emulator():
    for file in files("components"):
        outside = {name for name in imports(file) if name.split(".")[0] in {"scripts", "emulator"}}
        assert not outside, f"{file.relative_to(CHECKOUT)} imports {sorted(outside)}"


def test_launches_and_engines_know_no_pulumi():
    for place in ("components/launch.py", "components/compose.py", "components/engines"):
        for file in files(place):
            assert not {n for n in imports(file) if n.split(".")[0].startswith("pulumi")}


def test_the_local_program_loads_no_cloud():
    code = (
        "import sys, stacks.local; "
        "print([m for m in sys.modules if m in ('pulumi_gcp', 'pulumi_kubernetes', 'gguf')])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"


def test_no_file_has_two_subjects():
    for place in ("components", "stacks", "scripts", "emulator", "tests"):
        for file in files(place):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            assert lines <= 450, f"{file.relative_to(CHECKOUT)} has {lines} lines"
