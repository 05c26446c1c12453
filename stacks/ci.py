"""`ci`: where a team's state lies, and what GitHub's workflows may do without any key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pulumi

from components.endpoint import Billed
from components.settings import CiSettings, Settings
from scripts.gcp.program_roles import deploying, previewing, reading_besides
from stacks.interpreter import python
from stacks.planning import base_name, bucket_name

NAME = "ci"
_LONGEST_ID = 32
"""Of an identity pool (`gcp.iam.WorkloadIdentityPool`)."""
_LONGEST_ACCOUNT_ID = 30
_NO_ENDPOINT: Mapping[str, None] = {"endpoint_url": None, "openai_base_url": None}


def deploy(settings: Settings) -> Mapping[str, object]:
    """Register it all, and return the stack's outputs."""
    # The provider's package takes its time.
    from components.targets.gcp.ci import Ci

    given = _ci(settings)
    stack = pulumi.get_stack()
    stacks = given.deployed()
    bucket = state_bucket(given, stack)
    made = Ci(
        NAME,
        {
            "project": given.project,
            "location": given.region,
            "bucket_name": bucket,
            "unique_name": unique_name(given, stack),
            "account_ids": {
                "preview": account_id(stack, "preview"),
                "deploy": account_id(stack, "deploy"),
            },
            "role_id": role_id(given, stack),
            "repository": {
                "repository": given.github_repository_id,
                "owner": given.github_owner_id,
            },
            "environment": given.environment,
            "branch": given.branch,
            "deploys": deploying(stacks, given.project, bucket),
            "reads": previewing(stacks.values()),
            "reads_besides": reading_besides(stacks.values()),
            "labels": given.labels,
            "keep_data": given.keep_data,
            "python": [python()],
        },
    )

    def once_checked(value: object) -> pulumi.Output[object]:
        return made.receipt.apply(lambda _: value)

    return {
        "state": once_checked("serving"),
        **_NO_ENDPOINT,
        "state_backend": made.backend,
        "secrets_provider": made.secrets_provider,
        "github_repository": given.github_repository,
        "github_environment": given.environment,
        "github_branch": given.branch,
        "github_variables": {
            "LLM_ENDPOINT_BACKEND": made.backend,
            "LLM_ENDPOINT_PREVIEW_PROVIDER": made.providers["preview"],
            "LLM_ENDPOINT_PREVIEW_ACCOUNT": made.accounts["preview"],
            "LLM_ENDPOINT_DEPLOY_PROVIDER": made.providers["deploy"],
            "LLM_ENDPOINT_DEPLOY_ACCOUNT": made.accounts["deploy"],
            "LLM_ENDPOINT_PROJECT": given.project,
        },
        "verification": made.receipt,
        "billing": once_checked(billed(bucket)),
    }


def state_bucket(settings: CiSettings, stack: str) -> str:
    """Return the name of the bucket that `stack` keeps states in."""
    return settings.bucket_name or bucket_name(settings.project, stack, "state")


def unique_name(settings: CiSettings, stack: str) -> str:
    """Return the name of pool and key ring: another for another project, stack or generation."""
    told = f"{settings.project} {stack} {settings.generation}"
    return _ended(base_name(stack), hashlib.sha256(told.encode()).hexdigest()[:6], _LONGEST_ID)


def account_id(stack: str, purpose: str) -> str:
    """Return the id of the service account for `purpose`: two stacks have two."""
    plain = f"{base_name(stack)}-{purpose}"
    if len(plain) <= _LONGEST_ACCOUNT_ID:
        return plain
    digest = hashlib.sha256(stack.encode()).hexdigest()[:6]
    return _ended(base_name(stack), f"{digest}-{purpose}", _LONGEST_ACCOUNT_ID)


def role_id(settings: CiSettings, stack: str) -> str:
    """Return the id of the role that previews have: another for another generation."""
    again = "" if settings.generation == 1 else f"_{settings.generation}"
    return f"{base_name(stack)}_preview{again}".replace("-", "_")


def _ended(text: str, end: str, longest: int) -> str:
    return f"{text[: longest - len(end) - 1].rstrip('-')}-{end}"


def billed(bucket: str) -> list[Billed]:
    """Return what bills, as long as the stack is there."""
    return [
        {
            "resource": f"bucket gs://{bucket}: the states and their history",
            "running": True,
            "parked": True,
        },
        {
            "resource": "key versions: each that is not destroyed, a new one every 90 days",
            "running": True,
            "parked": True,
        },
    ]


def _ci(settings: Settings) -> CiSettings:
    if not isinstance(settings, CiSettings):
        raise TypeError(f"ci takes CiSettings, not {type(settings).__name__}")
    return settings
