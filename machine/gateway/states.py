"""What a server says of its models' states: OpenVINO Model Server's `GET /v1/config`.

`{"NAME": {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code":
"OK", "error_message": "OK"}}]}}`, and nothing of a model that is being loaded (model_server,
docs/model_server_rest_api_tfs.md, "Model Status").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

AVAILABLE = "AVAILABLE (OK)"
_UNTOLD = "not told of"


def states(content: object, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the state of each model that is told of, such as `AVAILABLE (OK)`.

    Of several versions of a model one that is available is enough. Where versions are `wanted`, as
    `NAME@VERSION`, it is the state of each of them.
    """
    if wanted:
        by_name = by_version(content)
        return tuple(_told(by_name[each]) if each in by_name else _UNTOLD for each in wanted)
    found: list[str] = []
    for model in _entries(content).values():
        versions = _list(_entries(model).get("model_version_status"))
        told = [_told(each) for each in versions]
        found += [AVAILABLE] if AVAILABLE in told else told[:1]
    return tuple(found)


def by_version(content: object) -> dict[str, dict[str, object]]:
    """Return what is told of each version of a model, by `NAME@VERSION`."""
    return {
        f"{name}@{_entries(each).get('version')}": _entries(each)
        for name, model in _entries(content).items()
        for each in _list(_entries(model).get("model_version_status"))
    }


def status_of(version: object) -> dict[str, object]:
    """Return the status in what is told of a version."""
    return _entries(_entries(version).get("status"))


def _told(version: object) -> str:
    return f"{_entries(version).get('state')} ({status_of(version).get('error_code')})"


def _entries(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
