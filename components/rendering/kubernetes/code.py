"""This project's own modules and their lock, as ConfigMaps, and what of them a pod mounts.

A pod mounts the modules that it runs and no other, so that a change of the gateway's leaves the
servers alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.rendering.kubernetes.manifests import InNamespace, Manifest, config_map, digest
from components.rendering.kubernetes.names import (
    CODE,
    GATEWAY_MODULE,
    LIB,
    LOCK,
    LOCKS,
    MODEL_MODULE,
    PARK_MODULE,
    REGISTRY_LOCK,
    REGISTRY_MODULE,
    REQUIREMENTS,
)
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.pods import Mount
from components.rendering.machine.modules import imported
from components.rendering.machine.places import CHECKOUT

MOUNT = Mount("code", LIB)
LOCK_MOUNT = Mount("requirements", LOCKS)


def code_objects(plan: PodPlan) -> list[Manifest]:
    """Return the ConfigMaps that the pods of `plan` run from."""
    parking = [] if plan.idle_minutes is None else [PARK_MODULE]
    registry = [] if plan.registry is None else [REGISTRY_MODULE]
    locks = [LOCK] if plan.registry is None else [LOCK, REGISTRY_LOCK]
    texts = {name: _lock(name) for name in locks}
    return [
        modules_object(plan, MODEL_MODULE, GATEWAY_MODULE, *registry, *parking),
        config_map(plan, REQUIREMENTS, texts, of="llm-endpoint"),
    ]


def modules_object(plan: InNamespace, *modules: str) -> Manifest:
    """Return the ConfigMap of `modules` and all of ours that they import."""
    files = imported(modules)
    texts = {_key(path): file.read_text(encoding="utf-8") for path, file in files.items()}
    return config_map(plan, CODE, texts, of="llm-endpoint")


def code_volume(*modules: str) -> dict[str, object]:
    """Return the volume of `modules` and all of ours that they import."""
    items = [{"key": _key(path), "path": path} for path in sorted(imported(modules))]
    return {"name": MOUNT.volume, "configMap": {"name": CODE, "items": items}}


def lock_volume() -> dict[str, object]:
    """Return the volume of the locks."""
    return {"name": LOCK_MOUNT.volume, "configMap": {"name": REQUIREMENTS}}


def code_digest(modules: Sequence[str], *configuration: str, lock: str = LOCK) -> str:
    """Return the sha256 of what `modules` run: all of ours, the lock, and `configuration`."""
    files = {path: file.read_text(encoding="utf-8") for path, file in imported(modules).items()}
    return digest([files, _lock(lock), configuration])


def _key(path: str) -> str:
    """Return the key of a module's file: a ConfigMap's has no slash."""
    return path.replace("/", ".")


def _lock(name: str) -> str:
    return (CHECKOUT / "requirements" / name).read_text(encoding="utf-8")
