"""A bucket for the backups of what runs in a cluster, and the pods' own right to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.private_bucket import PrivateBucket
from components.targets.gke.identity import grant, workload_principal
from components.targets.order import once

ROLE = "roles/storage.objectUser"
"""To read, list, write and delete objects, and nothing of the bucket itself
(cloud.google.com/storage/docs/access-control/iam-roles): old backups are dropped too."""


class BackupBucketArgs(TypedDict):
    """What `BackupBucket` takes."""

    bucket_name: str
    makes: bool
    """Whether the bucket is made; one that is there is left as it is, but for the right."""
    project: str
    """Id of the cluster's project, in which a bucket is made."""
    location: str
    """A region, such as `europe-west4`."""
    cluster: pulumi.Input[str]
    """Known once the cluster is there, and with it the pool of its workloads' identities."""
    namespace: str
    account: str
    """The service account of Kubernetes that gets the right, in `namespace`."""
    labels: NotRequired[Mapping[str, str]]
    keep_data: NotRequired[bool]
    """Refuse to delete a bucket that was made, until this is unset again."""
    noncurrent_days: int
    """Days for which a bucket that is made keeps what was deleted."""


class BackupBucket(pulumi.ComponentResource):
    """A private bucket, or one that is there, for one service account of one namespace.

    No key is made: the right is the pods' own identity's. It is taken back before a bucket that was
    made goes, and what depends on this goes before both.
    """

    url: pulumi.Output[str]
    """`gs://NAME`, known once pods have the right."""

    def __init__(
        self, name: str, args: BackupBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        shown = {"bucket": args["bucket_name"], "makes": args["makes"]}
        super().__init__("llm-endpoint:gcp:BackupBucket", name, shown, opts)
        bucket = self._bucket(name, args)
        number = gcp.organizations.get_project_output(
            project_id=args["project"], opts=pulumi.InvokeOutputOptions(parent=self)
        ).number
        principal = workload_principal(
            once(number, args["cluster"]), args["project"], args["namespace"], args["account"]
        )
        right = grant(
            f"{name}-backup", bucket, ROLE, principal, pulumi.ResourceOptions(parent=self)
        )
        self.url = once(pulumi.Output.format("gs://{0}", bucket), right.id)
        self.register_outputs({"url": self.url})

    def _bucket(self, name: str, args: BackupBucketArgs) -> pulumi.Input[str]:
        if not args["makes"]:
            return args["bucket_name"]
        made = PrivateBucket(
            f"{name}-backup",
            {
                "bucket_name": args["bucket_name"],
                "project": args["project"],
                "location": args["location"],
                "labels": args.get("labels", {}),
                "keep_data": args.get("keep_data", False),
                "noncurrent_days": args["noncurrent_days"],
            },
            pulumi.ResourceOptions(parent=self),
        )
        return made.name
