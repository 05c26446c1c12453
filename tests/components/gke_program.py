"""`gke-ovms` under the recording engine: what the tests of its components share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from unittest.mock import patch

from components.rendering.kubernetes import render as rendering
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.rendered import RenderedObjects
from emulator.mocks.recording import Registration, Run, run
from stacks import PROGRAMS

STACK = "gke-ovms"
NAME = "llm-endpoint-gke-ovms"
"""Of everything in the cloud, and of the namespace."""
KEY = "sk-the-key-of-the-test"
CA_KEY = "-----BEGIN PRIVATE KEY-----\nthe-private-key-of-the-authority\n-----END PRIVATE KEY-----"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----"
HOST = f"gateway.{NAME}.svc.cluster.local"
RECEIPT = {"schema_version": 1, "status": "passed", "endpoint_url": f"https://{HOST}"}
PARKED_AT = "2026-11-21T14:00:00Z"
RAW = {
    "gcp:project": "my-project",
    "gcp:zone": "europe-west4-a",
    "labels": "team=research",
    "keys": "default alice@3",
}
LOAD_BALANCER = {"expose": "load_balancer", "allowed_cidrs": "203.0.113.7/32 198.51.100.0/24"}
GATEWAY = {**LOAD_BALANCER, "expose": "gateway", "domain": "llm.example.com"}
ADOPTED = {"cluster": "projects/my-project/locations/europe-west4/clusters/theirs"}

VARIANTS: dict[str, dict[str, str]] = {
    "internal": {},
    "load balancer": LOAD_BALANCER,
    "load balancer with a domain": {
        **LOAD_BALANCER,
        "domain": "llm.example.com",
        "dns_zone": "llm",
    },
    "gateway": GATEWAY,
    "gateway with a zone": {**GATEWAY, "dns_zone": "llm"},
    "adopted cluster": ADOPTED,
    "adopted cluster, gateway": {**ADOPTED, **GATEWAY},
    "given network": {"network": "theirs", "subnetwork": "theirs"},
    "given network with a NAT": {"network": "theirs", "nat": "true"},
    "by address": {"control_plane_cidrs": "203.0.113.0/24"},
    "parked": {"parked": "true"},
    "parked load balancer": {**LOAD_BALANCER, "parked": "true"},
    "kept": {"keep_data": "true"},
    "several": {"replicas": "2", "max_replicas": "3", "max_nodes": "3", "spot": "false"},
    "llama.cpp": {
        "engine": "llama_cpp",
        "model": "Qwen/Qwen2.5-7B-Instruct-GGUF:qwen2.5-7b-instruct-q4_k_m.gguf",
    },
}

_RUNS: dict[str, Run] = {}
_RENDERED: dict[str, RenderedObjects] = {}


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    """What the commands of a first `up` print."""
    if "-key-" in name:
        return f"{KEY}-{name}"
    return {
        "gke-ovms-ca": json.dumps({"certificate": CERTIFICATE, "key": CA_KEY}),
        "gke-ovms-scale": '{"chat": 1}',
        "gke-ovms-chat-rest": '["chat"]',
        "gke-ovms-verification": json.dumps(RECEIPT),
    }[name]


def nothing(name: str, inputs: Mapping[str, object]) -> None:
    """What is known in a preview of what commands print."""


def rendered(plan: PodPlan) -> RenderedObjects:
    """What the renderer makes of `plan`, made once: it reads every module of the pods."""
    key = repr(plan)
    if key not in _RENDERED:
        _RENDERED[key] = rendering.render(plan)
    return _RENDERED[key]


def deployed(
    changed: Mapping[str, str] | None = None,
    *,
    parked_at: str = "",
    preview: bool = False,
    taints: bool = False,
) -> Run:
    """The record of a first `up`; the same configuration gives the same record."""
    raw = {**RAW, **(changed or {})}
    key = repr((sorted(raw.items()), parked_at, preview, taints))
    if key not in _RUNS:
        program = PROGRAMS[STACK]
        settings = program.settings(raw)
        with (
            patch("scripts.gke.parked.last_parked", lambda *asked: parked_at),
            patch("components.targets.kubernetes.endpoint.render", rendered),
        ):
            _RUNS[key] = run(
                lambda: program.deploy(settings),
                nothing if preview else stdout,
                STACK,
                preview=preview,
                taints=taints,
            )
    return _RUNS[key]


def variant(name: str) -> Run:
    return deployed(VARIANTS[name])


def of_type(seen: Run, token: str) -> list[Registration]:
    """All resources whose type begins so, such as `gcp:container/` or `kubernetes:`."""
    return [entry for entry in seen.registrations.values() if entry.token.startswith(token)]


def only(seen: Run, token: str) -> Registration:
    found = of_type(seen, token)
    assert len(found) == 1, [entry.name for entry in found]
    return found[0]


def command(seen: Run, name: str) -> Registration:
    return seen.registrations[f"command:local:Command:gke-ovms-{name}"]


def pool(seen: Run, name: str = "nodes") -> Registration:
    return seen.registrations[f"gcp:container/nodePool:NodePool:gke-ovms-{name}"]


def an_object(seen: Run, kind: str, name: str) -> Registration:
    (found,) = (
        entry
        for entry in of_type(seen, "kubernetes:")
        if entry.inputs["kind"] == kind and entry.name.endswith(f"-{name}")
    )
    return found
