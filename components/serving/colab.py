"""What the namespace of a Colab runtime holds: settings -> `ColabPlan`."""

from __future__ import annotations

from components.catalogue.gke import STORAGE_CLASSES, wrong_storage_class
from components.container_images import colab_images
from components.models.registry import RegistryUrl
from components.rendering.kubernetes.colab.plan import Backup, ColabPlan
from components.rendering.kubernetes.plan import Expose, PodPlan, PodResources
from components.settings.gke_colab import NO_BACKUP, GkeColabSettings
from components.sizing.colab_fit import runtime_room

_SSD = "premium-rwo"
_BUCKET_SCHEME = "gs"


def colab_plan(settings: GkeColabSettings, endpoint: PodPlan, bucket: str) -> ColabPlan:
    """Return the plan of the runtime beside `endpoint`; `bucket` is the name of one that is made.

    Only an endpoint inside the cluster is told to notebooks: the certificate of any other is for
    an address outside. Raises `ContainerImageError` where an image can't be had.
    """
    room = runtime_room(settings.machine(), settings.wanted_runtime())
    inside = endpoint.expose is Expose.INTERNAL
    return ColabPlan(
        base_name=endpoint.base_name,
        namespace=settings.runtime_namespace,
        images=colab_images(settings.runtime_image),
        resources=PodResources(room.cpus, room.memory_bytes),
        taint=endpoint.taint,
        storage_class=storage_class(settings),
        data_gb=settings.runtime_data_gb,
        libraries_gb=settings.runtime_libraries_gb,
        backup=_backup(settings, bucket),
        spot=settings.spot,
        replicas=settings.runtime_replicas,
        idle_minutes=settings.runtime_idle_minutes or None,
        keep_data=settings.keep_data,
        endpoint=f"https://{endpoint.host}" if inside else None,
        endpoint_namespace=endpoint.namespace if inside else None,
    )


def storage_class(settings: GkeColabSettings) -> str:
    """Return the storage class of the runtime's disks: SSDs, where its nodes can attach them."""
    if settings.runtime_storage_class is not None:
        return settings.runtime_storage_class
    machine = settings.machine()
    attaches = machine is None or wrong_storage_class(machine, _SSD) is None
    known = machine is None or machine.series.disk in STORAGE_CLASSES.values()
    return _SSD if attaches and known else settings.volume_class


def makes_bucket(settings: GkeColabSettings) -> bool:
    """Whether a bucket is made for the backups."""
    return settings.runtime_backup is None


def _backup(settings: GkeColabSettings, bucket: str) -> Backup | None:
    if settings.runtime_backup == NO_BACKUP:
        return None
    url = settings.backup_url() or RegistryUrl(_BUCKET_SCHEME, bucket)
    return Backup(url, settings.runtime_backup_minutes, has_secret=url.scheme == "s3")
