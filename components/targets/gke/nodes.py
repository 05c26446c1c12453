"""What all nodes of a cluster have in common, and who they are."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.site import Site
from components.targets.order import once

NODE_ROLE = "roles/container.defaultNodeServiceAccount"
"""What a node needs and no more: to write logs and metrics, and to read them for the autoscaler
(cloud.google.com/kubernetes-engine/docs/how-to/hardening-your-cluster, "Use least privilege IAM
service accounts")."""
SCOPES = tuple(
    f"https://www.googleapis.com/auth/{scope}"
    for scope in (
        "logging.write",
        "monitoring",
        "devstorage.read_only",
        "servicecontrol",
        "service.management.readonly",
        "trace.append",
    )
)
"""GKE's own set, without `cloud-platform`. Pods see neither these nor the account: the nodes'
metadata server hands out Workload Identity's."""
MANAGEMENT: gcp.container.NodePoolManagementArgsDict = {"auto_repair": True, "auto_upgrade": True}
"""A release channel takes no other."""
SHUTDOWN_SECONDS = 30
CRITICAL_SECONDS = 5
"""Of the 30 seconds between Google's notice and a Spot VM's end, what is left to the system's own
pods; the others, ours among them, have the rest."""


def node_account(site: Site) -> pulumi.Output[str]:
    """Make the account that nodes run as; return its address, known once it has its role."""
    account = gcp.serviceaccount.Account(
        f"{site.name}-account",
        project=site.api("iam"),
        account_id=site.account_id(),
        display_name=f"The nodes of {site.base_name}",
        opts=site.named(),
    )
    grant = gcp.projects.IAMMember(
        f"{site.name}-account-role",
        project=site.api("cloudresourcemanager"),
        role=NODE_ROLE,
        member=account.member,
        opts=site.child(),
    )
    return once(account.email, grant.id)


def node_config(
    *,
    machine_type: str,
    account: pulumi.Input[str],
    disk_gb: int,
    disk_type: str | None,
    labels: Mapping[str, str],
    spot: bool,
) -> gcp.container.NodePoolNodeConfigArgsDict:
    """Return what a node is; `labels` are those of what bills.

    Only a Spot VM takes another division of its last seconds.
    """
    kubelet: gcp.container.NodePoolNodeConfigKubeletConfigArgsDict = {
        "insecure_kubelet_readonly_port_enabled": "FALSE"
    }
    if spot:
        kubelet["shutdown_grace_period_seconds"] = SHUTDOWN_SECONDS
        kubelet["shutdown_grace_period_critical_pods_seconds"] = CRITICAL_SECONDS
    config: gcp.container.NodePoolNodeConfigArgsDict = {
        "machine_type": machine_type,
        "disk_size_gb": disk_gb,
        "service_account": account,
        "oauth_scopes": list(SCOPES),
        "resource_labels": labels,
        "gvnic": {"enabled": True},
        "shielded_instance_config": {
            "enable_secure_boot": True,
            "enable_integrity_monitoring": True,
        },
        "workload_metadata_config": {"mode": "GKE_METADATA"},
        "kubelet_config": kubelet,
        # The first metadata servers let anybody ask.
        "metadata": {"disable-legacy-endpoints": "true"},
    }
    if disk_type is not None:
        config["disk_type"] = disk_type
    return config
