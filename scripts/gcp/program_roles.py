"""What GitHub's workflows may do in a project, by the programs that they preview and deploy.

Roles hold whatever a program can be configured to; `scripts.gcp.access` tells what one very
configuration needs. Which permission is in which role: cloud.google.com/iam/docs/
roles-permissions, as the data set iann0036/iam-dataset had it in August 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.targets.gcp.grants import Grant, every_bucket_but, hands_out_only
from scripts.gcp import access, registry
from stacks.planning import base_name

NODE_ROLE = "roles/container.defaultNodeServiceAccount"
"""What the nodes of a cluster get on the project (components/targets/gke/nodes.py)."""
_PROJECT_IAM = "roles/resourcemanager.projectIamAdmin"
_STORAGE = "roles/storage.admin"
_MACHINE = frozenset({*access.ROLES, *access.DNS_ROLE, *access.GROUP_ROLES, *access.TAG_ROLES})
_MANAGES_MACHINES, _SEES_MACHINES = "roles/compute.admin", "roles/compute.viewer"
_CLUSTER = frozenset(
    {
        *access.CLUSTER_ROLES,
        *access.GATEWAY_ROLES,
        *access.ACCOUNT_KEY_ROLE,
        *access.DNS_ROLE,
        access.NETWORK_ROLE,
        # A bucket's policy lets pods in; a notebook's backups have a bucket of their own.
        *access.BACKUP_ROLE,
        # The disks that claims left, which the nightly sweep lists (scripts/ci/sweep.py).
        _SEES_MACHINES,
    }
)
_DEPLOYS: Mapping[str, frozenset[str]] = {
    "cpu-vm": _MACHINE,
    "gpu-vm": _MACHINE,
    "gke-ovms": _CLUSTER,
    "gke-colab": _CLUSTER,
    "model-registry": frozenset(registry.ROLES),
}

_READS_ALWAYS = frozenset(
    {
        # Who may do what in the project, and roles of its own.
        "roles/iam.roleViewer",
        "roles/iam.serviceAccountViewer",
        "roles/serviceusage.serviceUsageViewer",
        # `ci` itself.
        "roles/iam.workloadIdentityPoolViewer",
        "roles/cloudkms.viewer",
    }
)
_READS_MACHINES = frozenset(
    {
        "roles/compute.viewer",
        "roles/dns.reader",
        "roles/resourcemanager.tagViewer",
        # Names and versions of secrets, and none of their values.
        "roles/secretmanager.viewer",
    }
)
_READS_CLUSTERS = frozenset(
    {
        "roles/certificatemanager.viewer",
        "roles/compute.viewer",
        "roles/container.viewer",
        "roles/dns.reader",
    }
)
_READS: Mapping[str, frozenset[str]] = {
    "cpu-vm": _READS_MACHINES,
    "gpu-vm": _READS_MACHINES,
    "gke-ovms": _READS_CLUSTERS,
    "gke-colab": _READS_CLUSTERS,
    "model-registry": frozenset(),
}
_READS_BESIDES = (
    "cloudkms.cryptoKeys.getIamPolicy",
    "storage.buckets.get",
    "storage.buckets.getIamPolicy",
)
"""Roles that have these have all objects of every bucket too, or may change keys."""
_CLUSTER_SECRETS = "container.secrets.get"
"""`roles/container.viewer` leaves a cluster's Secrets out, and a refresh reads ours."""


def deploying(stacks: Mapping[str, str], project: str, state_bucket: str) -> list[Grant]:
    """Return what who deploys `stacks` (name -> program) may do in `project`.

    What could be turned against the project itself or against the state has a condition.
    """
    wanted = {role for program in stacks.values() for role in _DEPLOYS[program]}
    if _MANAGES_MACHINES in wanted:
        # It has all of the other.
        wanted.discard(_SEES_MACHINES)
    conditions = {
        _PROJECT_IAM: hands_out_only(_handed_out(stacks, project)),
        _STORAGE: every_bucket_but(state_bucket),
    }
    return [Grant(role, conditions.get(role)) for role in sorted(wanted)]


def _handed_out(stacks: Mapping[str, str], project: str) -> Iterable[str]:
    """Yield the roles on the project that stacks give to what they make."""
    for stack, program in stacks.items():
        if _DEPLOYS[program] is _CLUSTER:
            yield NODE_ROLE
        elif _DEPLOYS[program] is _MACHINE:
            # A machine's right to set the size of its own group (components/targets/gcp/group.py).
            role_id = f"{base_name(stack)}_group".replace("-", "_")
            yield f"projects/{project}/roles/{role_id}"


def previewing(programs: Iterable[str]) -> list[Grant]:
    """Return what who previews `programs` may do in the project: all of it only reads."""
    wanted = _READS_ALWAYS.union(*(_READS[program] for program in programs))
    return [Grant(role) for role in sorted(wanted)]


def reading_besides(programs: Iterable[str]) -> tuple[str, ...]:
    """Return permissions that previews of `programs` take besides those roles."""
    clusters = any(_READS[program] is _READS_CLUSTERS for program in programs)
    return tuple(sorted([*_READS_BESIDES, *([_CLUSTER_SECRETS] if clusters else [])]))
