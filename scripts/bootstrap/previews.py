"""scripts/preview: what an `up` would change, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.bootstrap.places import Checkout


def preview(checkout: Checkout, arguments: list[str], environment: Mapping[str, str]) -> int:
    """Print the Markdown and return the exit status."""
    raise NotImplementedError
