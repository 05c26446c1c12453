"""A message that the docs quote is one that the code prints."""

import pytest
from docs_messages import is_printed
from docs_pages import DOCS, Page, page, pages

from stacks import PROGRAMS

_QUOTING = ("It says",)
"""How the header of a table begins whose first column quotes messages."""


def quoted(of: Page) -> list[str]:
    """Return the messages that the page's tables quote."""
    cells = [cells[0] for cells in of.rows(*_QUOTING)]
    return [message for cell in cells for message in Page("", cell).inline_code()]


def test_every_quoted_message_is_in_the_code():
    missing = {
        f"{name}: {message}"
        for name, found in pages().items()
        for message in quoted(found)
        if not is_printed(message)
    }
    assert missing == set()


def test_troubleshooting_quotes_messages_of_every_place_where_they_show():
    assert len(quoted(page(DOCS / "troubleshooting.md"))) > 80


def test_the_pages_of_stacks_say_how_they_fail():
    for name in PROGRAMS:
        found = page(DOCS / f"{name}.md")
        assert len(list(found.rows(*_QUOTING))) >= 3, name


@pytest.mark.parametrize(
    ("message", "printed"),
    [
        ("port … on … is taken", True),
        ("the stack … is locked by …@…", True),
        # In one line of the code, and in another order there.
        ("is locked by … the stack …", False),
        ("the endpoint has gone to sleep", False),
        # Too little to tell it from anything.
        ("… on …", False),
    ],
)
def test_a_quoted_message_is_sought_piece_by_piece(message: str, printed: bool):
    assert is_printed(message) is printed
