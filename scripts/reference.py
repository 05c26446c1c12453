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

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from components.settings import Settings
from stacks import PROGRAMS

CHECKOUT = Path(__file__).resolve().parent.parent


def key_table(schema: type[Settings], defaults: Mapping[str, object]) -> str:
    """Return a Markdown table of the keys: name, values that would do, default, meaning."""
    rows = ["| Key | Takes | Default | What |", "|---|---|---|---|"]
    for name, field in sorted(schema.model_fields.items()):
        default = defaults.get(name, field.get_default())
        rows.append(f"| `{name}` | {_takes(field)} | {_shown(default)} | {field.description} |")
    return "\n".join(rows)


def _takes(field: FieldInfo) -> str:
    bounds = [mark for mark in field.metadata if isinstance(mark, Ge | Gt | Le)]
    return _kind(field.annotation) + "".join(_bound(mark) for mark in bounds)


def _bound(mark: Ge | Gt | Le) -> str:
    match mark:
        case Ge(ge=low):
            return f", from {low}"
        case Gt(gt=low):
            return f", over {low}"
        case Le(le=high):
            return f", to {high}"


def _kind(annotation: object) -> str:
    plain = {int: "a whole number", float: "a number", bool: "`true` or `false`", str: "a text"}
    if isinstance(annotation, type) and annotation in plain:
        return plain[annotation]
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "a list of texts"
    if origin is typing.Annotated:
        return _kind(arguments[0])
    return _kind(next(part for part in arguments if part is not type(None)))


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
