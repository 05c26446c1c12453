"""The job that parks the servers once nobody has asked for anything for a while."""

from __future__ import annotations

import json

from components.rendering.kubernetes.code import MOUNT, code_digest, code_volume
from components.rendering.kubernetes.manifests import Manifest, metadata
from components.rendering.kubernetes.names import (
    ACTIVITY_PORT,
    CODE_ANNOTATION,
    GATEWAY_ACTIVITY,
    PARK,
    PARK_MODULE,
)
from components.rendering.kubernetes.plan import PodPlan
from components.rendering.kubernetes.pods import (
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


def parking_objects(plan: PodPlan) -> list[Manifest]:
    """Return the job, and as whom it runs; nothing where the plan never parks by itself."""
    if plan.idle_minutes is None:
        return []
    return [_account(plan), _role(plan), _role_binding(plan), _job(plan, plan.idle_minutes)]


def _account(plan: PodPlan) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(plan, PARK),
        "automountServiceAccountToken": False,
    }


def _role(plan: PodPlan) -> Manifest:
    """Return what the job may: scale the plan's servers, note when on them, and nothing else."""
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": metadata(plan, PARK),
        "rules": [
            {
                "apiGroups": ["apps"],
                "resources": ["statefulsets", "statefulsets/scale"],
                "resourceNames": [server.name for server in plan.servers],
                "verbs": ["get", "patch"],
            }
        ],
    }


def _role_binding(plan: PodPlan) -> Manifest:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(plan, PARK),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": PARK},
        "subjects": [{"kind": "ServiceAccount", "name": PARK, "namespace": plan.namespace}],
    }


def _job(plan: PodPlan, idle_minutes: int) -> Manifest:
    settings = {
        "namespace": plan.namespace,
        "servers": [server.name for server in plan.servers],
        "idle_minutes": idle_minutes,
        "activity": f"http://{GATEWAY_ACTIVITY}:{ACTIVITY_PORT}/activity",
    }
    pod: dict[str, object] = {
        "automountServiceAccountToken": True,
        "serviceAccountName": PARK,
        "affinity": off_the_pool(),
        "restartPolicy": "Never",
        "containers": [
            container(
                "park",
                plan.images.python,
                python(PARK_MODULE),
                {**python_environment(), _VARIABLE: json.dumps(settings)},
                (MOUNT,),
                Resources(50, 64, 500, 128),
            )
        ],
        "volumes": [code_volume(PARK_MODULE), tmp_volume()],
    }
    annotations = {CODE_ANNOTATION: code_digest([PARK_MODULE])}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(plan, PARK),
        "spec": {
            "schedule": _SCHEDULE,
            "suspend": plan.parked,
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
