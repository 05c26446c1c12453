"""`python -m scripts.ci.touched`: the stacks that a change touches, as a workflow's matrix.

Told by the files that changed and by what each program imports, without running any of it: a stack
too many is previewed now and then, none too few.

    python -m scripts.ci.touched --for preview --base HEAD^1
    python -m scripts.ci.touched --for drift
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap import stack
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout, this_checkout
from scripts.ci.imports import PACKED, Imports
from scripts.ci.stacks import Purpose, git, of, programs

OUTPUT_VARIABLE = "GITHUB_OUTPUT"

_NOBODYS = ("docs/", "tests/", "emulator/", ".github/", ".ci/", "requirements/test.")
"""What no deployment is made of. `scripts/` is not either, but for what a program names."""
_NOBODYS_ENDINGS = (".md", "LICENSE", ".gitignore", "pyproject.toml")
_PROGRAMS = ("components/", "machine/", "stacks/", "scripts/")
_STACK_FILE = "stacks/Pulumi."
_REGISTRY = "stacks/__init__.py"
_PACKED = tuple(f"{package.replace('.', '/')}/" for package in PACKED)


@dataclass(frozen=True)
class Program:
    """The files that a program is made of, below the checkout."""

    name: str
    files: frozenset[str]


def concerned(changed: Collection[str], program: Program, existing: Collection[str]) -> bool:
    """Whether a change of the files `changed` may change what `program` deploys.

    `existing` are the files of the checkout: of one that is gone nobody tells who had it.
    """
    return any(_concerns(path, program, existing) for path in changed)


def _concerns(path: str, program: Program, existing: Collection[str]) -> bool:
    if path in program.files:
        return True
    if path.startswith(_NOBODYS) or path.endswith(_NOBODYS_ENDINGS):
        return False
    if path.startswith(_STACK_FILE):
        return False
    if path.startswith(_PROGRAMS) and path != _REGISTRY:
        # Some other program's, or nobody's, unless it is gone.
        whose = not path.startswith("scripts/") or path.startswith(_PACKED)
        return whose and path not in existing
    return True


def program_of(checkout: Checkout, name: str, module: str, imports: Imports) -> Program:
    """Return a program with its files: its modules, its defaults, and the data beside modules."""
    modules = imports.reached(f"stacks.{module}")
    files = {*modules, f"stacks/{module}.yaml"}
    folders = {str(Path(file).parent) for file in modules}
    for path in imports.data:
        owner = next((str(up) for up in Path(path).parents if str(up) in imports.packages), None)
        if owner in folders or any(folder.startswith(f"{owner}/") for folder in folders):
            files.add(path)
    return Program(name, frozenset(files))


def changed_since(checkout: Checkout, base: str) -> list[str] | None:
    """Return the files that differ from the commit `base`; None where git does not know it."""
    try:
        commit = git(checkout, "rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")[0]
        return git(checkout, "diff", "--name-only", "--no-renames", commit, "HEAD", "--")
    except (BootstrapError, IndexError):
        return None


def touched(checkout: Checkout, purpose: Purpose, base: str | None) -> tuple[str, ...]:
    """Return the stacks of `purpose` that the change since `base` touches.

    All of them without a base, or where git does not know it (the first push of a branch).
    """
    stacks = of(checkout, purpose)
    changed = None if base is None else changed_since(checkout, base)
    if changed is None:
        return tuple(stacks)
    imports = Imports.of(checkout.root)
    modules = programs(checkout)
    existing = frozenset(git(checkout, "ls-files"))
    known = {name: program_of(checkout, name, module, imports) for name, module in modules.items()}
    return tuple(
        name
        for name in stacks
        if f"{_STACK_FILE}{name}.yaml" in changed
        or (program := known.get(stack.program(checkout, name))) is None
        or concerned(changed, program, existing)
    )


def parse(arguments: Sequence[str]) -> tuple[Purpose, str | None, str | None]:
    """Return what the stacks are for, the base to compare with, and the one that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.ci.touched",
        description="Print the stacks that a change touches as JSON, and hand them on to the "
        "workflow as the output `stacks`.",
        allow_abbrev=False,
    )
    parser.add_argument("--for", dest="purpose", choices=[*Purpose], type=Purpose, required=True)
    parser.add_argument("--base", metavar="REF", help="without it, or empty: all stacks")
    parser.add_argument("--only", metavar="STACK", help="this one alone, unless empty")
    given = parser.parse_args(arguments)
    return given.purpose, given.base or None, given.only or None


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print the stacks; 1 where the one that is asked for is none of them."""
    purpose, base, only = parse(arguments)
    checkout = this_checkout()
    try:
        stacks = touched(checkout, purpose, None if only else base)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if only is not None:
        if only not in stacks:
            names = ", ".join(stacks) or "none: no stacks/Pulumi.STACK.yaml is committed"
            print(f"error: {only!r} is no stack to {purpose}: there is {names}", file=sys.stderr)
            return 1
        stacks = (only,)
    found = json.dumps(stacks)
    print(found)
    if file := environment.get(OUTPUT_VARIABLE):
        with Path(file).open("a", encoding="utf-8") as outputs:
            outputs.write(f"stacks={found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
