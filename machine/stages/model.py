"""Stage `model`: the model of each server pulled, checked, and reckoned against the memory.

On a machine with GPUs that is theirs, and its own for the layers that are left to the processor.

Runs under the tools' environment: the downloader needs `requests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.models.gguf_header import GgufError, read_header
from components.models.reference import (
    HubFile,
    ModelReference,
    ModelReferenceError,
    parse_model_reference,
)
from components.sizing.gpu_memory_fit import (
    GPU_RESERVED_BYTES,
    GpuNeed,
    gpu_refusal,
    memory_refusal,
)
from components.sizing.memory_fit import MemoryNeed, estimate, refusal
from machine import gpus
from machine.commands import Command
from machine.config import Config, Server
from machine.environments import STAMP
from machine.errors import Permanent, StageError, Temporary
from machine.files import systemd_quoted, write_whole
from machine.stages.disk import PULLING_USER
from machine.world import World
from scripts.models.ensure import ModelError, Patience, ensure_model
from scripts.models.snapshot import ensure_snapshot
from scripts.models.transport import Obstacle

RESERVED_BYTES = 400_000_000
"""Of the memory, for the system, Caddy and the key checker: Debian 12 with them holds 300 MB."""

SERVERS_SHARE = 0.9
"""Of the memory, what all servers together may take at most: llm-endpoint-engines.slice."""

_PULL_SECONDS = 6 * 3600
_PULL_PERMANENT = 78


@dataclass(frozen=True)
class Placed:
    """A server's model on this machine. `need` is None where it can't be reckoned beforehand."""

    server: Server
    path: str
    need: MemoryNeed | None


def run(config: Config, world: World, patience: Patience | None = None) -> str:
    """Have every server's model; raises `Permanent` for one that can't be had or does not fit."""
    placed = [_place(server, world, patience) for server in config.servers]
    memory = available_bytes(world.memory_bytes())
    if config.gpus is None:
        check_memory(placed, memory)
    elif (free := gpu_memory_bytes(world)) is not None:
        check_gpu_memory(placed, free, memory)
    for each in placed:
        text = f"LLM_ENDPOINT_MODEL={systemd_quoted(each.path)}\n"
        write_whole(world.paths.server(each.server.name), text)
    return ", ".join(f"{each.server.model} for {each.server.name}" for each in placed)


def available_bytes(memory_bytes: int) -> int:
    """Return what servers may take on a machine with so much memory."""
    return min(memory_bytes - RESERVED_BYTES, int(memory_bytes * SERVERS_SHARE))


def check_memory(placed: list[Placed], available: int) -> None:
    """Raise `Permanent` unless all models that can be reckoned fit at the same time."""
    needs = [(each.server, each.need) for each in placed if each.need is not None]
    whole = sum(need.total for _, need in needs)
    for server, need in needs:
        why = refusal(need, available - (whole - need.total))
        if why is not None:
            raise Permanent(f"{server.model} for {server.name}: {why}")


def gpu_memory_bytes(world: World) -> tuple[int, ...] | None:
    """Return what models may take of each GPU; None where they can't be asked, or don't say.

    The stage `gpu` tells what is wrong with the driver; here it may not be up yet.
    """
    try:
        found = gpus.ask(world)
    except StageError:
        return None
    sizes = [gpu.memory_bytes - GPU_RESERVED_BYTES for gpu in found if gpu.memory_bytes is not None]
    return tuple(sizes) if sizes and len(sizes) == len(found) else None


def check_gpu_memory(
    placed: list[Placed], gpu_available: tuple[int, ...], memory_available: int
) -> None:
    """Raise `Permanent` unless all models that can be reckoned fit the GPUs at the same time.

    `gpu_available` is each GPU's. A model lies evenly on the first `gpus` of them that its server
    says, or on all. What `gpu_layers` leaves to the processor has to fit the machine's own memory.
    """
    every = len(gpu_available)
    needs = [
        (
            each.server,
            GpuNeed(each.need, min(each.server.gpus or every, every), each.server.gpu_layers),
        )
        for each in placed
        if each.need is not None
    ]
    on_processor = sum(need.on_processor for _, need in needs)
    for server, need in needs:
        taken = sum(_on_first(other, need.gpus) for _, other in needs)
        free = sum(gpu_available[: need.gpus]) - (taken - need.on_gpus)
        memory = memory_available - (on_processor - need.on_processor)
        why = gpu_refusal(need, free, memory) or memory_refusal(need, memory)
        if why is not None:
            raise Permanent(f"{server.model} for {server.name}: {why}")


def _on_first(need: GpuNeed, gpus: int) -> int:
    """Return what a model takes of the first `gpus` GPUs."""
    return need.on_gpus * min(gpus, need.gpus) // need.gpus


def _place(server: Server, world: World, patience: Patience | None) -> Placed:
    if server.pull is not None:
        path = _pulled_by_engine(server, server.pull, world)
        return Placed(server, str(path), _need(server, path, path.stat().st_size))
    try:
        reference = parse_model_reference(server.model)
        if server.snapshot:
            return _snapshot(server, reference, world, patience)
        model = ensure_model(reference, cache=world.paths.data, report=world.say, patience=patience)
    except ModelReferenceError as error:
        raise Permanent(str(error)) from None
    except ModelError as error:
        raise _refused(error) from None
    return Placed(server, str(model.path), _need(server, model.path, model.size_bytes))


def _snapshot(
    server: Server, reference: ModelReference, world: World, patience: Patience | None
) -> Placed:
    """Have a whole repository, whose folder the engine is given."""
    if not isinstance(reference, HubFile):
        raise Permanent(
            f"{server.model} is no repository of the hub, of which {server.name}'s engine needs "
            "all files\nnext: set model to OWNER/REPO, or OWNER/REPO@REVISION"
        )
    cache = world.paths.data
    whole = ensure_snapshot(reference, cache=cache, report=world.say, patience=patience)
    return Placed(server, str(whole.path), None)


def _refused(error: ModelError) -> Permanent | Temporary:
    match error.obstacle:
        case Obstacle.PASSING:
            return Temporary(str(error))
        case Obstacle.SPACE:
            # The downloader's own advice is for a person's machine.
            return Permanent(
                f"{str(error).splitlines()[0]}\nnext: set cache_gb higher, which enlarges the disk "
                "at the next up, or choose a smaller model"
            )
        case Obstacle.LASTING:
            return Permanent(str(error))


def _need(server: Server, path: Path, size_bytes: int) -> MemoryNeed | None:
    context, slots, kv_type = server.context_tokens_total, server.slots, server.kv_type
    if context is None or slots is None or kv_type is None:
        return None
    try:
        return estimate(read_header(path), size_bytes, context, slots, kv_type)
    except (GgufError, ValueError) as error:
        raise Permanent(
            f"{server.model} can't be reckoned with: {error}\nnext: choose another file"
        ) from None


def _pulled_by_engine(server: Server, pull: tuple[str, ...], world: World) -> Path:
    """Run the engine's own command, which says on its last line where the file is.

    It ends with 75 or 78 as stages do, and says why on its last line of errors.
    """
    venv = world.paths.engine(server.engine)
    if not (venv / STAMP).exists():
        raise Temporary(f"{server.model} is pulled by {server.engine}, which is not installed yet")
    hub = str(world.paths.hub)
    result = world.run(
        Command(
            f"pulling {server.model}",
            tuple(word.replace("{venv}", str(venv)) for word in pull),
            _PULL_SECONDS,
            {"HF_HOME": hub, "HOME": hub},
            user=PULLING_USER,
        )
    )
    said = [line for line in result.output.splitlines() if line.strip()]
    if result.code == 0 and said:
        path = Path(said[-1].strip())
        if path.is_file():
            return path
        raise Temporary(f"{server.model} was pulled, and {path} is no file", result.log)
    errors = [line for line in result.errors.splitlines() if line.strip()]
    why = errors[-1] if errors else f"it ended with {result.code} and said nothing"
    kind = Permanent if result.code == _PULL_PERMANENT else Temporary
    raise kind(f"{server.model} can't be pulled: {why}", result.log)
