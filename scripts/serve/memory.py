"""How much memory this process may still use, and whether a model fits in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from components.models.gguf_header import GgufError, read_header
from components.sizing.memory_fit import estimate, refusal
from scripts.serve.errors import ServeError

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the bytes that can be taken now: the machine's, or the control group's if fewer.

    Only a cgroup v2 limit that this process sees as its root is known (a container's is).
    """
    machine = psutil.virtual_memory().available
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii")
    except (OSError, ValueError):
        return machine
    if limit == "max":
        return machine
    cached = sum(
        int(value)
        for name, _, value in (line.partition(" ") for line in stat.splitlines())
        if name == "inactive_file"
    )
    return min(machine, max(0, int(limit) - used + cached))


def why_not(model: Path, size_bytes: int, arguments: Sequence[str], available: int) -> str | None:
    """Return why a `llama-server` with `arguments` can't hold `model` in `available` bytes.

    None where it fits. `size_bytes` is the model's size over all its parts. Raises `ServeError`
    for a file whose header can't be read and for a cache type that llama.cpp does not know.
    """
    try:
        header = read_header(model)
        context = int(_value(arguments, "--ctx-size") or header.context_length or 4096)
        slots = int(_value(arguments, "--parallel") or 1)
        kv_type = _value(arguments, "--cache-type-k") or "f16"
        need = estimate(header, size_bytes, context, slots, kv_type)
    except (GgufError, ValueError) as error:
        raise ServeError(
            f"{model} can't be reckoned with: {error}\n"
            "next: set model to a GGUF file that is whole, or engine_flags to what llama.cpp takes"
        ) from None
    return refusal(need, available)


def _value(arguments: Sequence[str], name: str) -> str | None:
    """Return the last value given to `name`, as llama.cpp takes it."""
    found = None
    words = list(arguments)
    for index, word in enumerate(words):
        flag, equals, inline = word.partition("=")
        if flag == name:
            found = inline if equals else words[index + 1] if index + 1 < len(words) else None
    return found
