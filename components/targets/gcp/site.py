"""What all resources of one endpoint share, and the APIs that they need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_gcp as gcp

MAX_ACCOUNT_ID = 30
"""Characters of a service account's id (the limit of `gcp.serviceaccount.Account`)."""


@dataclass(frozen=True)
class Site:
    """Where the resources of one endpoint stand, and what they are named and labelled by.

    `name` begins their logical names, `base_name` their names in the cloud.
    """

    parent: pulumi.Resource
    name: str
    base_name: str
    project: str
    region: str
    zone: str
    labels: Mapping[str, str]

    def child(self) -> pulumi.ResourceOptions:
        """Options of a resource that can stand beside its replacement."""
        return pulumi.ResourceOptions(parent=self.parent)

    def named(self) -> pulumi.ResourceOptions:
        """Options of a resource whose fixed name its replacement needs."""
        return pulumi.ResourceOptions(parent=self.parent, delete_before_replace=True)

    def account_id(self) -> str:
        """Id of the service account: `base_name`, cut and made unique where it is too long."""
        if len(self.base_name) <= MAX_ACCOUNT_ID:
            return self.base_name
        digest = hashlib.sha256(self.base_name.encode()).hexdigest()[:8]
        return f"{self.base_name[: MAX_ACCOUNT_ID - 9].rstrip('-')}-{digest}"

    def role_id(self, purpose: str) -> str:
        """Id of a custom role, which takes no hyphens."""
        return f"{self.base_name}_{purpose}".replace("-", "_")

    def api(self, api: str) -> pulumi.Output[str]:
        """Enable `api`, such as `compute`, and return the project in which it then is.

        It stays enabled when the stack goes: others may use it.
        """
        return gcp.projects.Service(
            f"{self.name}-{api}-api",
            project=self.project,
            service=f"{api}.googleapis.com",
            disable_on_destroy=False,
            opts=self.child(),
        ).project
