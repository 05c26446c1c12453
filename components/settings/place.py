"""Regions and names of buckets in Google Cloud, for programs that make no machine."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from components.catalogue.gcp import CatalogueError, check_region

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9_-]{1,61}[a-z0-9])")


def _region(value: str) -> str:
    try:
        check_region(value)
    except CatalogueError as error:
        raise ValueError(str(error)) from None
    return value


def _bucket(value: str) -> str:
    if _BUCKET.fullmatch(value) is None or value.startswith("goog") or "google" in value:
        raise ValueError(
            "it takes 3 to 63 lower-case letters, digits, - and _, with a letter or digit at each "
            "end, and without Google's own name"
        )
    return value


Region = Annotated[str, AfterValidator(_region)]
"""A region's name. One that the catalogue does not know is taken: see `region_warning`."""
BucketName = Annotated[str, AfterValidator(_bucket)]
"""The name of a bucket of Cloud Storage (cloud.google.com/storage/docs/buckets)."""


def region_warning(region: str) -> tuple[str, ...]:
    """Return what is to be said of a region that the catalogue does not know, if anything."""
    said = check_region(region)
    return () if said is None else (said,)
