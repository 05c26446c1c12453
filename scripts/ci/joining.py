"""Several stacks' Markdown as one text that fits a comment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_CHARACTERS = 60_000
"""GitHub refuses bodies over 65,536 characters (its own message says so)."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""A stack's name."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)$")
_OPENS = re.compile(r"<details\b")
_CLOSES = re.compile(r"</details>")


@dataclass(frozen=True)
class Part:
    """What is said of one stack; `text` is None where nothing was handed on."""

    stack: str
    text: str | None


def parts_of(texts: Mapping[str, str], expected: Sequence[str]) -> list[Part]:
    """Return a part for each stack that is `expected`, and for any other that there is."""
    names = [*dict.fromkeys([*expected, *sorted(texts)])]
    return [Part(name, texts.get(name)) for name in names]


def join(heading: str, parts: Sequence[Part], run_url: str, limit: int = MOST_CHARACTERS) -> str:
    """Return `heading` and every part, at most `limit` characters.

    Short parts stay whole; the long ones share what is left of the room, and say that they are
    cut.
    """
    where = f"[the run]({run_url})" if run_url else "the run"
    texts = [
        f"### {part.stack}\n\nNothing was handed on: {where} says why.\n"
        if part.text is None
        else part.text.strip() + "\n"
        for part in parts
    ]
    head = heading.strip() + "\n"
    room = limit - len(head) - len(texts)
    shares = _shares([len(text) for text in texts], room)
    cut_here = f"\n*Cut here: {where} has the whole.*\n"
    cut_texts = [cut(text, share, cut_here) for text, share in zip(texts, shares, strict=True)]
    return "\n".join([head, *cut_texts])


def _shares(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many characters each gets: all that it has, or an equal share of what is left."""
    shares = [0] * len(lengths)
    waiting = sorted(range(len(lengths)), key=lambda at: lengths[at])
    while waiting:
        at = waiting.pop(0)
        shares[at] = max(0, min(lengths[at], room // (len(waiting) + 1)))
        room -= shares[at]
    return shares


def cut(text: str, limit: int, notice: str) -> str:
    """Return `text`, or its first lines and `notice` in at most `limit` characters.

    What a cut line leaves open, a fence or a `<details>`, is closed before the notice.
    """
    if len(text) <= limit:
        return text
    kept: list[str] = []
    length = len(notice)
    fence, depth = "", 0
    closing = ""
    for line in text.splitlines(keepends=True):
        after_fence, after_depth = _after(line, fence, depth)
        after_closing = _closing(after_fence, after_depth)
        if length + len(line) + len(after_closing) > limit:
            break
        kept.append(line)
        length += len(line)
        fence, depth, closing = after_fence, after_depth, after_closing
    return f"{''.join(kept)}{closing}{notice}"[: max(limit, 0)]


def _after(line: str, fence: str, depth: int) -> tuple[str, int]:
    """Return the open fence and how many `<details>` are open once `line` has been read."""
    found = _FENCE.match(line.rstrip("\n"))
    if fence:
        ends = found and found[1].startswith(fence) and not found[2].strip()
        return ("" if ends else fence), depth
    if found:
        return found[1], depth
    return "", max(0, depth + len(_OPENS.findall(line)) - len(_CLOSES.findall(line)))


def _closing(fence: str, depth: int) -> str:
    return (f"{fence}\n" if fence else "") + "\n</details>\n" * depth
