"""What of a cluster's objects can be scaled to none and woken, and where its API has them."""

from __future__ import annotations

from collections.abc import Mapping

STATEFUL_SET = "StatefulSet"
"""Model servers of ours."""
DEPLOYMENT = "Deployment"
"""A notebook runtime."""
MODEL_SERVER = "ModelServer"
"""A model server of OpenVINO's operator, which has a scale of its own."""

KINDS: Mapping[str, tuple[str, str]] = {
    STATEFUL_SET: ("apps/v1", "statefulsets"),
    DEPLOYMENT: ("apps/v1", "deployments"),
    MODEL_SERVER: ("intel.com/v1alpha1", "modelservers"),
}
"""Kind -> its API's version, and its plural in paths."""


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """Return the path of an object of `kind`, of all of them without a `name`."""
    version, plural = KINDS[kind]
    path = f"/apis/{version}/namespaces/{namespace}/{plural}"
    return f"{path}/{name}" if name else path
