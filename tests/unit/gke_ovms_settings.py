"""Configurations of `gke-ovms`, read and refused: what the tests of its settings share."""

import pytest

from components.settings import ConfigurationError, GkeOvmsSettings, load

GOOD = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "model": "OpenVINO/Qwen3-8B-int4-ov@5c47abf4b8e12ebe8e99745bb0c1ec17e0c0abcc",
}
LLAMA = {"engine": "llama_cpp", "model": "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M"}
EMBEDDINGS = "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"
CLUSTER = "projects/my-project/locations/europe-west4/clusters/shared"
FROM = {"allowed_cidrs": "203.0.113.7/32"}
BALANCED = {"expose": "load_balancer", **FROM}
GATEWAY = {"expose": "gateway", "domain": "llm.example.org", **FROM}
DIGEST = "@sha256:" + 64 * "a"


def settings(raw: dict[str, str]) -> GkeOvmsSettings:
    return load(GkeOvmsSettings, {**GOOD, **raw}, {})


def refusal(raw: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings(raw)
    return str(caught.value)
