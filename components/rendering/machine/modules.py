"""Which of our Python modules a machine needs: what runs there, and what that imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from components.rendering.machine.places import CHECKOUT

PACKAGES = ("machine", "scripts", "components")
"""The top-level packages that a machine may have modules of."""

_STAND_IN = "scripts.models.stand_in"
"""It makes a model of known answers, and needs what no machine has: clouds refuse it."""

_OF_PODS = ("machine.pod", "machine.gateway.pod", "machine.gateway.classic")
"""What runs in a cluster's pods alone, and would take room in a machine's user-data."""


class MissingModuleError(ValueError):
    """A module that is named to be on the machine and is not in this project."""


def closure(named: Iterable[str]) -> dict[str, Path]:
    """Return the modules of a machine and all of ours that they import, by path below the library.

    These are `machine` but for what is of pods, the model files' `scripts.models`, and `named`,
    dotted. Raises `MissingModuleError`.
    """
    of_machine = [name for name in _all_of("machine") if not _is_below(name, _OF_PODS)]
    return imported([*of_machine, *_all_of("scripts.models"), *named])


def imported(roots: Iterable[str]) -> dict[str, Path]:
    """Return the modules `roots`, dotted, and all of ours that they import, by path in the library.

    Raises `MissingModuleError`.
    """
    waiting = list(roots)
    for name in waiting:
        if _file(name) is None:
            raise MissingModuleError(f"{name} is no module of {', '.join(PACKAGES)}")
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None or name.startswith(_STAND_IN):
            continue
        found[name] = file
        waiting += _imports(file, name)
    return {path.relative_to(CHECKOUT).as_posix(): path for _, path in sorted(found.items())}


def _is_below(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _all_of(package: str) -> list[str]:
    folder = CHECKOUT.joinpath(*package.split("."))
    names: list[str] = []
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(CHECKOUT).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


@cache
def _file(name: str) -> Path | None:
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = CHECKOUT.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in candidates if file.is_file()), None)


@cache
def _imports(file: Path, name: str) -> tuple[str, ...]:
    """Return what the module `name` may import of ours, its own packages included.

    An import from a package may mean a module in it: names that are none are dropped later.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: list[str] = [name]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [each for each in found if each.partition(".")[0] in PACKAGES]
    return tuple(dict.fromkeys(parent for each in ours for parent in _with_parents(each)))


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
