"""A version of a model brought from a registry to a folder: whole and checked, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience, patiently
from scripts.model_registry.bucket import Bucket, Report
from scripts.model_registry.fetching import fetch
from scripts.model_registry.listing import missing
from scripts.model_registry.local import Place, disk_faults, is_file
from scripts.model_registry.manifest import Manifest, read_manifest
from scripts.models.progress import amount

_DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True)
class Pulled:
    """A version that is there, in `folder`. `fetched_bytes` came over the network just now."""

    model: RegistryModel
    folder: Path
    manifest: Manifest
    fetched_bytes: int


def pull(
    bucket: Bucket,
    url: RegistryUrl,
    model: RegistryModel,
    into: Path,
    report: Report,
    *,
    patience: Patience = _DEFAULT_PATIENCE,
) -> Pulled:
    """Have `model` in `into`/NAME/VERSION. Where all of it is there, the bucket is not asked.

    A pull that was cut off, by the network or with its process, goes on from where it was. Nothing
    is ever in that folder but a whole version. Raises `RegistryFault`, which is `DiskFull` where
    there is no room, `MissingBucket` and `MissingObject` where there is nothing to pull.
    """
    place = Place(into, model)
    with disk_faults(into):
        there = place.whole(url, report)
        if there is not None:
            return Pulled(model, place.folder, there, 0)
        with place.locked(patience, report):
            # Another process may have pulled it while this one waited.
            there = place.whole(url, report)
            if there is not None:
                return Pulled(model, place.folder, there, 0)
            return _pull(bucket, url, place, report, patience)


def _pull(
    bucket: Bucket, url: RegistryUrl, place: Place, report: Report, patience: Patience
) -> Pulled:
    model = place.model
    manifest = patiently(partial(_manifest, bucket, url, model), patience, report)
    place.begin(manifest)
    wanted = [
        file for file in manifest.files if not is_file(place.arrived / file.path, file, report)
    ]
    begun = sum(
        min(place.partial(file).stat().st_size, file.size_bytes)
        for file in wanted
        if place.partial(file).exists()
    )
    missing_bytes = sum(file.size_bytes for file in wanted) - begun
    place.check_space(missing_bytes)
    if wanted:
        report(
            f"pulling {model} ({amount(manifest.size_bytes)}, {len(manifest.files)} file(s)) from "
            f"{url}: {amount(missing_bytes)} to come"
        )
    received = 0
    for file in wanted:
        came = place.partial(file)
        key = url.key(f"{model.folder}/{file.path}")
        received += fetch(bucket, key, file, came, report, patience=patience)
        path = place.arrived / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        came.replace(path)
    place.settle(manifest, url)
    report(f"pulled {model}: {amount(manifest.size_bytes)}, sha256 {manifest.sha256}")
    return Pulled(model, place.folder, manifest, received)


def _manifest(bucket: Bucket, url: RegistryUrl, model: RegistryModel) -> Manifest:
    manifest = read_manifest(bucket, url, model)
    if manifest is None:
        raise missing(bucket, url, model)
    return manifest
