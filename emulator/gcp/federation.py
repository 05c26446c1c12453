"""Identity pools, keys of KMS, and who may use them: `iam_workload_identity_*`, `kms_*`."""

from __future__ import annotations

from collections.abc import Mapping

from .kind import ALL, Fields, Kind, number


def _active(inputs: Fields, identity: str) -> Fields:
    """The name has the project's number where the id has its own id."""
    project = str(inputs["project"])
    numbered = identity.replace(f"projects/{project}/", f"projects/{number(project)}/", 1)
    return {"name": numbered, "state": "ACTIVE"}


FEDERATION_TYPES: Mapping[str, Kind] = {
    "gcp:iam/workloadIdentityPool:WorkloadIdentityPool": Kind(
        "projects/{project}/locations/global/workloadIdentityPools/{workloadIdentityPoolId}",
        frozenset({"workloadIdentityPoolId", "project"}),
        _active,
        stays=True,
    ),
    "gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": Kind(
        "projects/{project}/locations/global/workloadIdentityPools/{workloadIdentityPoolId}"
        "/providers/{workloadIdentityPoolProviderId}",
        frozenset({"workloadIdentityPoolId", "workloadIdentityPoolProviderId", "project"}),
        _active,
        stays=True,
    ),
    "gcp:kms/keyRing:KeyRing": Kind(
        "projects/{project}/locations/{location}/keyRings/{name}", ALL, stays=True
    ),
    "gcp:kms/cryptoKey:CryptoKey": Kind(
        "{keyRing}/cryptoKeys/{name}",
        frozenset({"name", "keyRing", "purpose", "destroyScheduledDuration", "importOnly"}),
        stays=True,
    ),
    "gcp:kms/cryptoKeyIAMMember:CryptoKeyIAMMember": Kind(
        "{cryptoKeyId}/{role}/{member}", ALL, may_be_there=True
    ),
    "gcp:serviceaccount/iAMMember:IAMMember": Kind(
        "{serviceAccountId}/{role}/{member}", ALL, may_be_there=True
    ),
}
