"""How large pods that serve models are on a kind of node, and how their engines are set up.

- A chat pod takes what a node has left, or what is asked. Processors and memory are whole numbers,
  so that a pod has its processors to itself.
- A model that makes embeddings has a pod of its own, of two processors and what its memory needs,
  beside the first chat pod. It is taken off every chat pod, since all are made alike; and so is the
  pod of classic models, whose size is asked for.
- OpenVINO Model Server: a slot for each two processors, which are a core, from 4 to 32: more
  requests at once read the weights once for all, and they share one KV cache. That has 8 bits, and
  of the memory that the model leaves at most half of the pod's: what answers do not need keeps the
  prompts of earlier ones, and OpenVINO fills all of it with zeros at the first request.
- llama.cpp: as on a machine of the pod's size (`machine_tuning`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from components.catalogue.gcp import MachineType
from components.catalogue.gke import NodeRoom, for_pods
from components.engines import llama_cpp, ovms
from components.models.need import Bounds, ModelNeed, model_need, openvino_need
from components.models.pod_model import PodModelReference, RegistryModelReference
from components.sizing.machine_tuning import Tuning, tuning
from components.sizing.memory_fit import KV_TYPE_BYTES

GIB = 2**30

EMBEDDINGS_CPUS = 2
"""Processors of a pod that makes embeddings."""
EMBEDDINGS_SLOTS = 4
_UNKNOWN_EMBEDDINGS_GB = 4
"""Memory of such a pod where its model's name does not tell its size: few take more."""
CLASSIC = NodeRoom(2, 4)
"""What a pod of classic models asks for unless it is said: most of them have some 100 MB."""

OVMS_KV_BYTES = {"u8": 1 + 8 / 128, "f16": 2.0, "bf16": 2.0, "f32": 4.0}
"""Bytes an element of the KV cache. In 8 bits there are two numbers of 32 for each head of a token
(openvino, `src/plugins/intel_cpu`, the layout of the paged cache), whose length is mostly 128."""

_OVMS_WEIGHTS = Bounds(1.02, 1.3)
_OVMS_FIXED_BYTES = Bounds(GIB / 2, 2 * GIB)
"""Of the weights' size, and besides, what the server takes: what was measured lies between 1.05 and
1.8 of the weights together, the most for the smallest models."""

_LLAMA_FIXED_BYTES = Bounds(GIB / 4, GIB)

_SLOTS = (4, 32)
_CACHE_SHARE = 0.5
"""Of a pod's memory, the most that a KV cache takes that nobody asked for: what a model takes is
known by rough measure alone, and a pod that takes more than its memory is ended."""
_CONTEXTS = (32_768, 16_384, 8192, 4096, 2048)


class PodSizeError(ValueError):
    """A pod whose size nothing tells; the message says what would do, by the keys in `unset`."""

    def __init__(self, said: str, unset: tuple[str, ...]) -> None:
        super().__init__(said)
        self.unset = unset


@dataclass(frozen=True)
class Neighbour:
    """A pod of something else that is to run on the same nodes.

    `name` is what it is called in words. `without` are settings, each of which takes it, or what it
    would stand beside, off the nodes.
    """

    name: str
    room: NodeRoom
    without: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PodsWanted:
    """What a person has chosen, and None where they leave it open.

    `embeddings_model` is one that has pods of its own. `classic` is what the pod of classic models
    asks for, None where there is none. `context_tokens` is what one request may use. Memory is in
    GiB. No pod is made smaller for `neighbours`, which need room of their own.
    """

    engine: str
    model: PodModelReference
    embeddings_model: PodModelReference | None = None
    classic: NodeRoom | None = None
    context_tokens: int | None = None
    slots: int | None = None
    kv_type: str | None = None
    kv_cache_gb: int | None = None
    pod_cpus: int | None = None
    pod_memory_gb: int | None = None
    replicas: int = 1
    most_replicas: int | None = None
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def most_pods(self) -> int:
        """How many chat pods there are at most."""
        return self.most_replicas or self.replicas


@dataclass(frozen=True)
class Beside:
    """A pod of the endpoint's of which there is one, and what it asks for.

    `purpose` is what it is for, and `that` says the same of the pod itself.
    """

    purpose: str
    that: str
    room: NodeRoom


