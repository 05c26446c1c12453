"""How the files that a stack renders differ between two checkouts."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping

from scripts.changes.model import FileChange

_CONTEXT_LINES = 3
_BASE64 = re.compile(
    r"^([ \t]*)(?:[A-Za-z0-9+/]{60,}\n[ \t]*){2,}[A-Za-z0-9+/]*={0,2}$", re.MULTILINE
)


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FileChange]:
    """Yield the files that come, go or change, in the order of their paths."""
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old != new:
            kind = "added" if old is None else "removed" if new is None else "changed"
            yield FileChange(kind, path, tuple(diff(old or "", new or "", path)))


def diff(before: str, after: str, path: str = "") -> Iterator[str]:
    """Yield the lines of the unified diff of two texts; its head names `path` where there is one.

    A missing end of line at the end of the text is told, as `diff` does.
    """
    found = difflib.unified_diff(
        _readable(before).splitlines(),
        _readable(after).splitlines(),
        f"a/{path}" if before else "/dev/null",
        f"b/{path}" if after else "/dev/null",
        n=_CONTEXT_LINES,
        lineterm="",
    )
    lines = list(found)
    yield from lines if path else lines[2:]
    ends = [not text or text.endswith("\n") for text in (before, after)]
    if path and ends[0] != ends[1]:
        yield f"\\ {'Only before' if ends[0] else 'Only now'} the last line ends with a line break"


def _readable(text: str) -> str:
    """Return `text` with a line in place of each block of Base64, which nobody reads."""
    return _BASE64.sub(_told, text)


def _told(block: re.Match[str]) -> str:
    digest = hashlib.sha256(block[0].encode()).hexdigest()[:12]
    count = block[0].count("\n") + 1
    return f"{block[1]}[{count} lines of Base64, sha256 {digest}…]"
