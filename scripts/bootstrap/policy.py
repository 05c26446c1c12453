"""The policy pack (`policy/`), for pulumi's command line."""

from __future__ import annotations

from collections.abc import Mapping

from scripts.bootstrap.environment import Prepared

OPTION = "--policy"
"""What asks scripts/up for it."""


def arguments(ready: Prepared, environment: Mapping[str, str]) -> list[str]:
    """Return pulumi's arguments for the pack, whose own virtual environment is made ready.

    Raises `BootstrapError`.
    """
    raise NotImplementedError
