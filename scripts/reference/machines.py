"""Machines and GPUs that the catalogue knows, and how llama.cpp is set up on some of them."""

from __future__ import annotations

from components.catalogue.gcp import catalogue, find_machine_type
from components.catalogue.gcp_gpu import Fit, which_fit
from components.models.reference import parse_model_reference
from components.models.size import guess
from components.settings import GpuVmSettings, load
from components.sizing.machine_tuning import tuning
from stacks import PROGRAMS

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
