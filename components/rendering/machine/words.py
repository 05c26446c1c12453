"""Words of systemd's unit files, quoted: systemd.service(5), "Command lines"; systemd.syntax(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_@/.,:=+-]+")


class WordError(ValueError):
    """A word that no unit file can hold."""


def quoted(word: str) -> str:
    """Return `word` as `Environment=` takes it, where a percent sign begins a specifier.

    Raises `WordError` for control characters.
    """
    if _PLAIN.fullmatch(word):
        return word
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in word):
        raise WordError(
            f"{word!r} holds a control character, such as the end of a line, which a unit can't "
            "have in its command line or environment: leave it out"
        )
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def argument(word: str) -> str:
    """Return `word` as one argument in `ExecStart=`, where a dollar sign begins a variable too.

    Raises `WordError`.
    """
    return quoted(word.replace("$", "$$"))


def command(words: Iterable[str]) -> str:
    """Return a command line as `ExecStart=` takes it.

    The first word has to be an absolute path. Raises `WordError`.
    """
    listed = list(words)
    if not listed or not listed[0].startswith("/"):
        raise WordError(f"a unit starts programs by their absolute path, not by {listed[:1]}")
    return " ".join(argument(word) for word in listed)


def variable(name: str) -> str:
    """Return the word of `ExecStart=` that stands for the whole value of the variable `name`."""
    return f"${{{name}}}"
