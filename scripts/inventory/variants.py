"""The configurations whose inventories are kept: each program as it is, and what changes it most.

Keys are bare, values as the engine hands them on. What must be set and is not is made up
(`scripts/made_up.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.settings.secrets import ENCRYPTED

Given = Mapping[str, str]
Variants = Mapping[str, Given]

_FROM: Final = {"allowed_cidrs": "203.0.113.0/24 198.51.100.7/32"}
_DOMAIN: Final = {"domain": "llm.example.com", "dns_zone": "llm"}
_LOAD_BALANCER: Final = {**_FROM, "expose": "load_balancer"}
_GATEWAY: Final = {**_FROM, **_DOMAIN, "expose": "gateway"}
_CLUSTER: Final = {"cluster": "projects/my-project/locations/europe-west4/clusters/theirs"}
_STORAGE: Final = "s3://models?endpoint=https://s3.example.org"

_SPOT_IN_A_GROUP: Final = {"spot": "true", "spot_recovery": "mig"}
_OPERATORS_IMAGE: Final = f"openvino/model_server:2026.2.1@sha256:{'0' * 64}"

VARIANTS: Final[Mapping[str, Variants]] = {
    "local": {"two keys": {"keys": "default alice@2"}, "parked": {"parked": "true"}},
    "cpu-vm": {
        "spot in a group": _SPOT_IN_A_GROUP,
        "parked": {"parked": "true"},
        "data kept": {"keep_data": "true"},
        "certificate of a public authority": {**_FROM, **_DOMAIN, "tls": "acme"},
        "limited and scheduled": {
            "max_run_hours": "8",
            "schedule": "start 0 8 * * 1-5; stop 0 20 * * 1-5; Europe/Berlin",
        },
        "network that is there": {"network": "theirs", "subnetwork": "theirs"},
    },
    "gpu-vm": {
        "spot in a group": _SPOT_IN_A_GROUP,
        "vllm": {"engine": "vllm", "model": "Qwen/Qwen2.5-7B-Instruct", "boot_gb": "150"},
        "attached gpus": {"machine_type": "n1-standard-16", "gpu": "t4", "gpu_count": "2"},
    },
    "gke-ovms": {
        "load balancer": _LOAD_BALANCER,
        "gateway": _GATEWAY,
        "control plane by address": {"control_plane_cidrs": "203.0.113.0/24"},
        "adopted cluster": _CLUSTER,
        "ordinary nodes": {"spot": "false", "max_nodes": "3", "max_replicas": "3"},
        "parked": {"parked": "true"},
        "data kept": {"keep_data": "true"},
        "registry by identity": {"registry": "gs://models", "classic_models": "resnet50@1"},
        "registry by key": {
            "registry": "gs://models",
            "registry_access": "key",
            "classic_models": "resnet50@1",
        },
        "operator": {
            "deploy": "operator",
            "operator_subscription": "true",
            "container_image": _OPERATORS_IMAGE,
        },
        "kserve": {"deploy": "kserve"},
    },
    "gke-colab": {
        "load balancer": _LOAD_BALANCER,
        "runtime parked": {"runtime_replicas": "0"},
        "both parked": {"parked": "true", "runtime_replicas": "0"},
        "data kept": {"keep_data": "true"},
        "backups in other storage": {
            "runtime_backup": "s3://backups?endpoint=https://s3.example.org",
            "runtime_backup_key_id": "an-id",
            "runtime_backup_secret_key": ENCRYPTED,
        },
        "no backups": {"runtime_backup": "none"},
    },
    "model-registry": {
        "data kept": {"keep_data": "true"},
        "other storage": {
            "registry": _STORAGE,
            "registry_key_id": "an-id",
            "registry_secret_key": ENCRYPTED,
        },
    },
    "ci": {
        "one stack": {"stacks": "models=model-registry"},
        "data not kept": {"keep_data": "false"},
    },
}
"""By program; a program has an inventory without any of them too."""
