"""Configurations of `gpu-vm`, read and refused: what the tests of its settings share."""

import pytest

from components.settings import ConfigurationError, GpuVmSettings, load

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "allowed_cidrs": "203.0.113.7/32",
    "model": "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf",
}
VLLM = {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "120"}
T4 = {"machine_type": "n1-standard-8", "gpu": "t4"}
CPU = {"machine_type": "e2-standard-8", "gpu": "none"}
DIGEST = "sha256:" + 64 * "a"
SEVENTY = "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:Q4_K_M"


def settings(raw: dict[str, str]) -> GpuVmSettings:
    return load(GpuVmSettings, {**GOOD, **raw}, {})


def refusal(raw: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(raw)
    return str(caught.value)
