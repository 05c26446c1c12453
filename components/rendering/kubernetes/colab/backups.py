"""What keeps a runtime's files besides its disks: restic, before the notebook server and beside it.

The scripts are components/rendering/files/colab. Names of variables and of repositories: restic
v0.18.1, cmd/restic/global.go, internal/backend/gs, internal/backend/s3.
"""

from __future__ import annotations

from components.models.registry import RegistryUrl
from components.rendering.kubernetes.colab.names import (
    BACKUP_SECRET,
    DATA,
    DATA_CLAIM,
    LIBRARIES,
    LIBRARIES_CLAIM,
    RUNTIME,
    SCRIPTS,
)
from components.rendering.kubernetes.colab.plan import Backup, ColabPlan
from components.rendering.kubernetes.manifests import Manifest, config_map, metadata
from components.rendering.kubernetes.names import REGISTRY_KEY_ID, REGISTRY_SECRET_KEY
from components.rendering.kubernetes.pods import (
    MIB,
    Mount,
    Resources,
    SecretSource,
    Value,
    container,
)
from components.rendering.machine.places import FILES

FOLDER = "colab"
"""Where the repository lies below the URL of the storage."""
KEEP = Resources(100, 256, 2000, 2048)
"""What the container that backs up takes: an index of the repository in memory, and hashing."""
SCRIPTS_PATH = "/opt/llm-endpoint/colab"
_FILES = ("common.sh", "restore.sh", "backup.sh", "check.sh", "last.sh", "keep.sh")
_CACHE = f"{DATA}/.llm-endpoint/cache"
_METADATA_SERVER = "169.254.169.254"
# What root may do that a container without capabilities may not: files are anybody's.
_READING = ("DAC_OVERRIDE",)
_WRITING = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID")
_ROOT = 0


def backup_objects(plan: ColabPlan) -> list[Manifest]:
    """Return the scripts, and the Secret of the storage where it takes one; nothing without."""
    if plan.backup is None:
        return []
    secret: Manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(plan, BACKUP_SECRET, RUNTIME),
        "type": "Opaque",
    }
    return [
        config_map(plan, SCRIPTS, scripts(), of=RUNTIME),
        *([secret] if plan.backup.has_secret else []),
    ]


def scripts() -> dict[str, str]:
    """Return the text of each script by its name."""
    return {name: (FILES / FOLDER / name).read_text(encoding="utf-8") for name in _FILES}


def backup_containers(plan: ColabPlan) -> list[dict[str, object]]:
    """Return what restores before the others begin, and what backs up beside them.

    The second is a container that keeps running: it begins before the others, and is told to end
    after them (`last.sh` says by which code of the kubelet's).
    """
    if plan.backup is None:
        return []
    environment = _environment(plan.backup)
    return [
        _container("restore", plan, environment, _restoring(plan), _WRITING),
        _container(
            "keep",
            plan,
            environment,
            KEEP,
            _READING,
            restartPolicy="Always",
            lifecycle={"preStop": {"exec": {"command": _command("last", "the pod is to end")}}},
        ),
    ]


def backup_volumes(plan: ColabPlan) -> list[dict[str, object]]:
    """Return the volume of the scripts, where there are backups."""
    if plan.backup is None:
        return []
    return [{"name": SCRIPTS, "configMap": {"name": SCRIPTS}}]


def repository(url: RegistryUrl) -> str:
    """Return where restic keeps its repository: `FOLDER` below `url`."""
    folder = url.key(FOLDER)
    if url.scheme == "gs":
        return f"gs:{url.bucket}:/{folder}"
    host = url.endpoint or f"https://s3.{url.region or 'us-east-1'}.amazonaws.com"
    return f"s3:{host}/{url.bucket}/{folder}"


def _environment(backup: Backup) -> dict[str, Value]:
    values: dict[str, Value] = {
        "LLM_ENDPOINT_DATA": DATA,
        "LLM_ENDPOINT_LIBRARIES": LIBRARIES,
        "LLM_ENDPOINT_BACKUP_SECONDS": str(backup.every_minutes * 60),
        "RESTIC_REPOSITORY": repository(backup.url),
        # By which an earlier backup is found, whatever the pod is called.
        "RESTIC_HOST": RUNTIME,
        "RESTIC_CACHE_DIR": _CACHE,
        # Frames a second: a line every 30 s of what takes long.
        "RESTIC_PROGRESS_FPS": "0.0333",
    }
    if backup.url.scheme == "gs":
        # Asked, and again where it is late, rather than looked for once
        # (cloud.google.com/go/compute/metadata, OnGCE).
        values["GCE_METADATA_HOST"] = _METADATA_SERVER
    if backup.url.region is not None:
        values["AWS_DEFAULT_REGION"] = backup.url.region
    if backup.has_secret:
        for name in (REGISTRY_KEY_ID, REGISTRY_SECRET_KEY):
            values[name] = SecretSource(BACKUP_SECRET, name)
    return values


def _restoring(plan: ColabPlan) -> Resources:
    """Return what restoring may take: all that waits for the notebook server meanwhile."""
    asked = plan.resources
    return Resources(KEEP.millicpus, KEEP.mib, asked.cpus * 1000, asked.memory_bytes // MIB)


def _container(
    name: str,
    plan: ColabPlan,
    environment: dict[str, Value],
    resources: Resources,
    capabilities: tuple[str, ...],
    **more: object,
) -> dict[str, object]:
    return container(
        name,
        plan.images.restic,
        _command(name),
        environment,
        (
            Mount(DATA_CLAIM, DATA, writable=True),
            Mount(LIBRARIES_CLAIM, LIBRARIES, writable=name == "restore"),
            Mount(SCRIPTS, SCRIPTS_PATH),
        ),
        resources,
        capabilities=capabilities,
        user=_ROOT,
        **more,
    )


def _command(script: str, *arguments: str) -> list[str]:
    return ["sh", f"{SCRIPTS_PATH}/{script}.sh", *arguments]
