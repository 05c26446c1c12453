"""A model file as the local stack's commands pass it on: pulled once, found again at a start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.model_reference import parse_model_reference
from scripts.bootstrap.places import cache_root
from scripts.models.ensure import ModelError, ModelFile, ensure_model
from scripts.serve.errors import ServeError


@dataclass(frozen=True)
class PulledModel:
    """A model file on this machine. `size_bytes` counts all its parts."""

    path: Path
    sha256: str
    size_bytes: int
    reference: str
    stand_in: bool


def pull(reference: str, report: Callable[[str], None]) -> PulledModel:
    """Have the file that `reference` names in the cache; raises `ServeError` where it can't be."""
    try:
        found = ensure_model(
            parse_model_reference(reference), cache=cache_root(os.environ), report=report
        )
    except ModelError as error:
        raise ServeError(str(error)) from None
    return _pulled(found)


def again(pulled: str, report: Callable[[str], None]) -> PulledModel:
    """Return the file that an earlier `pull` printed, pulled again where it is gone.

    Raises `ServeError` where its content is another now.
    """
    earlier = json.loads(pulled)
    found = pull(earlier["reference"], report)
    if found.sha256 != earlier["sha256"]:
        raise ServeError(
            f"{earlier['reference']} has changed since it was pulled: its sha256 was "
            f"{earlier['sha256']} and is {found.sha256}\n"
            "next: run pulumi up again to take the new one"
        )
    return found


def as_json(model: PulledModel) -> str:
    """One line of JSON, the same for the same file wherever its cache lies."""
    return json.dumps(
        {
            "reference": model.reference,
            "sha256": model.sha256,
            "size_bytes": model.size_bytes,
            "stand_in": model.stand_in,
        }
    )


def _pulled(found: ModelFile) -> PulledModel:
    return PulledModel(
        path=found.path,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        reference=found.reference,
        stand_in=found.stand_in,
    )
