"""The Python that runs this program, as the commands of a stack start it again."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def python() -> str:
    """Return this environment's interpreter, by the one name that it has whoever started it.

    Relative to the checkout where it lies there, so that the checkout may be moved.
    """
    own = Path(sys.prefix, "bin", "python")
    return str(own.relative_to(CHECKOUT)) if own.is_relative_to(CHECKOUT) else str(own)
