"""Where a team keeps Pulumi's state: a private bucket, and the key that its secrets are under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.private_bucket import PrivateBucket
from components.targets.order import once

KEY_NAME = "pulumi-state"
ROTATION_SECONDS = 90 * 24 * 3600
"""Older versions still decrypt. Each that is not destroyed bills (cloud.google.com/kms/pricing)."""
DESTROY_SECONDS = 30 * 24 * 3600
"""How long a version that is to be destroyed can be had back."""
NONCURRENT_DAYS = 90
SOFT_DELETE_DAYS = 30


class StateStoreArgs(TypedDict):
    """What `StateStore` takes."""

    project: pulumi.Input[str]
    """Id of the project, in which the API `cloudkms` is turned on."""
    location: str
    """A region, such as `europe-west4`."""
    bucket_name: str
    """Its name, which nobody else in the world may have: 3 to 63 characters."""
    key_ring: str
    """Name of the key ring. It can be given once in a location: none is ever deleted."""
    labels: NotRequired[Mapping[str, str]]
    """Labels of what bills."""
    keep_data: NotRequired[bool]
    """Refuse to delete bucket and key until this is unset again."""


class StateStore(pulumi.ComponentResource):
    """A private bucket that goes only when it is empty, and a key that goes only after it."""

    bucket: pulumi.Output[str]
    """Its name, known once the bucket is there."""
    key: pulumi.Output[str]
    """`projects/…/cryptoKeys/…`."""
    backend: pulumi.Output[str]
    """`gs://BUCKET`, as Pulumi takes it."""
    secrets_provider: pulumi.Output[str]
    """`gcpkms://…`, as Pulumi takes it."""
    identity: pulumi.Output[str]
    """Changes when it is another bucket, of the same name too."""

    def __init__(
        self, name: str, args: StateStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm-endpoint:gcp:StateStore", name, {"bucket": args["bucket_name"]}, opts)
        keep_data = args.get("keep_data", False)
        labels = args.get("labels", {})
        kept = pulumi.ResourceOptions(parent=self, protect=keep_data)
        ring = gcp.kms.KeyRing(
            f"{name}-key-ring",
            name=args["key_ring"],
            project=args["project"],
            location=args["location"],
            opts=kept,
        )
        key = gcp.kms.CryptoKey(
            f"{name}-key",
            name=KEY_NAME,
            key_ring=ring.id,
            purpose="ENCRYPT_DECRYPT",
            rotation_period=f"{ROTATION_SECONDS}s",
            destroy_scheduled_duration=f"{DESTROY_SECONDS}s",
            labels=labels,
            opts=kept,
        )
        bucket = PrivateBucket(
            name,
            {
                "bucket_name": args["bucket_name"],
                # While states lie in the bucket it does not go, and then neither does their key.
                "project": once(args["project"], key.id),
                "location": args["location"],
                "labels": labels,
                "keep_data": keep_data,
                "keep_objects": True,
                "noncurrent_days": NONCURRENT_DAYS,
                "soft_delete_days": SOFT_DELETE_DAYS,
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.bucket = bucket.name
        self.key = key.id
        self.backend = bucket.url
        self.secrets_provider = pulumi.Output.format("gcpkms://{0}", key.id)
        self.identity = bucket.identity
        self.register_outputs({"backend": self.backend, "secrets_provider": self.secrets_provider})
