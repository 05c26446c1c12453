"""Who owns an object's fields: what a creation gave us goes over to what we apply.

A creation's fields are owned by `CREATOR` as an update's, which server-side apply counts as
another manager: applied as they are, fields that are no longer declared would stay for good.
"""

from __future__ import annotations

from typing import cast

from .api import Object, metadata

CREATOR = "pulumi-kubernetes"
PREFIX = "pulumi-kubernetes-"
_TAKEN_OVER = frozenset({CREATOR, "kubectl", "before-first-apply"})


def taken_over(live: Object, manager: str) -> list[Object]:
    """The JSON patch that gives `manager` what was created; empty where there is nothing to give.

    It fails where the object has changed since LIVE was read.
    """
    entries = cast("list[Object]", metadata(live).get("managedFields") or [])
    ours = [entry for entry in entries if _is_ours(entry, manager)]
    taken = [entry for entry in entries if _is_taken_over(entry)]
    if not taken:
        return []
    fields: Object = {}
    for entry in (*ours, *taken):
        fields = _union(fields, cast("Object", entry.get("fieldsV1") or {}))
    merged: Object = {
        **(ours or taken)[0],
        "manager": manager,
        "operation": "Apply",
        "fieldsV1": fields,
    }
    kept = [entry for entry in entries if entry not in ours and entry not in taken]
    version = metadata(live).get("resourceVersion")
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": [merged, *kept]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]


def _is_ours(entry: Object, manager: str) -> bool:
    return (entry.get("manager"), entry.get("operation")) == (manager, "Apply")


def _is_taken_over(entry: Object) -> bool:
    applied_by_hand = (entry.get("manager"), entry.get("operation")) == ("kubectl", "Apply")
    updated = entry.get("operation") == "Update" and entry.get("manager") in _TAKEN_OVER
    return (updated or applied_by_hand) and not entry.get("subresource")


def _union(one: Object, other: Object) -> Object:
    """Both sets of fields: an object of objects, whose leaves are empty."""
    return {
        name: _union(
            cast("Object", one.get(name) or {}),
            cast("Object", other.get(name) or {}),
        )
        for name in (*one, *(name for name in other if name not in one))
    }
