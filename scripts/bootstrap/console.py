"""What people read: notes and errors, on stderr."""

from __future__ import annotations

import sys


class BootstrapError(Exception):
    """What went wrong and what to do next; shown as one message, without a traceback."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.problem}\nnext: {self.next_step}"


def note(message: str) -> None:
    """Print one line for the person who watches."""
    print(message, file=sys.stderr, flush=True)


def megabytes(size_bytes: int) -> str:
    """Return a size as people read it, such as `82 MB`."""
    return f"{size_bytes / 1e6:.0f} MB"
