"""Changes of keys that are offered where nodes or pods are too small, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from components.catalogue.gcp import MachineType, find_machine_type
from components.sizing.gpu_fit import Change
from components.sizing.pod_tuning import PodsWanted


@dataclass(frozen=True)
class Pool:
    """The nodes, and what is to run on them. `machine` None is one that the catalogue lacks.

    `region` is where other machine types have to be offered; "" is anywhere.
    """

    machine: MachineType | None
    wanted: PodsWanted
    max_nodes: int
    region: str = ""


@dataclass(frozen=True)
class Together(Change):
    """Changes that do only together."""

    parts: tuple[Change, ...] = ()


def change(key: str, value: int | str) -> Change:
    """Return the change that sets `key` to `value`."""
    return Change(f"{key} {value}", key, str(value))


def together(changes: Iterable[Change], after: str = "") -> Change:
    """Return one change of several, in words with `after` at their end; of one that one alone."""
    parts = tuple(changes)
    if len(parts) == 1 and not after:
        return parts[0]
    return Together(" and ".join(part.words for part in parts) + after, parts=parts)


def parts_of(one: Change) -> tuple[Change, ...]:
    """Return the keys that `one` sets, each a change."""
    return one.parts if isinstance(one, Together) else (one,)


def after(pool: Pool, one: Change) -> Pool:
    """Return what `pool` is once `one` is made."""
    for part in parts_of(one):
        pool = _set(pool, part.key or "", part.value or "")
    return pool


def _set(pool: Pool, key: str, value: str) -> Pool:
    match key:
        case "node_machine_type":
            return replace(pool, machine=find_machine_type(value))
        case "max_nodes":
            return replace(pool, max_nodes=int(value))
        case "kv_type":
            return replace(pool, wanted=replace(pool.wanted, kv_type=value))
        case "max_replicas":
            return replace(pool, wanted=replace(pool.wanted, most_replicas=int(value)))
        case _:
            return replace(pool, wanted=replace(pool.wanted, **{key: int(value)}))
