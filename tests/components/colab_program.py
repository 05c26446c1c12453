"""`gke-colab` under the recording engine: what the tests of its component share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from unittest.mock import patch

import gke_program
from gke_program import nothing, of_type

from components.rendering.kubernetes.colab import render as rendering
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.rendered import RenderedObjects
from components.settings.secrets import MarkedSecret
from emulator.mocks.recording import Registration, Run, run
from stacks import PROGRAMS

STACK = "gke-ovms"
"""The stack's name, whatever program it has: one of `gke-ovms` that has become another."""
NAMESPACE = "colab-llm-cpu"
BUCKET = "my-project-llm-endpoint-gke-ovms-colab"
TOKEN = f"{gke_program.KEY}-gke-colab-key-colab"
RECEIPT = {"schema_version": 1, "status": "passed", "namespace": NAMESPACE}
SECRET_KEY = "the-secret-key-of-the-storage"
PARKED_AT = "2026-11-21T15:00:00Z"
RAW = {**gke_program.RAW, "max_nodes": "2"}
STORAGE = {
    "runtime_backup": "s3://backups?endpoint=https://hb.ru-msk.vkcloud-storage.ru",
    "runtime_backup_key_id": "the-id",
    "runtime_backup_secret_key": MarkedSecret(SECRET_KEY),
}

VARIANTS: dict[str, dict[str, str]] = {
    "both": {},
    "load balancer": gke_program.LOAD_BALANCER,
    "adopted cluster": gke_program.ADOPTED,
    "endpoint parked": {"parked": "true"},
    "runtime parked": {"runtime_replicas": "0"},
    "both parked": {"parked": "true", "runtime_replicas": "0", "runtime_backup": "none"},
    "kept": {"keep_data": "true"},
    "bucket of theirs": {"runtime_backup": "gs://theirs/notebooks"},
    "storage": STORAGE,
}
RUNNING = [name for name, given in VARIANTS.items() if "runtime_replicas" not in given]

_RUNS: dict[str, Run] = {}
_RENDERED: dict[str, RenderedObjects] = {}


def stdout(name: str, inputs: Mapping[str, object]) -> str:
    """What the commands of a first `up` print."""
    if name == "gke-colab-scale":
        return '{"colab-runtime": 1}'
    if name == "gke-colab-rest":
        return '["Deployment/colab-runtime"]'
    if name == "gke-colab-verification":
        return json.dumps(RECEIPT)
    return gke_program.stdout(name, inputs)


def rendered(plan: ColabPlan) -> RenderedObjects:
    """What the renderer makes of `plan`, made once: it reads every module of the job."""
    key = repr(plan)
    if key not in _RENDERED:
        _RENDERED[key] = rendering.render(plan)
    return _RENDERED[key]


def deployed(
    changed: Mapping[str, str] | None = None,
    *,
    program: str = "gke-colab",
    parked_at: str = "",
    preview: bool = False,
    taints: bool = False,
) -> Run:
    """The record of a first `up`; the same configuration gives the same record."""
    raw = {**RAW, **(changed or {})}
    key = repr((program, sorted(raw.items()), raw, parked_at, preview, taints))
    if key not in _RUNS:
        chosen = PROGRAMS[program]
        settings = chosen.settings(raw)
        with (
            patch("scripts.gke.parked.last_parked", lambda *asked: parked_at),
            patch("components.targets.kubernetes.endpoint.render", gke_program.rendered),
            patch("components.targets.kubernetes.colab_runtime.render", rendered),
        ):
            _RUNS[key] = run(
                lambda: chosen.deploy(settings),
                nothing if preview else stdout,
                STACK,
                preview=preview,
                taints=taints,
            )
    return _RUNS[key]


def variant(name: str) -> Run:
    return deployed(VARIANTS[name])


def command(seen: Run, name: str) -> Registration:
    return seen.registrations[f"command:local:Command:gke-colab-{name}"]


def objects(seen: Run) -> list[Registration]:
    """All objects of the runtime's."""
    return [one for one in of_type(seen, "kubernetes:") if one.name.startswith("gke-colab-")]


def an_object(seen: Run, kind: str, name: str) -> Registration:
    (found,) = (
        one for one in objects(seen) if one.inputs["kind"] == kind and one.name.endswith(f"-{name}")
    )
    return found
