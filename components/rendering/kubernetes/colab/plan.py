"""What the namespace of a Colab runtime is to hold: the input of its renderer.

Nothing in a plan is a secret. What is known only after the deployment, the token and the keys of
the storage of backups, goes into the objects that `names` names.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.models.registry import RegistryUrl
from components.rendering.kubernetes.plan import PodResources, Taint

BESIDE_MILLICPUS = 150
BESIDE_MIB = 320
"""What of `ColabPlan.resources` the door and the backup's container ask."""


@dataclass(frozen=True)
class ColabImages:
    """The images of a runtime's pod, each with its digest where one is pinned."""

    runtime: str
    """Google's, with the notebook server: `pins.toml`, `images.colab_cpu`."""
    restic: str
    """What backs up and restores."""
    caddy: str
    """What stands before the notebook server."""
    python: str
    """What runs the job that parks an idle runtime."""


@dataclass(frozen=True)
class Backup:
    """Where the runtime's files are kept besides its disks, and how often they are taken there.

    `has_secret` says that the storage takes an access key, which is in `names.BACKUP_SECRET`.
    """

    url: RegistryUrl
    every_minutes: int
    has_secret: bool = False


@dataclass(frozen=True)
class ColabPlan:
    """One namespace with one runtime.

    `base_name` begins the names of the stack's resources in the cloud, and is the value of the
    pool's label. `data_gb` and `libraries_gb` are the sizes of the disks for the notebooks' files
    and for the libraries that people install. `replicas` is 0 or 1. `endpoint` is the URL up to its
    port of the endpoint in the same cluster, which notebooks may ask, and `endpoint_namespace`
    where its gateway runs; None without. `idle_minutes` None never parks it.
    """

    base_name: str
    namespace: str
    images: ColabImages
    resources: PodResources
    taint: Taint | None
    storage_class: str
    data_gb: int
    libraries_gb: int
    backup: Backup | None
    spot: bool = True
    replicas: int = 1
    idle_minutes: int | None = None
    keep_data: bool = False
    endpoint: str | None = None
    endpoint_namespace: str | None = None
