"""The documents as tests read them: blocks, inline code, tables, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.reference.documents import CHECKOUT

DOCS = CHECKOUT / "docs"
README = CHECKOUT / "README.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, and its text."""

    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file, named below the checkout."""

    name: str
    text: str

    @property
    def prose(self) -> str:
        """The text without fenced blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self, language: str) -> list[Block]:
        """Return its fenced blocks in `language`."""
        found = (Block(*each) for each in _FENCE.findall(self.text))
        return [block for block in found if block.language == language]

    def inline_code(self) -> list[str]:
        """Return what stands between single backticks, outside of blocks."""
        return _INLINE.findall(self.prose)

    def headings(self) -> list[str]:
        """Return the headings' texts."""
        return _HEADING.findall(self.prose)

    def anchors(self) -> set[str]:
        """Return the names that GitHub gives the headings."""
        return {_slug(heading) for heading in self.headings()}

    def links(self) -> list[str]:
        """Return where its links lead."""
        return _LINK.findall(_INLINE.sub("", self.prose))

    def rows(self, *columns: str) -> Iterator[list[str]]:
        """Yield the cells of each row in the tables whose header begins with `columns`."""
        inside = False
        for line in self.prose.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not line.startswith("|"):
                inside = False
            elif cells[: len(columns)] == list(columns):
                inside = True
            elif inside and not set(line) <= set("|-: "):
                yield cells


def page(path: Path) -> Page:
    """Return the page at `path`."""
    return Page(str(path.relative_to(CHECKOUT)), path.read_text(encoding="utf-8"))


def pages() -> dict[str, Page]:
    """Return the README and every page below docs/, by their names."""
    found = (page(path) for path in (README, *sorted(DOCS.rglob("*.md"))))
    return {each.name: each for each in found}


def _slug(heading: str) -> str:
    """Return a heading's name in links: github/docs, "Section links"."""
    text = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return text.strip().replace(" ", "-")
