"""What a server says of its models' states: OpenVINO Model Server's `GET /v1/config`.

`{"NAME": {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code":
"OK", "error_message": "OK"}}]}}`, and nothing of a model that is being loaded (model_server,
docs/model_server_rest_api_tfs.md, "Model Status").
"""

from __future__ import annotations

from typing import cast

AVAILABLE = "AVAILABLE (OK)"


def states(content: object) -> tuple[str, ...]:
    """Return the state of each model that is told of, such as `AVAILABLE (OK)`.

    Of several versions of a model one that is available is enough.
    """
    found: list[str] = []
    for model in _entries(content).values():
        versions = _list(_entries(model).get("model_version_status"))
        told = [f"{_entries(each).get('state')} ({_code(each)})" for each in versions]
        found += [AVAILABLE] if AVAILABLE in told else told[:1]
    return tuple(found)


def _code(version: object) -> object:
    return _entries(_entries(version).get("status")).get("error_code")


def _entries(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
