"""GitHub's workflows as identities of Google Cloud, without a key: Workload Identity Federation.

A pool has one provider for previews and one for deployments. Each gives who comes through it a
constant attribute, by which a service account lets in the ones and not the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypeAlias, TypedDict

import pulumi
import pulumi_gcp as gcp

Purpose: TypeAlias = Literal["preview", "deploy"]
PURPOSES: tuple[Purpose, ...] = ("preview", "deploy")

ISSUER = "https://token.actions.githubusercontent.com"
"""Who signs the tokens of GitHub's workflows (docs.github.com, "OpenID Connect reference")."""
PREVIEW_EVENTS = ("pull_request", "schedule", "workflow_dispatch")
"""What starts a workflow that only reads: a pull request of the repository itself (one of a fork
gets no token), the drift check, and a person. `pull_request_target` is none of them: it would run
with the base's rights on what a stranger has sent."""

DEPLOY_EVENTS = ("push", "schedule", "workflow_dispatch")
"""What starts a workflow that deploys: a merge, the nightly test, and a person. What a stranger can
start on the main branch, such as a comment, is none of them."""


class RepositoryIds(TypedDict):
    """A repository of GitHub by its numbers, which nobody else gets after a rename."""

    repository: str
    owner: str


class FederationArgs(TypedDict):
    """What `Federation` takes."""

    project: pulumi.Input[str]
    """Id of the project, in which the API `iam` is turned on."""
    pool_id: str
    """4 to 32 lower-case letters, digits and hyphens. One that was deleted is free after 30
    days."""
    repository: RepositoryIds
    environment: str
    """GitHub's environment whose jobs may deploy."""
    branch: str
    """The branch whose jobs may deploy."""
    shown_as: str
    """What the pool is for, in 32 characters at most."""
    keep: NotRequired[bool]
    """Refuse to delete pool and providers until this is unset again."""


def preview_condition(ids: RepositoryIds) -> str:
    """Return the condition, in CEL, that a token has to meet to be let in for a preview."""
    return _of(ids, PREVIEW_EVENTS)


def deploy_condition(ids: RepositoryIds, environment: str, branch: str) -> str:
    """Return the condition, in CEL, that a token has to meet to be let in to deploy.

    A job without an environment has no such claim, for which the condition fails.
    """
    return (
        f"{_of(ids, DEPLOY_EVENTS)} && assertion.environment == '{environment}' "
        f"&& assertion.ref == 'refs/heads/{branch}'"
    )


def _of(ids: RepositoryIds, events: Sequence[str]) -> str:
    named = ", ".join(f"'{event}'" for event in events)
    return (
        f"assertion.repository_id == '{ids['repository']}' "
        f"&& assertion.repository_owner_id == '{ids['owner']}' "
        f"&& assertion.event_name in [{named}]"
    )


def mapping(purpose: Purpose) -> Mapping[str, str]:
    """Return what a token's claims become, each in CEL.

    GitHub's own `sub` changed its form in 2026, and may be longer than the 127 characters that a
    subject has here; this one names the run in audit logs.
    """
    return {
        "google.subject": "assertion.repository_id + ':' + assertion.run_id",
        "attribute.purpose": f"'{purpose}'",
    }


class Federation(pulumi.ComponentResource):
    """A pool that lets in the workflows of one repository of GitHub, to preview or to deploy."""

    pool: pulumi.Output[str]
    """`projects/NUMBER/locations/global/workloadIdentityPools/ID`."""
    providers: Mapping[Purpose, pulumi.Output[str]]
    """Full name of each provider, as a workflow gives it."""
    conditions: Mapping[Purpose, str]
    """What a token has to meet at each."""

    def __init__(
        self, name: str, args: FederationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("llm-endpoint:gcp:Federation", name, {"pool": args["pool_id"]}, opts)
        options = pulumi.ResourceOptions(
            parent=self,
            protect=args.get("keep", False),
            # Its id is the only one.
            delete_before_replace=True,
        )
        pool = gcp.iam.WorkloadIdentityPool(
            f"{name}-pool",
            project=args["project"],
            workload_identity_pool_id=args["pool_id"],
            display_name=args["shown_as"],
            description="GitHub's workflows of one repository, without a key",
            opts=options,
        )
        self.pool = pool.name
        self.conditions = {
            "preview": preview_condition(args["repository"]),
            "deploy": deploy_condition(args["repository"], args["environment"], args["branch"]),
        }
        self.providers = {
            purpose: gcp.iam.WorkloadIdentityPoolProvider(
                f"{name}-provider-{purpose}",
                project=pool.project,
                workload_identity_pool_id=pool.workload_identity_pool_id,
                workload_identity_pool_provider_id=purpose,
                display_name=f"GitHub: {purpose}",
                attribute_mapping=mapping(purpose),
                attribute_condition=self.conditions[purpose],
                # Without audiences of its own it takes tokens for its own full name alone.
                oidc={"issuer_uri": ISSUER},
                opts=options,
            ).name
            for purpose in PURPOSES
        }
        self.register_outputs({"pool": self.pool, **self.providers})

    def principals(self, purpose: Purpose) -> pulumi.Output[str]:
        """Return, as IAM names them, all who come in by the provider for `purpose`."""
        return pulumi.Output.format(
            "principalSet://iam.googleapis.com/{0}/attribute.purpose/{1}", self.pool, purpose
        )
