"""A bucket of Cloud Storage that nobody sees but whom IAM lets in: for models, backups, state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp as gcp

_UNFINISHED_UPLOAD_DAYS = 7
_DAY_SECONDS = 24 * 3600


class PrivateBucketArgs(TypedDict):
    """What `PrivateBucket` takes."""

    bucket_name: str
    """Its name, which nobody else in the world may have: 3 to 63 characters."""
    project: pulumi.Input[str]
    """Id of the project, in which Cloud Storage's API is turned on."""
    location: str
    """A region, such as `europe-west4`."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of what bills."""
    keep_data: NotRequired[bool]
    """Refuse to delete the bucket until this is unset again. Otherwise it goes with all that is in
    it."""
    noncurrent_days: int
    """Days for which what was deleted or overwritten is kept, from 1."""
    soft_delete_days: NotRequired[int]
    """Days for which what was deleted for good can still be had back, and bills: 7 to 90. Otherwise
    none."""
    keep_objects: NotRequired[bool]
    """Never delete what is in it along with it: it goes only when it is empty."""


class PrivateBucket(pulumi.ComponentResource):
    """A bucket without public access and without access lists of objects.

    It keeps what was overwritten for some days, and unless `soft_delete_days` says otherwise
    deletes at once what is deleted for good.
    """

    name: pulumi.Output[str]
    url: pulumi.Output[str]
    """`gs://NAME`, known once the bucket is there."""
    identity: pulumi.Output[str]
    """Changes when it is another bucket, of the same name too."""

    def __init__(
        self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            "llm-endpoint:gcp:PrivateBucket", name, {"bucket": args["bucket_name"]}, opts
        )
        keep_data = args.get("keep_data", False)
        api = gcp.projects.Service(
            f"{name}-storage-api",
            project=args["project"],
            service="storage.googleapis.com",
            # Others may use it.
            disable_on_destroy=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        bucket = gcp.storage.Bucket(
            f"{name}-bucket",
            name=args["bucket_name"],
            project=api.project,
            location=args["location"],
            storage_class="STANDARD",
            # Workload Identity is granted rights on a bucket only so.
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            versioning={"enabled": True},
            # On top of versions, what is deleted would bill for a week more unless this is said.
            soft_delete_policy={
                "retention_duration_seconds": args.get("soft_delete_days", 0) * _DAY_SECONDS
            },
            lifecycle_rules=[
                {
                    "action": {"type": "Delete"},
                    "condition": {
                        "days_since_noncurrent_time": args["noncurrent_days"],
                        "with_state": "ARCHIVED",
                    },
                },
                {
                    "action": {"type": "AbortIncompleteMultipartUpload"},
                    "condition": {"age": _UNFINISHED_UPLOAD_DAYS},
                },
            ],
            labels=args.get("labels", {}),
            # A destroy reads it in the state: it has to be there from an `up` before.
            force_destroy=not (keep_data or args.get("keep_objects", False)),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=keep_data,
                # Its name is the only one.
                delete_before_replace=True,
            ),
        )
        self.name = bucket.name
        self.url = pulumi.Output.format("gs://{0}", bucket.name)
        self.identity = pulumi.Output.format("{0} {1}", bucket.name, bucket.time_created)
        self.register_outputs({"name": self.name, "url": self.url})
