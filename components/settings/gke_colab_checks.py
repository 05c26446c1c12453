"""What the keys of a Colab runtime must fit together for: its node, its disks, its backup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from components.catalogue.gke import wrong_storage_class
from components.container_images import colab_images
from components.settings.base import Problem
from components.settings.gke_fit import commands
from components.settings.secrets import step
from components.sizing.colab_fit import has_any, runtime_shortfall

if TYPE_CHECKING:
    from components.settings.gke_colab import GkeColabSettings

_IMAGE_DISK_GB = 100
"""What Google's documentation wants free for its image to be unpacked in."""


def _runtime_finds_a_node(settings: GkeColabSettings) -> Iterator[Problem]:
    # Where nothing is left for any pod, those that serve models say so.
    if not settings.runs_runtime or not (settings.parked or has_any(settings.machine())):
        return
    short = runtime_shortfall(
        settings.machine(),
        settings.wanted_runtime(),
        settings.node_machine_type,
        settings.region if settings.zone else "",
    )
    if short is None:
        return
    said = f"{short.said}; {short.offered}" if short.changes else short.said
    sets = [f"scripts/pulumi config set {key} VALUE" for key in short.unset]
    parks = "scripts/pulumi config set runtime_replicas 0"
    steps = [commands(short.changes) or " && ".join(sets), parks]
    yield Problem(short.key, said, ", or ".join(part for part in steps if part))


def _runtime_has_its_own_namespace(settings: GkeColabSettings) -> Iterator[Problem]:
    if settings.runtime_namespace == settings.namespace:
        yield same_namespace()


def same_namespace() -> Problem:
    """Return what is wrong where the runtime would stand in the endpoint's namespace."""
    return Problem(
        "runtime_namespace",
        "that is the endpoint's, and what runs in a notebook must not reach its keys and models",
        "scripts/pulumi config rm runtime_namespace",
    )


def _disks_are_the_machines(settings: GkeColabSettings) -> Iterator[Problem]:
    machine, storage_class = settings.machine(), settings.runtime_storage_class
    if machine is None or storage_class is None:
        return
    if said := wrong_storage_class(machine, storage_class):
        yield Problem(
            "runtime_storage_class", said, "scripts/pulumi config rm runtime_storage_class"
        )


def _backup_has_its_credentials(settings: GkeColabSettings) -> Iterator[Problem]:
    given = {
        "runtime_backup_key_id": settings.runtime_backup_key_id,
        "runtime_backup_secret_key": settings.runtime_backup_secret_key,
    }
    url = settings.backup_url()
    for key, value in given.items():
        if url is not None and url.scheme == "s3":
            if value is None:
                said = f"the bucket s3://{url.bucket} (runtime_backup) is asked with both of these"
                yield Problem(key, said, step(key))
        elif value is not None:
            said = "it is for a bucket in storage that speaks S3 (runtime_backup s3://…)"
            yield Problem(key, said, f"scripts/pulumi config rm {key}")


def _backup_is_not_among_the_models(settings: GkeColabSettings) -> Iterator[Problem]:
    # Storage that speaks S3 lets in by a key, which notebooks have not.
    backups, models = settings.backup_url(), settings.registry_url()
    if backups is None or models is None or backups.scheme != "gs":
        return
    if (backups.scheme, backups.bucket) == (models.scheme, models.bucket):
        yield Problem(
            "runtime_backup",
            "that is the registry's bucket, and what runs in a notebook may write to all of the "
            "backups' bucket: it could change the models",
            "scripts/pulumi config rm runtime_backup, or set another bucket",
        )


def unsure_of_runtime(settings: GkeColabSettings) -> Iterator[str]:
    """Yield what can't be checked before the runtime is there, or is a risk, in words."""
    if not settings.runs_runtime:
        return
    image = colab_images(settings.runtime_image).runtime
    if "@sha256:" not in image:
        yield (
            f"the runtime's image {image} has no digest, so that its tag may mean another image "
            "tomorrow: scripts/up looks it up and records it (runtime_image)"
        )
    if settings.node_disk_gb < _IMAGE_DISK_GB:
        yield (
            f"node_disk_gb is {settings.node_disk_gb}, and Colab's image is large: Google's "
            f"documentation wants {_IMAGE_DISK_GB} GB free to unpack it"
        )
    if settings.runtime_backup == "none":
        yield (
            "runtime_backup is none: what is on the runtime's disks is in one zone, goes with the "
            "stack unless keep_data is true, and is nowhere else"
        )
    url = settings.backup_url()
    if url is not None and (url.endpoint or "").startswith("http://"):
        yield (
            f"backups go to {url.endpoint} in the clear: anybody on the way can read the "
            "notebooks' files"
        )


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeColabSettings], Iterator[Problem]]], ...] = (
    (
        (
            *("runtime_replicas", "runtime_cpus", "runtime_memory_gb", "parked"),
            *("node_machine_type", "gcp:zone"),
        ),
        _runtime_finds_a_node,
    ),
    (("runtime_namespace", "namespace"), _runtime_has_its_own_namespace),
    (("runtime_storage_class", "node_machine_type"), _disks_are_the_machines),
    (
        ("runtime_backup", "runtime_backup_key_id", "runtime_backup_secret_key"),
        _backup_has_its_credentials,
    ),
    (("runtime_backup", "registry"), _backup_is_not_among_the_models),
)
