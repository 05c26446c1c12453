"""What a program makes at a first `up`, and what of it bills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from scripts.reference.first_up import FirstUps, can_park
from stacks import Program


def resource_table(program: Program, first_ups: FirstUps) -> str:
    """Return a Markdown table of the resources: type, how many, names in the stack's state."""
    names: dict[str, list[str]] = {}
    for entry in first_ups.of(program).registrations.values():
        names.setdefault(entry.token, []).append(entry.name)
    rows = ["| Type | Number | Names |", "|---|---|---|"]
    for token, found in sorted(names.items()):
        shown = ", ".join(f"`{name}`" for name in sorted(found))
        rows.append(f"| `{token}` | {len(found)} | {shown} |")
    return "\n".join(rows)


def billing_table(program: Program, first_ups: FirstUps) -> str:
    """Return a Markdown table of the output `billing`; a sentence where nothing bills.

    A program that can't be parked has no column for that.
    """
    entries = cast("Sequence[Mapping[str, object]]", first_ups.of(program).outputs["billing"].value)
    if not entries:
        return "Nothing of it bills."
    columns = ("running", "parked") if can_park(program) else ("running",)
    rows = [f"| Resource | {' | '.join(map(str.capitalize, columns))} |"]
    rows.append("|---" * (len(columns) + 1) + "|")
    for entry in entries:
        cells = ("bills" if entry[when] else "" for when in columns)
        rows.append(f"| {entry['resource']} | {' | '.join(cells)} |")
    return "\n".join(rows)
