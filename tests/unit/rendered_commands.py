"""What each engine is started with, in every program and variant: words and variables as rendered.

Machines by their units, clusters by their objects, the local stack by what its commands are given.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from components.launch import Launch
from components.rendering.kubernetes.deployed import workload_objects
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.machine.plan import MachinePlan
from components.rendering.machine.servers import server_text
from scripts.changes.mocked import mocked_with
from scripts.made_up import made_up
from stacks import PROGRAMS, cpu_vm, gke_colab, gke_ovms, gpu_vm

_HUB_FILE = "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf"
_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
_PLANS = {"cpu-vm": cpu_vm.plan, "gpu-vm": gpu_vm.plan, "gke-ovms": gke_ovms.plan}
_CPU = {"machine_type": "e2-standard-8", "gpu": "none"}
_VLLM = {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "120"}
_LLAMA_POD = {"engine": "llama_cpp", "model": _HUB_FILE}
_REGISTRY = {"registry": "gs://example-models"}
_EMBEDDINGS = "nomic-ai/nomic-embed-text-v1.5-GGUF:nomic-embed-text-v1.5.Q8_0.gguf"

VARIANTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "local": ("local", {"model": "builtin:stand-in"}),
    "local, with embeddings": (
        "local",
        {"model": "builtin:stand-in", "embeddings_model": "builtin:stand-in"},
    ),
    "cpu-vm": ("cpu-vm", {}),
    "cpu-vm, built there": ("cpu-vm", {"llama_server": "native"}),
    "cpu-vm, localllm": ("cpu-vm", {"engine": "localllm", "model": _HUB_FILE, "slots": "1"}),
    "cpu-vm, localllm with a smaller cache": (
        "cpu-vm",
        {
            **{"engine": "localllm", "model": _HUB_FILE, "slots": "1"},
            **{"flash_attention": "on", "kv_type": "q8_0"},
        },
    ),
    "cpu-vm, with embeddings": ("cpu-vm", {"embeddings_model": _EMBEDDINGS}),
    "gpu-vm": ("gpu-vm", {}),
    "gpu-vm, built there": ("gpu-vm", {"container_image": "build"}),
    "gpu-vm, on processors": ("gpu-vm", {**_CPU, "model": _HUB_FILE}),
    "gpu-vm, chosen": (
        "gpu-vm",
        {
            **{"machine_type": "g2-standard-24", "split_mode": "row", "kv_type": "q8_0"},
            **{"flash_attention": "on", "gpu_layers": "20", "chat_template": _TEMPLATE},
        },
    ),
    "gpu-vm, a template by name": ("gpu-vm", {"chat_template": "vicuna"}),
    "gpu-vm, with embeddings": ("gpu-vm", {"embeddings_model": _EMBEDDINGS}),
    "gpu-vm, vllm": ("gpu-vm", _VLLM),
    "gpu-vm, vllm chosen": (
        "gpu-vm",
        {
            **_VLLM,
            **{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ", "quantization": "awq"},
            **{"tool_call_parser": "hermes", "chat_template": _TEMPLATE, "kv_type": "fp8"},
            "context_tokens": "4096",
        },
    ),
    "gke-ovms": ("gke-ovms", {}),
    "gke-ovms, with embeddings": (
        "gke-ovms",
        {"embeddings_model": "OpenVINO/bge-base-en-v1.5-int8-ov"},
    ),
    "gke-ovms, llama.cpp": ("gke-ovms", _LLAMA_POD),
    "gke-ovms, llama.cpp with embeddings": (
        "gke-ovms",
        {**_LLAMA_POD, "embeddings_model": _EMBEDDINGS},
    ),
    "gke-ovms, classic": ("gke-ovms", {**_REGISTRY, "classic_models": "resnet50@1 resnet50@2"}),
    "gke-ovms, kserve": ("gke-ovms", {"deploy": "kserve"}),
    "gke-colab": ("gke-colab", {}),
}


@dataclass(frozen=True)
class Command:
    """One server as it is started: program and words, and the variables that are set for it."""

    engine: str
    words: tuple[str, ...]
    variables: frozenset[str]
    probes: frozenset[str] = frozenset()

    @property
    def flags(self) -> frozenset[str]:
        return frozenset(word.partition("=")[0] for word in self.words if _is_flag(word))


def _is_flag(word: str) -> bool:
    return re.match(r"--?[A-Za-z]", word) is not None


@cache
def commands(name: str) -> tuple[Command, ...]:
    """Return the servers of one of `VARIANTS`."""
    program, given = VARIANTS[name]
    if program == "local":
        return tuple(_local(given))
    raw = {**given, **made_up(PROGRAMS[program], given)}
    settings = PROGRAMS[program].settings(raw)
    plan = (gke_colab.plan if program == "gke-colab" else _PLANS[program])(settings, program)
    return tuple(_machine(plan) if isinstance(plan, MachinePlan) else _pods(plan))


def _local(given: Mapping[str, str]) -> Iterator[Command]:
    registered = mocked_with(given, "local").run.registrations
    start = registered["command:local:Command:local-server"].plain()["environment"]
    assert isinstance(start, Mapping)
    launch = json.loads(start["LLM_ENDPOINT_LAUNCH"])
    yield Command("llama_cpp", tuple(launch["arguments"]), frozenset(launch["environment"]))


def _machine(plan: MachinePlan) -> Iterator[Command]:
    for server in plan.servers:
        text = server_text(server, 8081, plan)
        line = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.MULTILINE)
        assert line is not None
        words = shlex.split(line[1].replace("\\\n", " ").replace("$$", "$"))
        # What stands before is every server's, and none of its launch.
        own = text.partition("# The server '")[2]
        variables = set(re.findall(r"^Environment=\"?(\w+)=", own, re.MULTILINE))
        if "--entrypoint" in words:
            variables |= {
                words[index + 1].partition("=")[0]
                for index, word in enumerate(words)
                if word == "--env"
            }
        yield Command(
            server.launch.engine,
            tuple(words[-len(server.launch.arguments) :]),
            frozenset(variables),
            _paths(server.launch),
        )


def _pods(plan: PodPlan) -> Iterator[Command]:
    for server in plan.servers:
        manifests: list[Any] = workload_objects(plan)
        (container,) = (
            part
            for manifest in manifests
            if manifest["kind"] in {"StatefulSet", "InferenceService"}
            and manifest["metadata"]["name"] == server.name
            for part in _containers(manifest["spec"])
        )
        yield Command(
            server.launch.engine,
            tuple(container.get("args") or container["command"][len(server.program) :]),
            frozenset(one["name"] for one in container.get("env", ())),
            _paths(server.launch),
        )


def _containers(spec: Any) -> list[Any]:
    if "predictor" in spec:
        return [spec["predictor"]["model"]]
    return spec["template"]["spec"]["containers"]


def _paths(launch: Launch) -> frozenset[str]:
    """Return the paths that tell how a server is, with a placeholder for its model."""
    probe = launch.probe
    asked = (path for path in (probe.path, probe.live_path, probe.state_path) if path is not None)
    return frozenset(path.replace(f"/{launch.model_id}/", "/{model}/") for path in asked)
