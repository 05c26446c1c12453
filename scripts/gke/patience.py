"""A change of an object that is tried again while what hinders it passes."""

from __future__ import annotations

from collections.abc import Callable, Container

from scripts.gke.api import ClusterError
from scripts.verify.bounds import Deadline

PATIENCE_SECONDS = 120.0
"""How long is waited for what is to pass: an API server that does not answer among it."""
_PAUSE_SECONDS = 2.0


def patiently(
    attempt: Callable[[], None],
    what: str,
    passing: Container[int | None],
    deadline: Deadline,
    pause: Callable[[float], None],
) -> None:
    """Have `attempt` done, which changes `what`.

    `passing` are HTTP statuses that pass, besides those of a busy server. Raises `ClusterError`,
    which names `what`, for any other, and once `deadline` is over.
    """
    while True:
        try:
            return attempt()
        except ClusterError as error:
            passes = error.passing or error.status in passing
            if not passes or deadline.remaining() == 0.0:
                raise ClusterError(f"{what}: {error}", error.status) from None
            pause(min(_PAUSE_SECONDS, deadline.remaining()))
