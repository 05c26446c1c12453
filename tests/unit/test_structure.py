"""Imports point one way; no program loads a cloud too early, and the machine nothing of Pulumi."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "components/launch.py": set(),
    "components/schedule.py": set(),
    "components/catalogue": {"components.catalogue"},
    "components/engines": {"components.launch", "components.engines"},
    "components/compose.py": {"components.launch"},
    "components/models": {"components.models"},
    "components/sizing": {
        "components.catalogue",
        "components.engines",
        "components.models",
        "components.sizing",
    },
    "components/rendering": {
        "components.launch",
        "components.models",
        "components.rendering",
    },
    "components/container_images.py": {
        "components.engines",
        "components.launch",
        "components.rendering",
    },
    "components/settings": {
        "components.settings",
        "components.catalogue",
        "components.container_images",
        "components.engines",
        "components.launch",
        "components.models",
        "components.schedule",
        "components.sizing",
    },
    "components/serving": {
        "components.catalogue",
        "components.container_images",
        "components.engines",
        "components.launch",
        "components.models",
        "components.rendering",
        "components.serving",
        "components.settings",
        "components.sizing",
    },
    "components/endpoint.py": {"components.launch", "components.rendering"},
    "components/keys.py": {"components.rendering"},
    "components/targets": {
        "components.launch",
        "components.compose",
        "components.endpoint",
        "components.keys",
        "components.rendering",
        "components.schedule",
        "components.targets",
    },
}
# What runs on the machine lies there without the rest of this project.
MACHINE_MAY_IMPORT = {
    "machine",
    "scripts.models",
    "scripts.model_registry",
    "scripts.serve.llama_build",
    "scripts.serve.errors",
    "components.models.reference",
    "components.models.registry",
    "components.models.gguf_header",
    "components.sizing.gpu_memory_fit",
    "components.sizing.memory_fit",
    "components.engines.llama_cpp_flags",
    "components.rendering.machine.paths",
}
OURS = {"components", "stacks", "scripts", "machine", "emulator"}
NOT_ON_A_MACHINE = {"pulumi", "pulumi_gcp", "pulumi_command", "pydantic", "annotated_types"}


@cache
def imports(file: Path) -> frozenset[str]:
    """Every module that a file names in an import, also inside a function."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def files(place: str) -> list[Path]:
    path = CHECKOUT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def outside(names: set[str], allowed: set[str]) -> set[str]:
    return {name for name in names if not any(f"{name}.".startswith(f"{one}.") for one in allowed)}


def of(roots: set[str], file: Path) -> set[str]:
    return {name for name in imports(file) if name.split(".")[0] in roots}


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_imports_point_one_way(place: str):
    assert files(place), f"there is no {place}"
    for file in files(place):
        wrong = outside(of({"components", "stacks", "machine"}, file), MAY_IMPORT[place])
        assert not wrong, f"{file.relative_to(CHECKOUT)} imports {sorted(wrong)}"


def test_no_two_test_files_share_a_name():
    names = [file.name for file in files("tests") if file.name.startswith("test_")]
    assert sorted(names) == sorted(set(names)), "pytest imports them by their names alone"


def test_components_import_no_script_and_no_emulator():
    for file in files("components"):
        wrong = of({"scripts", "emulator", "machine"}, file)
        assert not wrong, f"{file.relative_to(CHECKOUT)} imports {sorted(wrong)}"


def test_launches_engines_catalogue_and_rendering_know_no_pulumi():
    places = ("launch.py", "compose.py", "engines", "catalogue", "rendering", "schedule.py")
    for place in places:
        for file in files(f"components/{place}"):
            wrong = {name for name in imports(file) if name.split(".")[0].startswith("pulumi")}
            assert not wrong, f"{file.relative_to(CHECKOUT)} imports {sorted(wrong)}"


def test_what_runs_on_the_machine_imports_only_what_lies_there():
    for file in files("machine"):
        wrong = outside(of(OURS, file), MACHINE_MAY_IMPORT) | of(NOT_ON_A_MACHINE, file)
        assert not wrong, f"{file.relative_to(CHECKOUT)} imports {sorted(wrong)}"


def test_nothing_that_is_put_on_the_machine_needs_pulumi_or_pydantic():
    waiting, seen = files("machine"), set[Path]()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        assert not of(NOT_ON_A_MACHINE, file), f"{file.relative_to(CHECKOUT)}"
        for name in of(OURS, file):
            parts = name.split(".")
            paths = [CHECKOUT.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
            modules = [path.with_suffix(".py") for path in paths]
            packages = [path / "__init__.py" for path in paths]
            waiting += [path for path in (*modules, *packages) if path.is_file()]
    assert CHECKOUT / "components/models/reference.py" in seen


@pytest.mark.parametrize(
    ("package", "places"),
    [
        ("pulumi_gcp", ("components/targets/gcp", "components/targets/gke")),
        ("pulumi_kubernetes", ("components/targets/kubernetes",)),
        ("kubernetes", ("scripts/gke",)),
    ],
)
def test_only_its_own_places_import_a_clouds_package(package: str, places: tuple[str, ...]):
    for place in ("components", "stacks", "scripts", "machine"):
        for file in files(place):
            wrong = of({package}, file)
            in_its_place = any(file.is_relative_to(CHECKOUT / own) for own in places)
            assert in_its_place or not wrong, f"{file.relative_to(CHECKOUT)} imports {package}"


@pytest.mark.parametrize("module", ["stacks.local", "stacks.cpu_vm", "scripts.reference"])
def test_a_program_loads_no_cloud_before_it_deploys_one(module: str):
    code = (
        f"import sys, stacks, {module}; "
        "print([m for m in sys.modules if m in ('pulumi_gcp', 'pulumi_kubernetes', 'gguf')])"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == "[]"


def test_no_file_has_two_subjects():
    for place in ("components", "stacks", "scripts", "machine", "emulator", "tests"):
        for file in files(place):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            assert lines <= 450, f"{file.relative_to(CHECKOUT)} has {lines} lines"
