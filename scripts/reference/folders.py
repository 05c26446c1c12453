"""Where what is: the folders of the project's code, by what their packages say of themselves."""

from __future__ import annotations

import ast
from pathlib import Path

_TOP = ("stacks", "components", "machine", "scripts", "emulator", "policy")


def folder_table(checkout: Path) -> str:
    """Return a Markdown table of the packages of code: folder, first sentence of its docstring.

    Raises ValueError for a package that says nothing of itself.
    """
    rows = ["| Folder | What |", "|---|---|"]
    for top in _TOP:
        within = sorted(file.parent for file in (checkout / top).glob("*/__init__.py"))
        for package in ((checkout / top), *within):
            name = package.relative_to(checkout)
            rows.append(f"| `{name}/` | {_said(package / '__init__.py')} |")
    return "\n".join(rows)


def _said(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{file} has no docstring: say in its first line what the folder is for")
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    sentence, stop, _ = paragraph.partition(". ")
    return (f"{sentence}." if stop else paragraph).replace("|", "\\|")
