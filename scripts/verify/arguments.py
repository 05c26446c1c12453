"""Command lines of verifications: their kinds of values, and what is never repeated of them."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from scripts.verify.options import UsageError


class Parser(argparse.ArgumentParser):
    """Raises `UsageError`, and repeats no value: one of them may be a key given by mistake."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` with what of `message` is no value."""
        shown = re.sub(
            r": invalid .* value: .*", " takes another kind of value; see --help", message
        )
        shown = re.sub(r": ignored explicit argument .*", " takes no value; see --help", shown)
        raise UsageError(shown)


def amount(text: str) -> float:
    """Return a number from 0 on. Raises `ValueError`."""
    value = float(text)
    if not 0 <= value < 10**9:
        raise ValueError
    return value


def amount_above_zero(text: str) -> float:
    """Return a number above 0. Raises `ValueError`."""
    value = amount(text)
    if value == 0:
        raise ValueError
    return value


def positive(text: str) -> int:
    """Return a whole number from 1 on. Raises `ValueError`."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value
