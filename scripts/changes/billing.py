"""The stacks' output `billing`: what costs money, while it runs and while it is parked."""

from __future__ import annotations

from typing import cast

from scripts.changes import values
from scripts.changes.model import Bill


def read(output: object) -> tuple[Bill, ...] | None:
    """Return what the output lists; None where it is not known, or is no list."""
    if not isinstance(output, list):
        return None
    found = [values.entries(one) for one in values.items(values.plain(cast("object", output)))]
    return tuple(
        Bill(str(one.get("resource", "")), one.get("running") is True, one.get("parked") is True)
        for one in found
    )
