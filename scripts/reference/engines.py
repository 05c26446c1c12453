"""Which engine is placed where: the table of the README."""

from __future__ import annotations

from collections.abc import Mapping

from components.compose import Place, UnsupportedCombinationError, form_for
from components.engines import llama_cpp, localllm, ovms, vllm
from components.launch import Launch

ENGINES: Mapping[str, Launch] = {
    llama_cpp.NAME: llama_cpp.launch(llama_cpp.LlamaCppOptions("m", 4096, 4)),
    localllm.NAME: localllm.launch(localllm.LocalllmOptions("o", "r", 4096, selector="m.gguf")),
    vllm.NAME: vllm.launch(vllm.VllmOptions("m", 4096, 4)),
    ovms.NAME: ovms.launch(ovms.OvmsOptions("m", 4)),
}
"""A launch of each engine, to ask where it can be placed."""


def places() -> dict[str, Place]:
    """Return what each target takes, by the target's name."""
    from components.targets import local
    from components.targets.gcp import place
    from components.targets.gke.place import GKE_POOL

    known = (local.PLACE, place.CPU_VM, place.GPU_VM, GKE_POOL)
    return {found.name: found for found in known}


def engine_table() -> str:
    """Return a Markdown table of engines and targets: the form that one takes the other in."""
    targets = places()
    rows = [f"| Engine | {' | '.join(f'`{name}`' for name in targets)} |"]
    rows.append("|---" * (len(targets) + 1) + "|")
    for name, launch in ENGINES.items():
        cells = [_placed(launch, place) for place in targets.values()]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def _placed(launch: Launch, place: Place) -> str:
    try:
        return f"as a {form_for(launch, place).value}"
    except UnsupportedCombinationError as refused:
        return f"no: {str(refused).partition(':')[0]}"
