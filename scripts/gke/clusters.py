"""A cluster as the GKE API tells it: whether it is there, and where its API server answers."""

from __future__ import annotations

import base64
import binascii

from components.targets.kubernetes.access import ClusterAccess
from scripts.gcp.rest import CONTAINER, GoogleApi
from scripts.verify.shape import Json, dig, dig_text


def path_of(project: str, location: str, cluster: str) -> str:
    """Return a cluster's path in the GKE API."""
    return f"projects/{project}/locations/{location}/clusters/{cluster}"


def describe(api: GoogleApi, path: str) -> Json:
    """Return what GKE says of the cluster at `path`. Raises `ApiError`, `CredentialsError`."""
    return api.get(CONTAINER, path)


def access_of(cluster: Json) -> ClusterAccess | None:
    """Return the way to a cluster's API server; None where it has none from outside.

    By its DNS endpoint where that lets callers from outside in, which shows a certificate of
    Google's public authority; else by its address, with the cluster's own authority.
    """
    by_name = dig(cluster, "controlPlaneEndpointsConfig", "dnsEndpointConfig")
    name = dig_text(by_name, "endpoint")
    if name and dig(by_name, "allowExternalTraffic") is True:
        return ClusterAccess(f"https://{name}")
    address = dig_text(cluster, "endpoint")
    authority = dig_text(cluster, "masterAuth", "clusterCaCertificate")
    if not address or not authority:
        return None
    try:
        pem = base64.b64decode(authority, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return ClusterAccess(f"https://{address}", pem)