@dataclass(frozen=True)
class TunedPod:
    """A pod, and how its engine is set up.

    `cache_gb` is the KV cache that OpenVINO Model Server is given, in GiB; None for llama.cpp,
    whose flags are `llama`. `context_tokens` is what each of `slots` requests may use.
    """

    cpus: int
    memory_gb: int
    context_tokens: int
    slots: int
    kv_type: str
    cache_gb: int | None = None
    llama: Tuning | None = None

    @property
    def memory_bytes(self) -> int:
        """The pod's memory in bytes."""
        return self.memory_gb * GIB


@dataclass(frozen=True)
class TunedPods:
    """The pods that serve: those that chat, all alike, and one that makes embeddings, if any."""

    chat: TunedPod
    embeddings: TunedPod | None = None


def need_of(engine: str, model: PodModelReference) -> ModelNeed | None:
    """Return what a model's name tells of the memory that it takes; None where it tells nothing.

    In a registry anybody calls a model what they like.
    """
    if isinstance(model, RegistryModelReference):
        return None
    return openvino_need(model) if engine == ovms.NAME else model_need(model)


def without_cache(engine: str, need: ModelNeed) -> Bounds:
    """Return the bytes that a server takes besides its KV cache."""
    if engine == ovms.NAME:
        share, fixed = _OVMS_WEIGHTS, _OVMS_FIXED_BYTES
    else:
        prompts = llama_cpp.PROMPT_CACHE_MIB * 2**20
        share, fixed = Bounds(1, 1), _LLAMA_FIXED_BYTES + Bounds(0, prompts)
    return Bounds(need.weights.least * share.least, need.weights.likely * share.likely) + fixed


def kv_bytes_a_token(engine: str, need: ModelNeed, kv_type: str) -> Bounds:
    """Return the bytes of KV cache that a token takes."""
    table = OVMS_KV_BYTES if engine == ovms.NAME else KV_TYPE_BYTES
    return need.kv_elements.times(table[kv_type])


def embeddings_room(wanted: PodsWanted) -> NodeRoom:
    """Return what the pod that makes embeddings asks for; nothing where there is none."""
    if wanted.embeddings_model is None:
        return NodeRoom(0, 0)
    need = need_of(wanted.engine, wanted.embeddings_model)
    if need is None:
        return NodeRoom(EMBEDDINGS_CPUS, _UNKNOWN_EMBEDDINGS_GB)
    taken = without_cache(wanted.engine, need).likely
    if wanted.engine != ovms.NAME:
        tokens = llama_cpp.EMBEDDING_TOKENS * EMBEDDINGS_SLOTS
        # Encoders, which most of these models are, have no cache: it counts as far as it is known.
        known = need.kv_elements.least == need.kv_elements.likely
        cache = kv_bytes_a_token(wanted.engine, need, "f16").likely * tokens
        taken += cache if known else 0
    return NodeRoom(EMBEDDINGS_CPUS, _gb_up(taken))


def pods_beside(wanted: PodsWanted) -> tuple[Beside, ...]:
    """Return the pods of the endpoint's beside those that chat, of each of which there is one."""
    found: list[Beside] = []
    if wanted.embeddings_model is not None:
        found.append(Beside("embeddings", "that makes embeddings", embeddings_room(wanted)))
    if wanted.classic is not None:
        found.append(Beside("classic models", "of classic models", wanted.classic))
    return tuple(found)


def beside_room(wanted: PodsWanted) -> NodeRoom:
    """Return what those pods ask for together; nothing where there is none."""
    rooms = [pod.room for pod in pods_beside(wanted)]
    return NodeRoom(sum(room.cpus for room in rooms), sum(room.memory_gb for room in rooms))


def chat_room(machine: MachineType | None, wanted: PodsWanted) -> NodeRoom:
    """Return the processors and the memory of a chat pod, which may be none at all.

    Raises `PodSizeError` where it is left open and the machine type is not known.
    """
    if wanted.pod_cpus is not None and wanted.pod_memory_gb is not None:
        return NodeRoom(wanted.pod_cpus, wanted.pod_memory_gb)
    if machine is None:
        sizes = {"pod_cpus": wanted.pod_cpus, "pod_memory_gb": wanted.pod_memory_gb}
        unset = tuple(key for key, size in sizes.items() if size is None)
        raise PodSizeError(
            "the catalogue does not know the nodes' machine type, and so not what one has left: "
            f"set {'both ' if len(unset) > 1 else ''}{' and '.join(unset)}",
            unset,
        )
    room, beside = for_pods(machine), beside_room(wanted)
    return NodeRoom(
        max(0, room.cpus - beside.cpus) if wanted.pod_cpus is None else wanted.pod_cpus,
        max(0, room.memory_gb - beside.memory_gb)
        if wanted.pod_memory_gb is None
        else wanted.pod_memory_gb,
    )


