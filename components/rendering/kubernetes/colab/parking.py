"""The job that parks a runtime once nobody uses it."""

from __future__ import annotations

from components.rendering.kubernetes.code import modules_object
from components.rendering.kubernetes.colab.names import PORT, RUNTIME, TOKEN_KEY, TOKEN_SECRET
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.manifests import Manifest
from components.rendering.kubernetes.parking import ParkingJob, job_objects
from components.rendering.kubernetes.pods import READ_ONLY_MODE, Mount

PARK_MODULE = "machine.pod.park_runtime"
VARIABLE = "LLM_ENDPOINT_PARK_RUNTIME"
HOST = f"localhost:{PORT}"
"""The name by which the job asks: the runtime's door lets in no other."""
_TOKEN = Mount("token", "/run/llm-endpoint/token")


def parking_objects(plan: ColabPlan) -> list[Manifest]:
    """Return the job, as whom it runs, and its code; nothing where nothing is ever parked."""
    if plan.idle_minutes is None:
        return []
    settings = {
        "namespace": plan.namespace,
        "runtime": RUNTIME,
        "idle_minutes": plan.idle_minutes,
        "url": f"http://{RUNTIME}:{PORT}",
        "host": HOST,
        "token_file": f"{_TOKEN.path}/{TOKEN_KEY}",
    }
    token = {"secretName": TOKEN_SECRET, "defaultMode": READ_ONLY_MODE}
    job = ParkingJob(
        plan.images.python,
        PARK_MODULE,
        VARIABLE,
        settings,
        plural="deployments",
        names=[RUNTIME],
        suspended=plan.replicas == 0,
        volumes=[{"name": _TOKEN.volume, "secret": token}],
        mounts=[_TOKEN],
    )
    return [modules_object(plan, PARK_MODULE), *job_objects(plan, job)]
