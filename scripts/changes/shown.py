"""Values and texts as Markdown shows them: nothing in them is markup, pings anybody or runs on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from scripts.changes import values
from scripts.changes.files import diff
from scripts.changes.model import ABSENT, Property

Clean = Callable[[str], str]
"""Takes out of a text the secrets that are known."""

LINE_CHARACTERS = 300
MESSAGE_CHARACTERS = 2000
_TEXT_CHARACTERS = 1000
_CODE_CHARACTERS = 150
_DIFF_LINES = 60
_LIST_ITEMS = 6

_MARKUP = re.compile(r"[\\`*<>\[\]|~]")
_ZERO_WIDTH_SPACE = "\u200b"
_NOT_PRINTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def text(words: str) -> str:
    """Return `words` on one line, as text of Markdown: no markup, no table cell, no mention."""
    one_line = _one_line(words, _TEXT_CHARACTERS)
    quiet = one_line.replace("&", "&amp;").replace("@", f"@{_ZERO_WIDTH_SPACE}")
    return _MARKUP.sub(lambda found: f"\\{found[0]}", quiet)


def code(words: str) -> str:
    """Return `words` on one line as code, in a table's cell as elsewhere."""
    one_line = _one_line(words, _CODE_CHARACTERS).replace("|", "\\|") or " "
    longest = max((len(run) for run in re.findall("`+", one_line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {one_line} {fence}" if longest else f"{fence}{one_line}{fence}"


def _one_line(words: str, most: int) -> str:
    line = " ".join(_NOT_PRINTED.sub("\ufffd", words).split())
    return line if len(line) <= most else f"{line[:most]} …"


def fenced(lines: Iterable[str], language: str = "diff") -> list[str]:
    """Return `lines` in a fence that none of them ends."""
    held = [_NOT_PRINTED.sub("\ufffd", line) for line in lines]
    runs = (len(run) for line in held for run in re.findall("`+", line))
    fence = "`" * max(3, max(runs, default=0) + 1)
    return [f"{fence}{language}", *held, fence]


def cut(line: str, most: int = LINE_CHARACTERS) -> str:
    """Return a line that is not too long, and says where it was."""
    return line if len(line) <= most else f"{line[:most]} … ({len(line)} characters)"


def value(held: object) -> str:
    """Return a value on one line; what stands in brackets for one, as it is."""
    if held in (values.SECRET, values.UNKNOWN):
        return str(held)
    return json.dumps(held, ensure_ascii=False)


def listed(names: Sequence[str]) -> str:
    """Return names of properties as code, the first few of them."""
    more = len(names) - _LIST_ITEMS
    shown = ", ".join(code(name) for name in names[:_LIST_ITEMS])
    return f"{shown} and {more} more" if more > 0 else shown


def difference(one: Property, clean: Clean) -> Iterator[str]:
    """Yield the lines that show what a property was and will be, for a `diff` fence."""
    before, after = (_lines(side) for side in (one.before, one.after))
    if one.before == one.after == values.SECRET:
        found = [f"  {values.SECRET}, another one"]
    elif len(before) > 1 and len(after) > 1:
        lines = diff("\n".join(before), "\n".join(after))
        found = ["  …" if line.startswith("@@ ") else line for line in lines]
    else:
        found = [f"- {line}" for line in before] + [f"+ {line}" for line in after]
    for line in found[:_DIFF_LINES]:
        yield cut(clean(line))
    if len(found) > _DIFF_LINES:
        yield f"  … {len(found) - _DIFF_LINES} lines more"


def _lines(held: object) -> list[str]:
    """Return the lines that show a value: one that is small, several of a text or of a tree."""
    if held is ABSENT:
        return []
    if held == values.SECRET:
        return [values.SECRET]
    if isinstance(held, str):
        inner = values.json_container(held)
        if inner is not None:
            return json.dumps(inner, indent=1, ensure_ascii=False).splitlines()
        if "\n" in held.strip("\n"):
            return held.splitlines()
    if len(value(held)) > LINE_CHARACTERS // 3 and isinstance(held, (dict, list)):
        return json.dumps(cast("object", held), indent=1, ensure_ascii=False).splitlines()
    return [value(cast("object", held))]