def tuned_pods(machine: MachineType | None, wanted: PodsWanted) -> TunedPods:
    """Return the pods on nodes of that machine type; what is wanted stays, and the rest follows it.

    None is a machine type that the catalogue does not know. Whether a node holds them, and they
    their models, is for `pod_fit` to say. Raises `PodSizeError` where nothing tells their size.
    """
    room = chat_room(machine, wanted)
    embeddings = None if wanted.embeddings_model is None else _embeddings_pod(machine, wanted)
    if wanted.engine == ovms.NAME:
        return TunedPods(_ovms_pod(wanted, room), embeddings)
    return TunedPods(_llama_pod(machine, wanted, wanted.model, room), embeddings)


def _ovms_pod(wanted: PodsWanted, room: NodeRoom) -> TunedPod:
    need = need_of(wanted.engine, wanted.model)
    kv_type = wanted.kv_type or ovms.KV_TYPES[0]
    slots = wanted.slots or min(max(room.cpus // 2, _SLOTS[0]), _SLOTS[1])
    cache = wanted.kv_cache_gb or _cache_gb(room, need)
    return TunedPod(
        cpus=room.cpus,
        memory_gb=room.memory_gb,
        context_tokens=wanted.context_tokens or _context(cache, need, kv_type),
        slots=slots,
        kv_type=kv_type,
        cache_gb=cache,
    )


def _cache_gb(room: NodeRoom, need: ModelNeed | None) -> int:
    """Return the KV cache of a pod for which nobody has asked for one: GiB, at least one."""
    most = int(room.memory_gb * _CACHE_SHARE)
    if need is None:
        return max(1, most)
    left = room.memory_bytes - without_cache(ovms.NAME, need).likely
    return max(1, min(most, int(left // GIB)))


def _context(cache_gb: int, need: ModelNeed | None, kv_type: str) -> int:
    """Return the longest request that the cache is likely to bear; the model may take less."""
    if need is None:
        return _CONTEXTS[-2]
    tokens = cache_gb * GIB / kv_bytes_a_token(ovms.NAME, need, kv_type).likely
    return next((context for context in _CONTEXTS if context <= tokens), _CONTEXTS[-1])


def _llama_pod(
    machine: MachineType | None, wanted: PodsWanted, model: PodModelReference, room: NodeRoom
) -> TunedPod:
    need = need_of(wanted.engine, model)
    # Where nobody knows the cores, llama.cpp would take all of the node's threads.
    threads = max(1, room.cpus // 2) if machine is None else None
    chosen = tuning(
        None if machine is None else _as_machine(machine, room),
        None if need is None else int(need.weights.likely),
        context_tokens=wanted.context_tokens,
        slots=wanted.slots,
        threads=threads,
        kv_type=wanted.kv_type,
    )
    return TunedPod(
        cpus=room.cpus,
        memory_gb=room.memory_gb,
        context_tokens=chosen.context_tokens,
        slots=chosen.slots,
        kv_type=chosen.kv_type,
        llama=chosen,
    )


def _as_machine(machine: MachineType, room: NodeRoom) -> MachineType:
    """Return a machine as large as a pod is, whose cores are as many threads wide."""
    return replace(machine, vcpus=room.cpus, memory_bytes=room.memory_bytes)


def _embeddings_pod(machine: MachineType | None, wanted: PodsWanted) -> TunedPod:
    room = embeddings_room(wanted)
    llama = None
    if wanted.engine != ovms.NAME:
        own = None if machine is None else _as_machine(machine, room)
        threads = EMBEDDINGS_CPUS // 2 if machine is None else None
        llama = tuning(own, None, slots=EMBEDDINGS_SLOTS, threads=threads)
    return TunedPod(
        cpus=room.cpus,
        memory_gb=room.memory_gb,
        context_tokens=llama_cpp.EMBEDDING_TOKENS,
        slots=EMBEDDINGS_SLOTS,
        kv_type="f16",
        llama=llama,
    )


def _gb_up(size_bytes: float) -> int:
    return -int(-size_bytes // GIB)
