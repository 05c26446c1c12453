"""The package schema of what the stand-in serves: names and types, from the plugin's own tables."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .properties import (
    ALWAYS_IN_STATE,
    COMMAND_INPUTS,
    COMMAND_OUTPUTS,
    REPLACING,
    RUN_INPUTS,
    RUN_OUTPUTS,
    Kind,
)

_TEXT: Mapping[str, object] = {"type": "string"}
_TYPES: Mapping[Kind, Mapping[str, object]] = {
    Kind.TEXT: _TEXT,
    Kind.FLAG: {"type": "boolean"},
    Kind.TEXTS: {"type": "array", "items": _TEXT},
    Kind.TEXT_MAP: {"type": "object", "additionalProperties": _TEXT},
    Kind.VALUES: {"type": "array", "items": {"$ref": "pulumi.json#/Any"}},
    Kind.ASSETS: {"type": "object", "additionalProperties": {"$ref": "pulumi.json#/Asset"}},
    Kind.ARCHIVE: {"$ref": "pulumi.json#/Archive"},
}
_LOGGING = "command:local:Logging"


def schema(version: str) -> str:
    """The schema of package `command` at VERSION, as JSON, without what isn't served."""
    words = ("stdout", "stderr", "stdoutAndStderr", "none")
    return json.dumps(
        {
            "name": "command",
            "version": version,
            "description": "A stand-in for the published package: local commands only.",
            "types": {_LOGGING: {"type": "string", "enum": [{"value": word} for word in words]}},
            "resources": {
                "command:local:Command": {
                    "inputProperties": _properties(COMMAND_INPUTS),
                    "properties": _properties(COMMAND_OUTPUTS),
                    "required": ALWAYS_IN_STATE,
                }
            },
            "functions": {
                "command:local:run": {
                    "inputs": {"properties": _properties(RUN_INPUTS), "required": ["command"]},
                    "outputs": {
                        "properties": _properties(RUN_OUTPUTS),
                        "required": ["command", *ALWAYS_IN_STATE],
                    },
                }
            },
        }
    )


def _properties(kinds: Mapping[str, Kind]) -> dict[str, dict[str, object]]:
    described = {name: dict(_TYPES[kind]) for name, kind in kinds.items()}
    described["logging"] = {"$ref": f"#/types/{_LOGGING}"}
    if REPLACING in described:
        described[REPLACING]["replaceOnChanges"] = True
    return described
