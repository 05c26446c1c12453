"""`python -m scripts.inventory [STACK…]`: what stacks make, as far as a reviewer has to see it.

It holds `tests/inventory/` to what the programs register on the recording engine, without a cloud
and without a person's own configuration; `--update` writes it anew. Exit status: 1 where a file is
not current, 2 for arguments that would not do.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.inventory.document import FOLDER, file_of, text_of
from stacks import PROGRAMS


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """Compare the inventories in `folder`, or write them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.inventory", description=__doc__)
    parser.add_argument("stacks", metavar="STACK", nargs="*", help="a program's name; none: all")
    parser.add_argument("--update", action="store_true", help="write the files anew")
    options = parser.parse_args(arguments)
    unknown = sorted({*options.stacks} - PROGRAMS.keys())
    if unknown:
        parser.error(f"{', '.join(unknown)}: the programs are {', '.join(PROGRAMS)}")
    stale = False
    for program in options.stacks or PROGRAMS:
        file = file_of(program, folder)
        was = file.read_text(encoding="utf-8") if file.exists() else ""
        now = text_of(program)
        if was == now:
            continue
        stale = True
        if options.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(now, encoding="utf-8")
            print(f"{file.name} was written anew", file=sys.stderr)
        else:
            sys.stdout.writelines(difference(was, now, file.name))
    if not stale:
        print("every inventory is current", file=sys.stderr)
    elif not options.update:
        print("next: scripts/test --update-inventory, and look at the diff", file=sys.stderr)
    return 1 if stale and not options.update else 0


def difference(was: str, now: str, name: str) -> list[str]:
    """Return the lines of a unified diff of the inventory `name`."""
    return [
        *difflib.unified_diff(
            was.splitlines(keepends=True), now.splitlines(keepends=True), name, f"{name}, now", n=1
        )
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
