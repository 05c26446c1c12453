"""`python -m scripts.reference`: writes what of the docs comes from the code.

That is the tables, each between `<!-- NAME -->` and `<!-- /NAME -->`, and the configuration's
JSON schemas. `--check` writes nothing and exits with 1 where one is not current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

from components.catalogue.gcp import catalogue, find_machine_type
from components.catalogue.gcp_gpu import Fit, which_fit
from components.compose import Place, UnsupportedCombinationError, form_for
from components.engines import llama_cpp, localllm, ovms, vllm
from components.launch import Launch
from components.models.reference import parse_model_reference
from components.models.size import guess
from components.settings import GpuVmSettings, Settings, load, takes
from components.sizing.machine_tuning import tuning
from stacks import PROGRAMS

CHECKOUT = Path(__file__).resolve().parent.parent

ENGINES: Mapping[str, Launch] = {
    llama_cpp.NAME: llama_cpp.launch(llama_cpp.LlamaCppOptions("m", 4096, 4)),
    localllm.NAME: localllm.launch(localllm.LocalllmOptions("o", "r", 4096, selector="m.gguf")),
    vllm.NAME: vllm.launch(vllm.VllmOptions("m", 4096, 4)),
    ovms.NAME: ovms.launch(ovms.OvmsOptions("m", 4)),
}
"""A launch of each engine, to ask where it can be placed."""

_TUNED = (
    ("e2-standard-4", "Qwen/Qwen2.5-3B-Instruct-GGUF:Q4_K_M"),
    ("e2-standard-8", "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"),
    ("e2-standard-16", "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"),
    ("t2d-standard-16", "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"),
    ("c3-standard-22", "bartowski/Qwen2.5-14B-Instruct-GGUF:Q4_K_M"),
    ("n2-highmem-16", "bartowski/Qwen2.5-32B-Instruct-GGUF:Q8_0"),
    ("n2-standard-16", "bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M"),
)

_TUNED_GPUS = (
    ("n1-standard-8", "t4", "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"),
    ("g2-standard-8", None, "bartowski/Qwen2.5-7B-Instruct-GGUF:Q8_0"),
    ("g2-standard-8", None, "bartowski/Qwen2.5-14B-Instruct-GGUF:Q4_K_M"),
    ("g2-standard-8", None, "bartowski/Qwen2.5-32B-Instruct-GGUF:Q4_K_M"),
    ("g2-standard-24", None, "bartowski/Qwen2.5-32B-Instruct-GGUF:Q4_K_M"),
    ("a2-highgpu-1g", None, "bartowski/Qwen2.5-32B-Instruct-GGUF:Q4_K_M"),
    ("a3-highgpu-1g", None, "bartowski/Qwen2.5-72B-Instruct-GGUF:Q4_K_M"),
)
_EXAMPLE = {
    "gcp:project": "example",
    "gcp:zone": "us-central1-a",
    "allowed_cidrs": "203.0.113.7/32",
}


def key_table(schema: type[Settings], defaults: Mapping[str, object]) -> str:
    """Return a Markdown table of the keys: name, values that would do, default, meaning."""
    rows = ["| Key | Takes | Default | What |", "|---|---|---|---|"]
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    for name, field in sorted(fields.items()):
        default = defaults.get(name, field.get_default())
        rows.append(f"| `{name}` | {takes(field)} | {_shown(default)} | {field.description} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    if value is None or value in ((), {}):
        return "unset"
    if isinstance(value, tuple):
        return f"`{' '.join(str(part) for part in typing.cast(tuple[object, ...], value))}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none: must be set" if "PydanticUndefined" in repr(value) else f"`{value}`"


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


def series_table() -> str:
    """Return a Markdown table of the machine series that the catalogue knows."""
    rows = [
        "| Series | Processor | vCPUs | Memory, GB | vCPUs a core | Disks | Spot | Regions |",
        "|---|---|---|---|---|---|---|---|",
    ]
    known = catalogue()
    for name, series in known.series.items():
        vcpus = [count for count, _ in series.types.values()]
        memory = [size for _, size in series.types.values()]
        rows.append(
            f"| `{name}` | {series.cpu} | {_range(vcpus)} | {_range(memory)} | "
            f"{series.threads_per_core} | {series.disk} | {'yes' if series.spot else 'no'} | "
            f"{len(series.regions)} of {len(known.zones)} |"
        )
    return "\n".join(rows)


def _range(values: list[int] | list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def tuning_table() -> str:
    """Return a Markdown table of how llama.cpp is set up on some machines."""
    rows = [
        "| Machine type | Model | Threads | Slots | Context of each | KV cache | Flash attention "
        "| Batch, step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, model in _TUNED:
        size = guess(parse_model_reference(model))
        found = tuning(find_machine_type(name), size.size_bytes if size else None)
        rows.append(
            f"| `{name}` | {model.partition('/')[2]} | {found.threads} | {found.slots} | "
            f"{found.context_tokens} | `{found.kv_type}` | `{found.flash_attention}` | "
            f"{found.batch_tokens}, {found.micro_batch_tokens} |"
        )
    return "\n".join(rows)


def gpu_table() -> str:
    """Return a Markdown table of the GPUs that the catalogue knows, and the machines with them."""
    rows = [
        "| `gpu` | Memory, GB | Compute capability | GPUs: smallest machine | Zones |",
        "|---|---|---|---|---|",
    ]
    by_gpu: dict[str, list[Fit]] = {}
    for fit in which_fit(0):
        by_gpu.setdefault(fit.gpu.name, []).append(fit)
    for name, fits in by_gpu.items():
        gpu = fits[0].gpu
        machines = ", ".join(f"{fit.gpus}: `{fit.machine.partition(' ')[0]}`" for fit in fits)
        memory = f"{gpu.memory_bytes / 2**30:.1f}"
        rows.append(
            f"| `{name}` | {memory} | {gpu.compute_capability} | {machines} | {len(gpu.zones)} |"
        )
    return "\n".join(rows)


def gpu_tuning_table() -> str:
    """Return a Markdown table of how llama.cpp is set up on some machines with GPUs."""
    rows = [
        "| Machine type | GPUs | Model | Slots | Context of each | KV cache | Flash attention |",
        "|---|---|---|---|---|---|---|",
    ]
    program = PROGRAMS["gpu-vm"]
    for machine, gpu, model in _TUNED_GPUS:
        asked = {**_EXAMPLE, "machine_type": machine, "model": model}
        given = asked if gpu is None else {**asked, "gpu": gpu}
        settings = load(GpuVmSettings, given, program.defaults())
        gpus = settings.gpus()
        found = settings.tuned(gpus, settings.machine())
        having = "none" if gpus is None else f"{gpus[1]} {gpus[0].name}"
        rows.append(
            f"| `{machine}` | {having} | {model.partition('/')[2]} | {found.slots} | "
            f"{found.context_tokens} | `{found.kv_type}` | `{found.flash_attention}` |"
        )
    return "\n".join(rows)


def generated() -> dict[Path, str]:
    """Return every document with its generated parts renewed: path -> text."""
    tables = {
        "README.md": {"engines": engine_table()},
        "docs/cpu-vm.md": {"series": series_table(), "tuning": tuning_table()},
        "docs/gpu-vm.md": {"gpus": gpu_table(), "tuning": gpu_tuning_table()},
    }
    documents: dict[Path, str] = {}
    for name, program in PROGRAMS.items():
        table = key_table(program.schema, program.defaults())
        tables.setdefault(f"docs/{name}.md", {})["keys"] = table
        schema = json.dumps(program.schema.model_json_schema(), indent=2, ensure_ascii=False)
        documents[CHECKOUT / "docs" / "schema" / f"{name}.json"] = f"{schema}\n"
    for page, parts in tables.items():
        path = CHECKOUT / page
        documents[path] = renewed(path.read_text(encoding="utf-8"), parts)
    return documents


def renewed(text: str, tables: Mapping[str, str]) -> str:
    """Return `text` with each generated table in its place; raises KeyError for a missing place."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(text):
            raise KeyError(name)
        text = place.sub(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", text)
    return text


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` say which are not current."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if not current")
    check = parser.parse_args(arguments).check
    stale: list[str] = []
    documents = generated()
    for path, text in documents.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(CHECKOUT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for document in stale:
        print(f"{document} {'is not current' if check else 'was renewed'}", file=sys.stderr)
    if not stale:
        print(f"all {len(documents)} files are current")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
