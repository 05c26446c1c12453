"""Plans of machines, and what was rendered of them, as the tests look at it."""

from __future__ import annotations

import base64
import io
import tarfile
from dataclasses import replace
from functools import cache
from typing import Any

import yaml

from components.engines.llama_cpp import LlamaCppOptions, launch
from components.launch import Accelerator, Form, Launch, Probe
from components.rendering.machine.plan import (
    BuiltImage,
    Container,
    GatewayLimits,
    GitSource,
    Installation,
    MachineGpus,
    MachinePlan,
    ModelMemory,
    ModelServer,
    PulledImage,
    ResizeGroup,
    Tls,
)
from components.rendering.machine.rendered import MachineFile, RenderedMachine

WHEEL = Installation(
    requirements="llama-wheel",
    program=("{venv}/bin/python", "-m", "scripts.serve.wheel_server"),
    packages=("libgomp1",),
    modules=("scripts.serve.wheel_server",),
)
PULLING = Installation(
    requirements="localllm",
    program=("{venv}/bin/python", "-m", "machine.localllm"),
    packages=("g++",),
    source=GitSource("https://git.example.org/tool", "0" * 40, "tool"),
)
IMAGE = f"registry.example.org/engine:server@sha256:{'0' * 64}"
CONTAINER = Container(
    name="llama-cpp",
    image=PulledImage(IMAGE),
    program=("/app/llama-server",),
    cuda="12.8",
    lists_devices=("/app/llama-server", "--list-devices"),
)
BUILT = Container(
    name="llama-cpp-built",
    image=BuiltImage(
        name="llm-endpoint/llama-cpp:000000000000",
        source=GitSource("https://git.example.org/engine", "0" * 40, ""),
        dockerfile=".devops/cuda.Dockerfile",
        stage="server",
        arguments=(("CUDA_DOCKER_ARCH", "89"),),
    ),
    program=("/bin/sh", "-c", "exec serve"),
    shared_memory_mb=8192,
)


def server(name: str = "chat", *flags: str, checks_keys: bool = False) -> ModelServer:
    options = LlamaCppOptions(name, 4096, 4, checks_keys=checks_keys, extra_flags=flags)
    return ModelServer(
        name=name,
        launch=launch(options),
        model=f"owner/repo:{name}.gguf",
        installation=WHEEL,
        memory=ModelMemory(16384, 4, "f16"),
    )


def contained(name: str = "chat", *flags: str, container: Container = CONTAINER) -> ModelServer:
    """A server in a container."""
    return replace(
        server(name, *flags),
        installation=container,
        memory=ModelMemory(16384, 4, "q8_0", gpu_layers=20, gpus=1),
    )


def pulling_server() -> ModelServer:
    return ModelServer(
        name="chat",
        launch=Launch(
            engine="localllm",
            program="local-llm",
            arguments=("run", "owner/repo", "{port}", "--host", "{host}"),
            model_id=None,
            probe=Probe("/openapi.json"),
            forms=frozenset({Form.PROCESS}),
            accelerators=frozenset({Accelerator.CPU}),
            environment={"N_CTX": "4096"},
        ),
        model="owner/repo:file.gguf",
        installation=PULLING,
        pull=("{venv}/bin/python", "-m", "machine.localllm", "pull", "owner/repo"),
    )


PLAIN = MachinePlan(
    base_name="llm-endpoint-tests",
    servers=(server(),),
    tls=Tls.OWN_CA,
    limits=GatewayLimits(active_requests=16),
)
FULL = MachinePlan(
    base_name="llm-endpoint-full",
    servers=(server(), server("embeddings", "--embeddings")),
    tls=Tls.ACME,
    limits=GatewayLimits(active_requests=32, body_bytes=1000),
    domain="llm.example.org",
    idle_minutes=30,
    stop=ResizeGroup("llm-endpoint-full"),
)
PULLED = MachinePlan(
    base_name="llm-endpoint-pulled",
    servers=(pulling_server(),),
    tls=Tls.OWN_CA,
    limits=GatewayLimits(active_requests=16),
    cache_disk=None,
)
DOCKER = replace(
    PLAIN, base_name="llm-endpoint-docker", servers=(contained(), server("embeddings"))
)
GPUS = MachinePlan(
    base_name="llm-endpoint-gpus",
    servers=(contained(), contained("embeddings", "--embeddings", container=BUILT)),
    tls=Tls.OWN_CA,
    limits=GatewayLimits(active_requests=32),
    gpus=MachineGpus("nvidia-l4", 2, "8.9"),
)
PLANS = {"plain": PLAIN, "full": FULL, "pulled": PULLED, "docker": DOCKER, "gpus": GPUS}


@cache
def rendered(name: str) -> RenderedMachine:
    from components.rendering.machine.render import render

    return render(PLANS[name])


def texts(machine: RenderedMachine) -> dict[str, str]:
    """Every file by its path on the machine."""
    return {file.path: file.content for file in machine.files}


def units(machine: RenderedMachine) -> dict[str, str]:
    """Every unit, with its drop-ins at its end, by its name."""
    folder = "/etc/systemd/system/"
    found = {
        path.removeprefix(folder): content
        for path, content in texts(machine).items()
        if path.startswith(folder)
    }
    whole = {name: text for name, text in found.items() if "/" not in name}
    for name, text in found.items():
        if "/" in name:
            unit = name.partition(".d/")[0]
            whole[unit] = whole.get(unit, "") + text
    return whole


def values(unit: str, key: str) -> list[str]:
    """All values of `key` in a unit's text, in their order, each on one line."""
    lines = (line.partition("=") for line in unit.replace(" \\\n  ", " ").splitlines())
    return [value for name, _, value in lines if name == key]


@cache
def cloud_config(name: str) -> dict[str, Any]:
    """The user-data of a plan, read by libyaml, since PyYAML's own reader takes a second."""
    return yaml.load(rendered(name).user_data, Loader=yaml.CSafeLoader)


def as_cloud_init_writes(name: str) -> tuple[MachineFile, ...]:
    """The files that the user-data of a plan places, its archive unpacked."""
    found: list[MachineFile] = []
    for entry in cloud_config(name)["write_files"]:
        if entry.get("encoding") != "b64":
            found.append(MachineFile(entry["path"], entry["content"], entry["permissions"]))
            continue
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(entry["content"]))) as tar:
            for member in tar.getmembers():
                content = tar.extractfile(member)
                assert content is not None
                path = f"/opt/llm-endpoint/{member.name}"
                text = content.read().decode()
                found.append(MachineFile(path, text, f"{member.mode:04o}"))
    return tuple(found)
