"""Who pods of a cluster are in Google's cloud without any key, and what they may do there."""

from __future__ import annotations

import pulumi
import pulumi_gcp as gcp


def workload_principal(
    project_number: pulumi.Input[str], project: str, namespace: str, account: str
) -> pulumi.Output[str]:
    """Return the principal that pods with a service account of Kubernetes are.

    `project` is the cluster's, whose pool of identities comes with its first cluster that has
    Workload Identity. Pods of the same namespace and account in another cluster of the project are
    the same principal (cloud.google.com/kubernetes-engine/docs/how-to/workload-identity).
    """
    return pulumi.Output.format(
        "principal://iam.googleapis.com/projects/{0}/locations/global/workloadIdentityPools/"
        "{1}.svc.id.goog/subject/ns/{2}/sa/{3}",
        project_number,
        project,
        namespace,
        account,
    )


def grant(
    name: str,
    bucket: pulumi.Input[str],
    role: str,
    member: pulumi.Input[str],
    opts: pulumi.ResourceOptions | None = None,
) -> gcp.storage.BucketIAMMember:
    """Let `member` have `role` on one bucket, beside whoever has it already."""
    return gcp.storage.BucketIAMMember(
        f"{name}-grant", bucket=bucket, role=role, member=member, opts=opts
    )
