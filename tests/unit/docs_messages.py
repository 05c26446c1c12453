"""Every message that the project can print, as far as it stands in its files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from scripts.reference.documents import CHECKOUT

_PLACES = ("components", "machine", "policy", "scripts", "stacks")
_SUFFIXES = {".py", ".sh", "", ".acme", ".own-ca", ".yaml", ".toml"}
# Two literals that Python takes for one.
_SEAM = re.compile(r"""(?<!["'\\])(["'])[ \t]*\n[ \t]*[rf]{0,2}["'](?!["'])""")
_CONSTANT = re.compile(r'^([A-Z][A-Z_]+) = "([^"\n]+)"$', re.MULTILINE)
_NAMED = re.compile(r"\{([A-Z][A-Z_]+)\}")
_LEAST = 8
"""Characters that the pieces of a quoted message must have to tell it from others."""


@cache
def _lines() -> tuple[str, ...]:
    """Return the lines of all files, each with the literals glued together that belong together."""
    texts: list[str] = []
    for place in _PLACES:
        for file in sorted((CHECKOUT / place).rglob("*")):
            if file.is_file() and file.suffix in _SUFFIXES and "__pycache__" not in file.parts:
                text = file.read_text(encoding="utf-8", errors="replace")
                texts.append(_SEAM.sub("", text).replace('\\"', '"'))
    constants = {name: value for text in texts for name, value in _CONSTANT.findall(text)}
    return tuple(
        _NAMED.sub(lambda found: constants.get(found[1], found[0]), line)
        for text in texts
        for line in text.splitlines()
    )


def is_printed(quoted: str) -> bool:
    """Whether the code has the message `quoted`, in which `…` stands for anything."""
    pieces = [piece.strip() for piece in quoted.split("…") if piece.strip()]
    if sum(map(len, pieces)) < _LEAST:
        return False
    first = max(pieces, key=len)
    return any(first in line and _in_order(pieces, line) for line in _lines())


def _in_order(pieces: Iterable[str], line: str) -> bool:
    at = 0
    for piece in pieces:
        found = line.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True
