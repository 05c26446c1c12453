"""Who imports whom among this project's modules, read from their text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("components", "stacks", "machine", "scripts")
PACKING = "components.rendering.machine.modules"
"""Who imports it puts modules on machines or into pods, named by no import of its own."""
PACKED = ("machine", "scripts.models")

_NAMED = re.compile(r"(?:scripts|machine)(?:\.\w+)+")


@dataclass(frozen=True)
class Imports:
    """The modules of a checkout: `files` maps each, dotted, to its path below `root`."""

    root: Path
    files: Mapping[str, str]

    @classmethod
    def of(cls, root: Path) -> Imports:
        """Return those of the checkout at `root`."""
        files: dict[str, str] = {}
        for package in PACKAGES:
            for file in sorted((root / package).rglob("*.py")):
                path = file.relative_to(root)
                parts = path.with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                files[name] = path.as_posix()
        return cls(root, files)

    @cached_property
    def packages(self) -> frozenset[str]:
        """The folders that have modules."""
        return frozenset(str(Path(path).parent) for path in self.files.values())

    @cached_property
    def data(self) -> tuple[str, ...]:
        """The files beside modules that are none, but for stacks' own."""
        found: list[str] = []
        for package in ("components", "machine"):
            for file in sorted((self.root / package).rglob("*")):
                if file.is_file() and file.suffix not in (".py", ".pyc"):
                    found.append(file.relative_to(self.root).as_posix())
        return tuple(found)

    def reached(self, module: str) -> frozenset[str]:
        """Return the files of `module` and of all that it imports, or names in a string."""
        waiting = [module]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.files:
                continue
            seen.add(name)
            waiting += self._edges_of(name)
            if name == PACKING:
                waiting += [each for each in self.files if _is_packed(each)]
        return frozenset(self.files[name] for name in seen)

    def _edges_of(self, name: str) -> tuple[str, ...]:
        found = self._edges_found.get(name)
        if found is None:
            found = self._edges_found[name] = tuple(dict.fromkeys(self._edges(name)))
        return found

    def _edges(self, name: str) -> Iterator[str]:
        if self._is_package(name):
            # Its importers follow the names that they take from it, and not all that it has.
            return
        for node in self._walk(name):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._with_parents(alias.name)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from self._with_parents(node.module)
                for alias in node.names:
                    yield from self._origin(node.module, alias.name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                for named in _NAMED.findall(node.value):
                    yield from self._with_parents(named)

    def _origin(self, module: str, name: str) -> Iterator[str]:
        """Yield the modules that `name`, taken from `module`, stands in."""
        inner = f"{module}.{name}"
        if inner in self.files:
            yield inner
        elif self._is_package(module):
            yield from self._exported(module).get(name, self._all_exported(module))

    def _exported(self, package: str) -> dict[str, tuple[str, ...]]:
        """Return where each name that a package's `__init__` imports comes from."""
        found = self._exports_found.get(package)
        if found is not None:
            return found
        found = self._exports_found[package] = {}
        for node in self._walk(package):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    source = (node.module, f"{node.module}.{alias.name}")
                    found[alias.asname or alias.name] = source
        return found

    def _all_exported(self, package: str) -> tuple[str, ...]:
        """What a name that `__init__` defines itself may be made of: all of its imports."""
        return tuple(one for source in self._exported(package).values() for one in source)

    def _is_package(self, name: str) -> bool:
        return self.files.get(name, "").endswith("/__init__.py")

    def _with_parents(self, name: str) -> Iterator[str]:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            yield ".".join(parts[:count])

    def _walk(self, name: str) -> Iterator[ast.AST]:
        text = (self.root / self.files[name]).read_text(encoding="utf-8")
        return _but_for_docstrings(ast.parse(text))

    @cached_property
    def _exports_found(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return {}

    @cached_property
    def _edges_found(self) -> dict[str, tuple[str, ...]]:
        return {}


def _is_packed(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in PACKED)


def _but_for_docstrings(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield every node but for strings that stand alone: they only tell of modules."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)
