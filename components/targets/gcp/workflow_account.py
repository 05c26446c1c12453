"""A service account that GitHub's workflows act as: what it may do, and who may be it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp as gcp

from components.targets.gcp.ci_wanted import ACTS_AS
from components.targets.gcp.grants import Grant


class WorkflowAccountArgs(TypedDict):
    """What `WorkflowAccount` takes."""

    project: pulumi.Input[str]
    """Id of the project, in which the APIs `iam` and `cloudresourcemanager` are turned on."""
    account_id: str
    """6 to 30 lower-case letters, digits and hyphens."""
    shown_as: str
    """What it is for, in 100 characters at most."""
    principals: pulumi.Input[str]
    """Who may act as it, as IAM names them."""
    grants: Sequence[Grant]
    """Its roles on the project."""
    permissions: NotRequired[Sequence[str]]
    """What no role of Google's has without much else: a role of its own."""
    role_id: NotRequired[str]
    """Id of that role, which takes letters, digits and underscores. Required for permissions. One
    that was deleted can be made again for 7 days, and then for 30 days not (cloud.google.com/iam/
    docs/creating-custom-roles)."""
    keep: NotRequired[bool]
    """Refuse to delete that role, which gives nobody anything by itself."""
    bucket: pulumi.Input[str]
    """Name of the bucket with the state."""
    bucket_role: str
    """Its role on that bucket."""
    key: pulumi.Input[str]
    """Id of the key that the state's secrets are under."""
    key_role: str
    """Its role on that key."""


class WorkflowAccount(pulumi.ComponentResource):
    """A service account without a key, which only workflows that a pool lets in may act as."""

    email: pulumi.Output[str]
    """Its address, known once it may do all that it is to do."""
    identity: pulumi.Output[str]
    """Changes when it is another account, of the same address too."""

    def __init__(
        self, name: str, args: WorkflowAccountArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(
            "llm-endpoint:gcp:WorkflowAccount", name, {"account": args["account_id"]}, opts
        )
        child = pulumi.ResourceOptions(parent=self)
        account = gcp.serviceaccount.Account(
            f"{name}-account",
            project=args["project"],
            account_id=args["account_id"],
            display_name=args["shown_as"],
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        ready = [self._role(name, account, grant.role, grant, child).id for grant in args["grants"]]
        permissions = args.get("permissions", ())
        if permissions:
            own = gcp.projects.IAMCustomRole(
                f"{name}-role",
                # Not the account's: that would have to stay with it.
                project=args["project"],
                role_id=args.get("role_id"),
                title=args["shown_as"],
                permissions=list(permissions),
                opts=pulumi.ResourceOptions(
                    parent=self, delete_before_replace=True, protect=args.get("keep", False)
                ),
            )
            ready.append(self._role(name, account, own.name, Grant("own"), child).id)
        ready.append(
            gcp.storage.BucketIAMMember(
                f"{name}-state",
                bucket=args["bucket"],
                role=args["bucket_role"],
                member=account.member,
                opts=child,
            ).id
        )
        ready.append(
            gcp.kms.CryptoKeyIAMMember(
                f"{name}-key",
                crypto_key_id=args["key"],
                role=args["key_role"],
                member=account.member,
                opts=child,
            ).id
        )
        ready.append(
            gcp.serviceaccount.IAMMember(
                f"{name}-workflows",
                service_account_id=account.name,
                role=ACTS_AS,
                member=args["principals"],
                opts=child,
            ).id
        )
        self.email = pulumi.Output.all(account.email, *ready).apply(lambda values: values[0])
        self.identity = account.unique_id
        self.register_outputs({"email": self.email})

    def _role(
        self,
        name: str,
        account: gcp.serviceaccount.Account,
        role: pulumi.Input[str],
        grant: Grant,
        opts: pulumi.ResourceOptions,
    ) -> gcp.projects.IAMMember:
        condition = grant.condition
        return gcp.projects.IAMMember(
            f"{name}-{grant.slug}",
            project=account.project,
            role=role,
            member=account.member,
            condition=None
            if condition is None
            else {"title": condition.title, "expression": condition.expression},
            opts=opts,
        )
