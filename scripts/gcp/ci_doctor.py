"""What `ci` needs of Google Cloud before its first up.

Part of `scripts.gcp.doctor`: it only asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.settings import CiSettings
from components.targets.gcp.ci_wanted import APIS
from scripts.bootstrap.finding import Finding
from scripts.gcp import access, registry
from scripts.gcp.rest import ApiError, GoogleApi, Service
from scripts.verify.shape import dig_text
from stacks.ci import state_bucket, unique_name

IAM = Service("iam")
ROLES = {
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.services.enable",),
    "roles/storage.admin": (
        "storage.buckets.create",
        "storage.buckets.get",
        "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
    ),
    "roles/cloudkms.admin": (
        "cloudkms.cryptoKeys.create",
        "cloudkms.cryptoKeys.setIamPolicy",
        "cloudkms.keyRings.create",
    ),
    "roles/cloudkms.cryptoKeyEncrypterDecrypter": (
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeyVersions.useToEncrypt",
    ),
    "roles/iam.workloadIdentityPoolAdmin": (
        "iam.googleapis.com/workloadIdentityPoolProviders.create",
        "iam.googleapis.com/workloadIdentityPools.create",
    ),
    "roles/iam.serviceAccountAdmin": (
        "iam.serviceAccounts.create",
        "iam.serviceAccounts.setIamPolicy",
    ),
    "roles/iam.roleAdmin": ("iam.roles.create",),
    "roles/resourcemanager.projectIamAdmin": ("resourcemanager.projects.setIamPolicy",),
}
"""Predefined roles, each with what up, its check and the move of the state need of it."""
_REST = "project, billing, APIs, permissions, bucket and pool"


def findings(settings: CiSettings, stack: str, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what was found, for a stack of that name."""
    bucket = state_bucket(settings, stack)
    yield Finding(
        "ok",
        f"configuration: workflows of {settings.github_repository} deploy "
        f"{', '.join(settings.deployed())}; states in gs://{bucket}",
    )
    pool = unique_name(settings, stack)
    yield from access.with_credentials(
        environment, _REST, lambda api: _google(api, settings, bucket, pool, stack)
    )


def _google(
    api: GoogleApi, settings: CiSettings, bucket: str, pool: str, stack: str
) -> Iterator[Finding]:
    project = settings.project
    there = access.project(api, project)
    yield there
    if there.verdict == "problem":
        yield Finding("note", f"not looked at without the project: {_REST.partition(', ')[2]}")
        return
    yield access.billing(api, project)
    apis, on = access.enabled(api, project, [*APIS])
    yield apis
    yield from access.granted(api, project, ROLES)
    yield registry.bucket_there(api, bucket)
    if apis.verdict == "ok" or "iam" in on:
        yield _pool(api, project, pool, settings.generation, stack)


def _pool(api: GoogleApi, project: str, pool: str, generation: int, stack: str) -> Finding:
    """Look whether the pool's name can be had: a deleted one keeps it for 30 days."""
    try:
        found = api.get(IAM, f"projects/{project}/locations/global/workloadIdentityPools/{pool}")
    except ApiError as error:
        if error.status == 404:
            return Finding("ok", f"identity pool {pool}: up makes it")
        return Finding("note", f"identity pool {pool}: Google does not tell ({error})")
    state = dig_text(found, "state")
    if state == "DELETED":
        return Finding(
            "problem",
            f"identity pool {pool} was deleted, and keeps its name for 30 days",
            f"scripts/pulumi config set generation {generation + 1} --stack {stack}",
        )
    return Finding("ok", f"identity pool {pool} is there ({state.lower() or 'in no known state'})")
