"""What the API server makes of an object besides what was declared of it."""

from __future__ import annotations

from typing import cast

from cluster.api import Object


def rewritten(declared: object, live: object, path: str = "") -> list[str]:
    """Return what of `declared` the server has as something else."""
    if isinstance(declared, dict):
        entries = cast("Object", declared)
        kept = cast("Object", live) if isinstance(live, dict) else {}
        return [
            said
            for key, value in entries.items()
            # What is written there is read elsewhere, and an empty field is left out.
            if key != "stringData" and value not in ({}, [])
            for said in rewritten(value, kept.get(key), f"{path}.{key}")
        ]
    if isinstance(declared, list):
        pieces = cast("list[object]", declared)
        found = cast("list[object]", live) if isinstance(live, list) else []
        if len(found) != len(pieces):
            return [f"{path}: {declared!r} is {live!r}"]
        return [
            said
            for number, (one, other) in enumerate(zip(pieces, found, strict=True))
            for said in rewritten(one, other, f"{path}[{number}]")
        ]
    return [] if declared == live else [f"{path}: {declared!r} is {live!r}"]
