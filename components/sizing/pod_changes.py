"""Changes of keys that are offered where nodes or pods are too small, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from components.catalogue.gcp import MachineType, find_machine_type
from components.catalogue.gke import NodeRoom
from components.sizing.gpu_fit import Change
from components.sizing.pod_tuning import CLASSIC, PodsWanted


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
        key, value = part.key or "", part.value or ""
        neighbours = pool.wanted.neighbours
        left = tuple(each for each in neighbours if (key, value) not in each.without)
        if left == neighbours:
            pool = _set(pool, key, value)
        else:
            pool = replace(pool, wanted=replace(pool.wanted, neighbours=left))
    return pool


def _set(pool: Pool, key: str, value: str) -> Pool:
    match key:
        case "node_machine_type":
            return replace(pool, machine=find_machine_type(value))
        case "max_nodes":
            return replace(pool, max_nodes=int(value))
        case "kv_type":
            return replace(pool, wanted=replace(pool.wanted, kv_type=value))
        case "classic_cpus" | "classic_memory_gb":
            classic = _classic(pool.wanted.classic or CLASSIC, key, int(value))
            return replace(pool, wanted=replace(pool.wanted, classic=classic))
        case "max_replicas":
            return replace(pool, wanted=replace(pool.wanted, most_replicas=int(value)))
        case _:
            return replace(pool, wanted=replace(pool.wanted, **{key: int(value)}))


def _classic(room: NodeRoom, key: str, value: int) -> NodeRoom:
    if key == "classic_cpus":
        return NodeRoom(value, room.memory_gb)
    return NodeRoom(room.cpus, value)
