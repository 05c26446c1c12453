"""Every pinned thing of a checkout, by one name each, wherever its version stands.

`images.vllm` is a table of `pins.toml`; `pypi:pulumi` a package that a `requirements/*.in` asks
for, with the version of its lock; `go:MODULE` what a `go.mod` asks for directly, or a test's list
of modules; `action:OWNER/REPO` an action that a workflow uses.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

PINS = "pins.toml"
WORKFLOWS = ".github/workflows"
GO_FOLDERS = ("components", "scripts", "tests")
"""Where a checkout has its `go.mod` files."""
MODULES = "tests/real/crds/modules.py"
"""Where the modules are listed of which tests read files alone."""

_VERSION_KEYS = ("version", "tag", "commit")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
_BLOCK = re.compile(r"^require \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_REQUIRED = re.compile(r"^(?:require )?\s*(\S+\.\S+) (v\S+)$", re.MULTILINE)
_USES = re.compile(r"uses:\s*([\w.-]+/[\w.-]+)(?:/[\w./-]+)?@([0-9a-f]{40})(?:\s*#\s*(\S+))?")
_MODULE = re.compile(r'^    "([\w.-]+\.[\w.-]+/[^"]+)",\n    "(v[^"]+)",\n    "h1:', re.MULTILINE)


class VersionsError(Exception):
    """A pin that can't be read; the message names the file and what to do."""


@dataclass(frozen=True)
class Pinned:
    """One pinned thing: `version` is what its publisher calls it, `file` below the checkout."""

    name: str
    version: str
    file: str


def pinned(checkout: Path) -> tuple[Pinned, ...]:
    """Return every pinned thing of `checkout`, by name. Raises `VersionsError`."""
    found = [
        *_tables(checkout),
        *_packages(checkout),
        *_go_modules(checkout),
        *_read_alone(checkout),
        *_actions(checkout),
    ]
    by_name: dict[str, Pinned] = {}
    for one in found:
        before = by_name.setdefault(one.name, one)
        if before.version != one.version:
            raise VersionsError(
                f"{one.name} is {before.version} in {before.file}, and {one.version} in "
                f"{one.file}: give both the same version"
            )
    return tuple(by_name[name] for name in sorted(by_name))


def tables(content: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Return the tables of `pins.toml` that pin something, by their dotted names."""
    found: dict[str, Mapping[str, object]] = {}
    for name, value in content.items():
        table = cast("Mapping[str, object]", value)
        if any(key in table for key in _VERSION_KEYS):
            found[name] = table
        else:
            found |= {
                f"{name}.{inner}": cast("Mapping[str, object]", one) for inner, one in table.items()
            }
    return found


def _tables(checkout: Path) -> Iterator[Pinned]:
    content = tomllib.loads((checkout / PINS).read_text(encoding="utf-8"))
    for name, table in tables(content).items():
        version = next((table[key] for key in _VERSION_KEYS if key in table), None)
        if not isinstance(version, str):
            raise VersionsError(f"{PINS}: [{name}] has none of {', '.join(_VERSION_KEYS)}")
        yield Pinned(name, version, PINS)


def locks(checkout: Path) -> dict[str, str]:
    """Return the lock of each `requirements/*.in`, both below `checkout`."""
    names = sorted(path.stem for path in (checkout / "requirements").glob("*.in"))
    return {
        f"requirements/{name}.in": "requirements.txt"
        if name == "cloud"
        else f"requirements/{name}.txt"
        for name in names
    }


def _packages(checkout: Path) -> Iterator[Pinned]:
    for source, lock in locks(checkout).items():
        text = (checkout / lock).read_text(encoding="utf-8")
        versions = {_normal(name): version for name, version in _LOCKED.findall(text)}
        for line in (checkout / source).read_text(encoding="utf-8").splitlines():
            asked = _NAME.match(line)
            if asked is None:
                continue
            name = _normal(asked[0])
            if name not in versions:
                raise VersionsError(f"{lock} lacks {name}, which {source} asks for: scripts/lock")
            yield Pinned(f"pypi:{name}", versions[name], lock)


def _normal(name: str) -> str:
    """Return a package's name as PyPI compares them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _go_modules(checkout: Path) -> Iterator[Pinned]:
    for folder in GO_FOLDERS:
        for path in sorted((checkout / folder).rglob("go.mod")):
            text = path.read_text(encoding="utf-8")
            block = "".join(_BLOCK.findall(text)) + _BLOCK.sub("", text)
            for module, version in _REQUIRED.findall(block):
                file = path.relative_to(checkout).as_posix()
                if version == "v0.0.0":
                    # A `replace` says which one.
                    continue
                yield Pinned(f"go:{module}", version, file)


def _read_alone(checkout: Path) -> Iterator[Pinned]:
    text = (checkout / MODULES).read_text(encoding="utf-8")
    for module, version in _MODULE.findall(text):
        yield Pinned(f"go:{module}", version, MODULES)


def _actions(checkout: Path) -> Iterator[Pinned]:
    for path in sorted((checkout / WORKFLOWS).glob("*.y*ml")):
        for action, commit, version in _USES.findall(path.read_text(encoding="utf-8")):
            yield Pinned(f"action:{action}", version or commit, f"{WORKFLOWS}/{path.name}")
