"""What an identity may do in a project: roles, and the conditions under which they count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """When a role counts: `expression` in CEL, over the attributes that IAM gives it."""

    title: str
    expression: str


@dataclass(frozen=True)
class Grant:
    """A role on a project, such as `roles/compute.viewer`. Without a condition it always counts."""

    role: str
    condition: Condition | None = None

    @property
    def slug(self) -> str:
        """The role as a part of a resource's name."""
        return self.role.removeprefix("roles/").replace(".", "-").lower()


def hands_out_only(roles: Iterable[str]) -> Condition:
    """Return the condition under which who may set a project's IAM policy hands out `roles` alone.

    `cloud.google.com/iam/docs/setting-limits-on-granting-roles` has the attribute.
    """
    listed = ", ".join(f"'{role}'" for role in sorted(set(roles)))
    attribute = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
    return Condition(
        "Hands out only what a stack's own identity gets", f"{attribute}.hasOnly([{listed}])"
    )


def every_bucket_but(bucket: str) -> Condition:
    """Return the condition that leaves out `bucket`, and those whose names go on from its own."""
    return Condition(
        f"Every bucket but {bucket}",
        f"!resource.name.startsWith('projects/_/buckets/{bucket}')",
    )
