"""The keys of a program's configuration, from its schema."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping

from components.settings import Settings, takes


def key_table(schema: type[Settings], defaults: Mapping[str, object]) -> str:
    """Return a Markdown table of the keys: name, values that would do, default, meaning."""
    rows = ["| Key | Takes | Default | What |", "|---|---|---|---|"]
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    for name, field in sorted(fields.items()):
        default = defaults.get(name, field.get_default())
        rows.append(f"| `{name}` | {takes(field)} | {_shown(default)} | {field.description} |")
    return "\n".join(rows)


def json_schema(schema: type[Settings]) -> str:
    """Return the schema as the text of a JSON file."""
    return f"{json.dumps(schema.model_json_schema(), indent=2, ensure_ascii=False)}\n"


def _shown(value: object) -> str:
    if value is None or value in ((), {}):
        return "unset"
    if isinstance(value, tuple):
        return f"`{' '.join(str(part) for part in typing.cast(tuple[object, ...], value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none: must be set" if "PydanticUndefined" in repr(value) else f"`{value}`"
