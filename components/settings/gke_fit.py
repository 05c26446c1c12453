"""Whether the nodes hold the pods that the keys ask for, and the pods their model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.models.reference import shown
from components.settings.base import Problem
from components.settings.gke_engine import kv_type_is_the_engines, models_are_the_engines
from components.sizing.gpu_fit import Change, Shortfall
from components.sizing.pod_changes import parts_of
from components.sizing.pod_fit import model_shortfall, pool_shortfall
from components.sizing.pod_tuning import need_of

if TYPE_CHECKING:
    from components.settings.gke_ovms import GkeOvmsSettings

_POOL_KEYS = (
    *("engine", "model", "embeddings_model", "pod_cpus", "pod_memory_gb"),
    *("replicas", "max_replicas", "max_nodes", "node_machine_type"),
    *("classic_models", "classic_cpus", "classic_memory_gb"),
)
_MODEL_KEYS = (*_POOL_KEYS, "context_tokens", "slots", "kv_type", "kv_cache_gb")


def _pods_fit_the_nodes(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if any(models_are_the_engines(settings)):
        return
    wanted = settings.wanted_pods()
    if any(kv_type_is_the_engines(settings)):
        wanted = replace(wanted, kv_type=None)
    short = pool_shortfall(
        settings.machine(),
        wanted,
        settings.node_machine_type,
        settings.max_nodes,
        _region(settings),
    )
    if short is None:
        return
    said = f"{short.said}; {short.offered}" if short.changes else short.said
    sets = [f"scripts/pulumi config set {key} VALUE" for key in short.unset]
    yield Problem(short.key, said, commands(short.changes) or " && ".join(sets) or None)


def _model_fits_the_pod(settings: GkeOvmsSettings) -> Iterator[Problem]:
    short = _shortfall(settings)
    if short is not None and short.surely:
        yield Problem("model", f"{short.said}; {short.offered}", commands(short.changes))


def _shortfall(settings: GkeOvmsSettings) -> Shortfall | None:
    """Return what a pod lacks for the model; None where other keys are to be put right first."""
    first = (kv_type_is_the_engines, models_are_the_engines, _pods_fit_the_nodes)
    if any(problem for find in first for problem in find(settings)):
        return None
    wanted = settings.wanted_pods()
    return model_shortfall(settings.machine(), wanted, settings.max_nodes, _region(settings))


def _region(settings: GkeOvmsSettings) -> str:
    """Return the region, "" where the zone is still to be put right."""
    return settings.region if settings.zone else ""


def commands(changes: Iterable[Change]) -> str | None:
    """Return the commands that make any one of `changes`; None for none."""
    steps = [
        " && ".join(f"scripts/pulumi config set {part.key} {part.value}" for part in parts_of(one))
        for one in changes
    ]
    return ", or ".join(steps) or None


def unfit(settings: GkeOvmsSettings) -> Iterator[str]:
    """Yield what may not fit, in words."""
    short = _shortfall(settings)
    if short is not None and not short.surely:
        yield (
            f"model {shown(settings.model)}: {short.said}; the pod finds out when it loads it; "
            f"{short.offered}"
        )
    reference = parse_pod_model(settings.model)
    disk = f"that pod's disk of {settings.disk_gb()} GB (cache_gb)"
    if settings.keeps_no_models:
        disk = f"its node's boot disk of {settings.node_disk_gb} GB (node_disk_gb)"
    if isinstance(reference, RegistryModelReference):
        yield _of_a_registry("model", reference, disk)
    elif need_of(settings.engine, reference) is None:
        yield (
            f"model {shown(settings.model)}: its name does not tell its size, so that nothing says "
            "here whether it fits; the pod finds out when it loads it"
        )
    other = settings.wanted_pods().embeddings_model
    if isinstance(other, RegistryModelReference):
        yield _of_a_registry(
            "embeddings_model", other, disk if settings.keeps_no_models else "that pod's disk"
        )


def _of_a_registry(key: str, reference: RegistryModelReference, disk: str) -> str:
    return (
        f"{key} {reference}: a registry's names tell neither format nor size, so that nothing says "
        f"here whether the engine loads it, and whether it fits its pod and {disk}; "
        "the pod finds out when it fetches and loads it"
    )


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeOvmsSettings], Iterator[Problem]]], ...] = (
    (_POOL_KEYS, _pods_fit_the_nodes),
    (_MODEL_KEYS, _model_fits_the_pod),
)
