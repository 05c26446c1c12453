"""The jobs that park what nobody has used for a while."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.rendering.kubernetes.code import MOUNT, code_digest, code_volume
from components.rendering.kubernetes.manifests import InNamespace, Manifest, metadata
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    CODE_ANNOTATION,
    GATEWAY_ACTIVITY,
    PARK,
    PARK_MODULE,
)
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.pods import (
    Mount,
    Resources,
    container,
    off_the_pool,
    pod_template,
    python,
    python_environment,
    tmp_volume,
)

COMPONENT = "park"
_VARIABLE = "LLM_ENDPOINT_PARK"
_SCHEDULE = "*/5 * * * *"
_SECONDS = 120
"""How long one run may take, its image's pull included; the next one comes anyway."""
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class ParkingJob:
    """What a job that parks runs, and what it may scale.

    `module` is run with `settings` as JSON in `variable`. `names` are of what is scaled, and
    `plural` is its kind in the API's paths. `volumes` are the pod's besides, and `mounts` where
    they are.
    """

    image: str
    module: str
    variable: str
    settings: Mapping[str, object]
    plural: str
    names: Sequence[str]
    suspended: bool
    volumes: Sequence[Mapping[str, object]] = ()
    mounts: Sequence[Mount] = ()


def parking_objects(plan: PodPlan) -> list[Manifest]:
    """Return the job, and as whom it runs; nothing where the plan never parks by itself."""
    if plan.idle_minutes is None:
        return []
    names = [server.name for server in plan.servers]
    settings = {
        "namespace": plan.namespace,
        "servers": names,
        "idle_minutes": plan.idle_minutes,
        "activity": f"http://{GATEWAY_ACTIVITY}:{ACTIVITY_PORT}/activity",
    }
    job = ParkingJob(
        plan.images.python, PARK_MODULE, _VARIABLE, settings, "statefulsets", names, plan.parked
    )
    return job_objects(plan, job)


def job_objects(plan: InNamespace, job: ParkingJob) -> list[Manifest]:
    """Return a job that parks, and as whom it runs."""
    return [_account(plan), _role(plan, job), _role_binding(plan), _job(plan, job)]


def _account(plan: InNamespace) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(plan, PARK),
        "automountServiceAccountToken": False,
    }


def _role(plan: InNamespace, job: ParkingJob) -> Manifest:
    """Return what the job may: scale what it parks, note when on that, and nothing else."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": metadata(plan, PARK),
        "rules": [
            {
                "apiGroups": ["apps"],
                "resources": [job.plural, f"{job.plural}/scale"],
                "resourceNames": list(job.names),
                "verbs": ["get", "patch"],
            }
        ],
    }


def _role_binding(plan: InNamespace) -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(plan, PARK),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": PARK},
        "subjects": [{"kind": "ServiceAccount", "name": PARK, "namespace": plan.namespace}],
    }


def _job(plan: InNamespace, job: ParkingJob) -> Manifest:
    pod: dict[str, object] = {
        "automountServiceAccountToken": True,
        "serviceAccountName": PARK,
        "affinity": off_the_pool(),
        "restartPolicy": "Never",
        "containers": [
            container(
                "park",
                job.image,
                python(job.module),
                {**python_environment(), job.variable: json.dumps(job.settings)},
                (MOUNT, *job.mounts),
                Resources(50, 64, 500, 128),
            )
        ],
        "volumes": [code_volume(job.module), *job.volumes, tmp_volume()],
    }
    annotations = {CODE_ANNOTATION: code_digest([job.module])}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(plan, PARK),
        "spec": {
            "schedule": _SCHEDULE,
            "suspend": job.suspended,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _SECONDS,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": _SECONDS,
                    "template": pod_template(plan, PARK, COMPONENT, pod, annotations),
                }
            },
        },
    }
