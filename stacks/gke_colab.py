"""`gke-colab`: a Colab runtime beside the verified endpoint of `gke-ovms`, on the same pool."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pulumi

from components.catalogue.gcp import region_of
from components.rendering.kubernetes.colab.names import RUNTIME
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.names import REGISTRY_KEY_ID, REGISTRY_SECRET_KEY
from components.rendering.kubernetes.plan import PodPlan
from components.serving.colab import colab_plan, makes_bucket
from components.settings import ConfigurationError, GkeColabSettings, Settings
from components.settings.gke_colab_checks import same_namespace
from components.settings.secrets import as_output
from components.targets.gke.args import ClusterPath
from stacks import gke_ovms
from stacks.interpreter import python
from stacks.planning import bucket_name

NAME = "gke-colab"
NONCURRENT_DAYS = 7
"""For which the bucket keeps what a backup has dropped: whoever could delete it could not for
long."""


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register all of `gke-ovms` and the runtime beside it, and return the stack's outputs.

    They have the same names as in `gke-ovms`: a stack of that program becomes one of this without
    anything being made anew. Asks the cluster when servers and runtime were parked.
    """
    # Only a deployment loads the providers.
    from components.targets.gke.billing import billed_runtime
    from components.targets.kubernetes.colab_runtime import ColabRuntime

    given = _gke_colab(settings)
    planned = runtime_plan(given, pulumi.get_stack())
    shared = gke_ovms.deployed(
        given,
        also_billed=billed_runtime(planned, makes_bucket=makes_bucket(given)),
        shares_nodes="the runtime" if given.runs_runtime else None,
    )
    runtime = ColabRuntime(
        NAME,
        {
            "plan": planned,
            "python": [python()],
            "provider": shared.endpoint.provider,
            "access": shared.cluster.access,
            "token_generation": given.runtime_token_generation,
            "backup_secret": _backup_secret(given),
            "ca_certificate": shared.endpoint.certificate,
            "first": _backup(given, planned, shared),
            "parked_at": _parked_at(planned, shared.cluster.path),
            "triggers": [shared.pool.id, given.node_machine_type],
            "ready_seconds": given.ready_minutes * 60,
        },
    )
    return {
        **shared.exports(),
        "port_forward": runtime.port_forward,
        "colab_url": runtime.url,
        "runtime": runtime.receipt,
    }


def plan(settings: Settings, stack: str) -> PodPlan:
    """Return what the endpoint's namespace of `stack` holds."""
    return gke_ovms.plan(settings, stack)


def runtime_plan(settings: Settings, stack: str) -> ColabPlan:
    """Return what the runtime's namespace of `stack` holds: the same for the same input.

    Raises `ConfigurationError` where that is the endpoint's too.
    """
    given = _gke_colab(settings)
    endpoint = gke_ovms.plan(given, stack)
    if endpoint.namespace == given.runtime_namespace:
        problem = same_namespace()
        raise ConfigurationError(
            f"llm-endpoint:{problem.key} is {given.runtime_namespace!r}: {problem.said}\n"
            f"    next: {problem.next_step}"
        )
    return colab_plan(given, endpoint, bucket_name(given.project, stack, "colab"))


def files(settings: Settings, stack: str) -> Mapping[str, str]:
    """Return every object that `stack` would send to its cluster: path below a folder -> YAML."""
    from components.rendering.kubernetes.colab.render import render

    own = render(runtime_plan(settings, stack)).files()
    placed = {path.replace("kubernetes/", "kubernetes-runtime/", 1): own[path] for path in own}
    return {**gke_ovms.files(settings, stack), **placed}


def _backup(
    given: GkeColabSettings, planned: ColabPlan, shared: gke_ovms.Deployed
) -> Sequence[pulumi.Resource]:
    """Register where backups go in Google's cloud, and the right to it; nothing for other storage.

    That right is the pod's own, by Workload Identity: there is no key.
    """
    if planned.backup is None or planned.backup.url.scheme != "gs":
        return ()
    from components.targets.gke.backup import BackupBucket

    path = shared.cluster.path
    backup = BackupBucket(
        NAME,
        {
            "bucket_name": planned.backup.url.bucket,
            "makes": makes_bucket(given),
            "project": path.project,
            "location": region_of(given.zone),
            "cluster": shared.cluster.name,
            "namespace": planned.namespace,
            "account": RUNTIME,
            "labels": given.labels,
            "keep_data": given.keep_data,
            "noncurrent_days": NONCURRENT_DAYS,
        },
    )
    return [backup]


def _backup_secret(given: GkeColabSettings) -> Mapping[str, pulumi.Input[str]] | None:
    """Return the access key of storage that speaks S3, by the names of its variables. Secret."""
    known = {
        REGISTRY_KEY_ID: given.runtime_backup_key_id,
        REGISTRY_SECRET_KEY: given.runtime_backup_secret_key,
    }
    return {name: as_output(value) for name, value in known.items() if value is not None} or None


def _parked_at(planned: ColabPlan, cluster: ClusterPath) -> str:
    """Return when the idle job last parked the runtime; "" for never, and while it is parked."""
    from scripts.gke.parked import last_parked
    from scripts.gke.workloads import DEPLOYMENT

    if not planned.replicas:
        return ""
    return last_parked(
        cluster.project,
        cluster.location,
        cluster.name,
        planned.namespace,
        [RUNTIME],
        os.environ,
        DEPLOYMENT,
    )


def _gke_colab(settings: Settings) -> GkeColabSettings:
    if not isinstance(settings, GkeColabSettings):
        raise TypeError(f"gke-colab takes GkeColabSettings, not {type(settings).__name__}")
    return settings
