"""Every document with its generated parts renewed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.reference.engines import engine_table
from scripts.reference.first_up import FirstUps
from scripts.reference.folders import folder_table
from scripts.reference.keys import json_schema, key_table
from scripts.reference.machines import gpu_table, gpu_tuning_table, series_table, tuning_table
from scripts.reference.outputs import output_table
from scripts.reference.resources import billing_table, resource_table
from stacks import PROGRAMS

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def generated() -> dict[Path, str]:
    """Return every document with its generated parts renewed: path -> text.

    Raises `NoPlaceError` where a page, or in it the place of a part, is not there.
    """
    tables = {
        "README.md": {"engines": engine_table()},
        "docs/architecture.md": {"folders": folder_table(CHECKOUT)},
        "docs/cpu-vm.md": {"series": series_table(), "tuning": tuning_table()},
        "docs/gpu-vm.md": {"gpus": gpu_table(), "tuning": gpu_tuning_table()},
    }
    documents: dict[Path, str] = {}
    first_ups = FirstUps()
    for name, program in PROGRAMS.items():
        tables.setdefault(f"docs/{name}.md", {}).update(
            keys=key_table(program.schema, program.defaults()),
            outputs=output_table(program, first_ups),
            resources=resource_table(program, first_ups),
            billing=billing_table(program, first_ups),
        )
        documents[CHECKOUT / "docs" / "schema" / f"{name}.json"] = json_schema(program.schema)
    for page, parts in tables.items():
        path = CHECKOUT / page
        if not path.exists():
            raise NoPlaceError(f"there is no {page}: write it, with a place for {', '.join(parts)}")
        documents[path] = renewed(path.read_text(encoding="utf-8"), parts, page)
    return documents


class NoPlaceError(Exception):
    """A page is not there, or has no place for a generated part."""


def renewed(text: str, tables: Mapping[str, str], page: str) -> str:
    """Return the text of `page` with each generated table in its place.

    Raises `NoPlaceError` for a missing place.
    """
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(text):
            raise NoPlaceError(
                f"{page} has no place for the table `{name}`: put a line `<!-- {name} -->` and a "
                f"line `<!-- /{name} -->` where it belongs"
            )
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text
