"""A model file as the local stack's commands pass it on: pulled once, found again at a start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from components.models.reference import parse_model_reference
from scripts.bootstrap.places import cache_root
from scripts.models.ensure import ModelError, ModelFile, ensure_model
from scripts.serve.errors import ServeError


def pull(reference: str, report: Callable[[str], None]) -> ModelFile:
    """Have the file that `reference` names in the cache; raises `ServeError` where it can't be."""
    try:
        return ensure_model(
            parse_model_reference(reference), cache=cache_root(os.environ), report=report
        )
    except ModelError as error:
        raise ServeError(str(error)) from None


def again(pulled: str, report: Callable[[str], None]) -> ModelFile:
    """Return the file that an earlier `pull` printed, pulled again where it is gone.

    Raises `ServeError` where its content is another now.
    """
    earlier = json.loads(pulled)
    found = pull(earlier["reference"], report)
    if found.sha256 != earlier["sha256"]:
        raise ServeError(
            f"{earlier['reference']} has changed since it was pulled: its sha256 was "
            f"{earlier['sha256']} and is {found.sha256}\n"
            "next: say which content you want: scripts/pulumi config set model with #sha256=… "
            "after a URL, or @REVISION after a repository"
        )
    return found


def as_json(model: ModelFile) -> str:
    """One line of JSON, the same for the same file wherever its cache lies."""
    return json.dumps(
        {
            "reference": model.reference,
            "sha256": model.sha256,
            "size_bytes": model.size_bytes,
        }
    )
