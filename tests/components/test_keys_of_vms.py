"""Every key of `cpu-vm` and `gpu-vm` changes something that is seen; a new one needs a row here."""

import pytest
from key_rows import Row, check, keys_of

GGUF = "bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q8_0.gguf"
EMBED = "nomic-ai/nomic-embed-text-v1.5-GGUF:nomic-embed-text-v1.5.Q8_0.gguf"
DOMAIN = {"domain": "llm.example.com"}
NETWORK = {"network": "theirs"}
SPOT = {"spot": "true"}
VLLM = {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "150"}
T4 = {"machine_type": "n1-standard-16", "gpu": "t4", "model": GGUF}

SHARED = {
    "allowed_cidrs": Row("198.51.100.0/24", "Firewall"),
    "boot_gb": Row("100", "Instance"),
    "cache_gb": Row("200", "Disk"),
    "context_tokens": Row("2048", "Instance"),
    "dns_zone": Row("llm", "RecordSet", DOMAIN),
    "domain": Row("llm.example.com", "Command"),
    "embeddings_model": Row(EMBED, "Instance"),
    "engine_flags": Row("--no-warmup", "Instance"),
    "flash_attention": Row("off", "Instance"),
    "gcp:project": Row("other-project", "Instance"),
    "gcp:region": Row("us-central1", refused="europe-west4"),
    "gcp:zone": Row("europe-west4-b", "Instance"),
    "idle_minutes": Row("30", "Instance"),
    "keep_data": Row("true", "Disk"),
    "keys": Row("default alice", "SecretVersion"),
    "kv_type": Row("q4_0", "Instance"),
    "labels": Row("team=research", "Instance"),
    "max_run_hours": Row("8", "Instance"),
    "min_tokens_per_second": Row("5", "Command"),
    "model": Row(GGUF, "Instance"),
    "network": Row("theirs", "Network"),
    "parked": Row("true", "Instance"),
    "ready_minutes": Row("20", "Command"),
    "schedule": Row("stop 0 20 * * *", "ResourcePolicy"),
    "slots": Row("2", "Instance"),
    "spot": Row("true", "Instance"),
    "spot_recovery": Row("mig", "InstanceGroupManager", SPOT),
    "subnetwork": Row("theirs", "Instance", NETWORK),
    "threads": Row("3", "Instance"),
    "tls": Row("acme", "Firewall", DOMAIN),
    "verify_streams": Row("5", "Command"),
    "zones": Row("europe-west4-b", "said"),
}
ROWS = {
    "cpu-vm": {
        **SHARED,
        "engine": Row("localllm", "Instance", {"model": GGUF}),
        "image": Row("ubuntu-24.04", "Instance"),
        "llama_server": Row("native", "Instance"),
        "machine_type": Row("e2-standard-8", "Instance"),
    },
    "gpu-vm": {
        **SHARED,
        "chat_template": Row("vicuna", "Instance"),
        "container_image": Row(f"ghcr.io/theirs/server:cuda@sha256:{'a' * 64}", "Instance"),
        "engine": Row("vllm", "Instance", together=VLLM),
        "gpu": Row("t4", "Instance", {**T4, "gpu": "none"}),
        "gpu_count": Row("2", "Instance", T4),
        "gpu_layers": Row("all", "Instance"),
        "image": Row("projects/p/global/images/mine", "Instance"),
        "machine_type": Row("g2-standard-12", "Instance"),
        "quantization": Row("fp8", "Instance", VLLM),
        "split_mode": Row("row", "Instance", {"machine_type": "g2-standard-24"}),
        "tool_call_parser": Row("hermes", "Instance", VLLM),
    },
}


@pytest.mark.parametrize("program", ROWS)
def test_every_key_has_a_row(program: str):
    assert ROWS[program].keys() == keys_of(program) - {"program"}


@pytest.mark.parametrize(
    ("program", "key"), [(program, key) for program, rows in ROWS.items() for key in rows]
)
def test_a_key_changes_what_is_registered(program: str, key: str):
    check(program, key, ROWS[program][key])
