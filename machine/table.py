"""JSON whose entries are asked for by kind, and refused by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

_T = TypeVar("_T")


class WrongError(ValueError):
    """A setting that is missing or of another kind than it has to be."""


class Table:
    """A JSON object whose entries are asked for by kind."""

    def __init__(self, content: object, place: str) -> None:
        self._place = place
        if not isinstance(content, dict):
            raise WrongError(f"{place or 'it'} has to be an object, and is {_kind(content)}")
        self._content = cast("dict[str, object]", content)

    def keys(self) -> list[str]:
        """The names of the entries."""
        return list(self._content)

    def only(self, *keys: str) -> None:
        """Raise `WrongError` for an entry that is none of `keys`."""
        for key in self._content:
            if key not in keys:
                raise WrongError(f"{self._named(key)} is not known here: {', '.join(keys)} are")

    def text(self, key: str) -> str:
        """The text at `key`."""
        return self._typed(key, str, "a text")

    def number(self, key: str) -> int:
        """The whole number at `key`."""
        if isinstance(self._content.get(key), bool):
            raise self._wrong(key, "a whole number")
        return self._typed(key, int, "a whole number")

    def flag(self, key: str) -> bool:
        """The true or false at `key`."""
        return self._typed(key, bool, "true or false")

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of texts at `key`."""
        entries = cast("list[object]", self._typed(key, list, "a list of texts"))
        if not all(isinstance(entry, str) for entry in entries):
            raise self._wrong(key, "a list of texts")
        return tuple(map(str, entries))

    def table(self, key: str) -> Table:
        """The object at `key`."""
        return Table(self._content.get(key), self._named(key))

    def tables(self, key: str) -> list[Table]:
        """The list of objects at `key`."""
        entries = cast("list[object]", self._typed(key, list, "a list of objects"))
        return [Table(entry, f"{self._named(key)}[{index}]") for index, entry in enumerate(entries)]

    def maybe(self, read: Callable[[str], _T], key: str) -> _T | None:
        """What `read` gives for `key`; None where it is null. It has to be there."""
        if key in self._content and self._content[key] is None:
            return None
        return read(key)

    def refuse(self, key: str, values: str) -> WrongError:
        """Return the error of a value at `key` that is none of `values`."""
        return WrongError(
            f"{self._named(key)} is {self._content.get(key)!r}, and has to be {values}"
        )

    def _typed(self, key: str, kind: type[_T], words: str) -> _T:
        value = self._content.get(key)
        if not isinstance(value, kind):
            raise self._wrong(key, words)
        return value

    def _wrong(self, key: str, words: str) -> WrongError:
        if key not in self._content:
            return WrongError(f"{self._named(key)} is missing: {words}")
        return WrongError(
            f"{self._named(key)} has to be {words}, and is {_kind(self._content[key])}"
        )

    def _named(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key


def _kind(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)
