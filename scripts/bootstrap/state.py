"""scripts/state: where a stack's state lies, and how it gets elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.places import Checkout


def state(checkout: Checkout, arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run `scripts/state ARGUMENTS` and return its exit status."""
    raise NotImplementedError


def take_home(ready: Prepared, name: str) -> int:
    """Move the state of a `ci` stack that has come up into the bucket that it made."""
    raise NotImplementedError
