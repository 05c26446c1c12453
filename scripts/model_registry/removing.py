"""A version taken out of a registry."""

from __future__ import annotations

from functools import partial

from components.models.registry import RegistryModel, RegistryUrl
from scripts.model_registry.attempts import Patience, patiently
from scripts.model_registry.bucket import COMMAND, Bucket, MissingObject, Report

_DEFAULT_PATIENCE = Patience()


def remove(
    bucket: Bucket,
    url: RegistryUrl,
    model: RegistryModel,
    report: Report,
    *,
    patience: Patience = _DEFAULT_PATIENCE,
) -> int:
    """Delete a version, finished or not, and return how many objects that were.

    The manifest goes first, so that no half version can be read. A bucket that keeps versions of
    objects keeps these until its own rules end them. Raises `RegistryFault`.
    """
    manifest = url.key(model.manifest)
    keys = [manifest] if patiently(partial(bucket.stat, manifest), patience, report) else []
    files = url.key(f"{model.folder}/")
    keys += [stored.key for stored in patiently(lambda: [*bucket.list(files)], patience, report)]
    if not keys:
        raise MissingObject(
            f"{url} has no {model}: there is nothing to remove\nnext: look what is there: "
            f"{COMMAND} list '{url}'"
        )
    for key in keys:
        patiently(partial(bucket.delete, key), patience, report)
    report(f"removed {model} from {url}: {len(keys)} object(s)")
    return len(keys)
