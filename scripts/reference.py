"""`python -m scripts.reference`: writes what of the docs comes from the code.

That is the tables, each between `<!-- NAME -->` and `<!-- /NAME -->`, and the configuration's
JSON schemas. `--check` writes nothing and exits with 1 where one is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

from components.settings import Settings, takes
from stacks import PROGRAMS

CHECKOUT = Path(__file__).resolve().parent.parent


def key_table(schema: type[Settings], defaults: Mapping[str, object]) -> str:
    """Return a Markdown table of the keys: name, values that would do, default, meaning."""
    rows = ["| Key | Takes | Default | What |", "|---|---|---|---|"]
    for name, field in sorted(schema.model_fields.items()):
        default = defaults.get(name, field.get_default())
        rows.append(f"| `{name}` | {takes(field)} | {_shown(default)} | {field.description} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    if value is None or value == ():
        return "unset"
    if isinstance(value, tuple):
        return f"`{' '.join(str(part) for part in typing.cast(tuple[object, ...], value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none: must be set" if "PydanticUndefined" in repr(value) else f"`{value}`"


def generated() -> dict[Path, str]:
    """Return every document with its generated parts renewed: path -> text."""
    documents: dict[Path, str] = {}
    for name, program in PROGRAMS.items():
        page = CHECKOUT / "docs" / f"{name}.md"
        table = key_table(program.schema, program.defaults())
        documents[page] = renewed(page.read_text(encoding="utf-8"), {"keys": table})
        schema = json.dumps(program.schema.model_json_schema(), indent=2, ensure_ascii=False)
        documents[CHECKOUT / "docs" / "schema" / f"{name}.json"] = f"{schema}\n"
    return documents


def renewed(text: str, tables: Mapping[str, str]) -> str:
    """Return `text` with each generated table in its place; raises KeyError for a missing place."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(text):
            raise KeyError(name)
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` say which are not current."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if not current")
    check = parser.parse_args(arguments).check
    stale: list[str] = []
    for path, text in generated().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(CHECKOUT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for document in stale:
        print(f"{document} {'is not current' if check else 'was renewed'}", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
