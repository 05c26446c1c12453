"""The globs of `assetPaths` and `archivePaths`, and the files that they name.

The syntax is that of github.com/gobwas/glob with "/" as separator: `*` and `?` stop at "/",
`**` doesn't, `[a-z]`, `[!abc]`, `{one,two}` and `\\` before a special character. A glob that
begins with "!" takes files away again; globs count in the order given. Where that library errs
(an empty alternative, `***`, wildcards within braces, `?` beside a letter that is not ASCII) this
keeps to its documented syntax.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import FilesNotCollected


@dataclass(frozen=True)
class Rule:
    """One glob: what it matches, and whether it takes away."""

    pattern: re.Pattern[str]
    excludes: bool


def matching_files(directory: str, globs: Sequence[str]) -> list[str]:
    """The files under DIRECTORY that GLOBS name, as sorted paths relative to it.

    Every entry that is no folder counts as a file, links and hidden files too; links to folders
    are not followed.

    Raises:
        FilesNotCollected: a glob is malformed, or a folder can't be read.
    """
    if not directory:
        raise FilesNotCollected("dir is empty: files are collected from a named folder or none")
    rules = [compiled(glob) for glob in globs]
    return [path for path in _files(Path(directory), "") if _chosen(path, rules)]


def compiled(glob: str) -> Rule:
    """GLOB as a rule.

    Raises:
        FilesNotCollected: a range in it is malformed.
    """
    body = glob.removeprefix("!")
    try:
        pattern = _Translation(body).regex()
    except ValueError as error:
        raise FilesNotCollected(f"the glob {glob!r} is malformed: {error}") from error
    return Rule(re.compile(pattern, re.DOTALL), excludes=glob.startswith("!"))


def _chosen(path: str, rules: Sequence[Rule]) -> bool:
    chosen = False
    for rule in rules:
        if rule.pattern.fullmatch(path):
            chosen = not rule.excludes
    return chosen


def _files(root: Path, below: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(root / below), key=lambda entry: entry.name)
    except OSError as error:
        raise FilesNotCollected(f"{error.filename} can't be read: {error.strerror}") from error
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(root, path)
        else:
            yield path


class _Translation:
    """Turns one glob into a regular expression."""

    def __init__(self, glob: str) -> None:
        self._glob = glob
        self._at = 0

    def regex(self) -> str:
        """The regular expression.

        Raises:
            ValueError: a range is malformed; the text says how.
        """
        parts: list[str] = []
        depth = 0
        while self._at < len(self._glob):
            char = self._take()
            match char:
                case "*":
                    parts.append(".*" if self._take_if("*") else "[^/]*")
                case "?":
                    parts.append("[^/]")
                case "[":
                    parts.append(self._range())
                case "{":
                    depth += 1
                    parts.append("(?:")
                case "}" if depth:
                    depth -= 1
                    parts.append(")")
                case "," if depth:
                    parts.append("|")
                case "\\":
                    parts.append(re.escape(self._take()))
                case _:
                    parts.append(re.escape(char))
        # Braces left open end with the glob.
        return "".join(parts) + ")" * depth

    def _take(self) -> str:
        char = self._glob[self._at : self._at + 1]
        self._at += 1
        return char

    def _take_if(self, wanted: str) -> bool:
        if self._glob[self._at : self._at + 1] != wanted:
            return False
        self._at += 1
        return True

    def _range(self) -> str:
        """What follows "[": characters or one span, either may be negated."""
        inverted = "^" if self._take_if("!") else ""
        first = self._take()
        if first and self._take_if("-"):
            last = self._take()
            if not last:
                raise ValueError("a range has no end")
            if last < first:
                raise ValueError(f"in a range, {last!r} comes before {first!r}")
            chars = f"{re.escape(first)}-{re.escape(last)}"
        else:
            self._at -= 1
            chars = self._listed()
            if not chars:
                raise ValueError("a range is empty")
        if not self._take_if("]"):
            raise ValueError("a range is not closed")
        return f"[{inverted}{chars}]"

    def _listed(self) -> str:
        chars: list[str] = []
        while self._at < len(self._glob) and self._glob[self._at] != "]":
            self._take_if("\\")
            chars.append(re.escape(self._take()))
        return "".join(chars)
