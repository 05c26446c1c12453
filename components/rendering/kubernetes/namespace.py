"""The namespace itself, and as whom its pods run."""

from __future__ import annotations

from components.rendering.kubernetes import kserve, operator
from components.rendering.kubernetes.manifests import Manifest, labels, metadata
from components.rendering.kubernetes.names import GATEWAY, SERVERS
from components.rendering.kubernetes.plan import Deploy, PodPlan

_POD_SECURITY = "pod-security.kubernetes.io"
_LEVELS = {Deploy.OPERATOR: operator.POD_SECURITY, Deploy.KSERVE: kserve.POD_SECURITY}
"""What a namespace asks of its pods where they are not ours, and so not `restricted`."""


def namespace_objects(plan: PodPlan) -> list[Manifest]:
    """Return the Namespace, which takes no pod that has more powers than ours need.

    Its service accounts may nothing, and their pods have no token of theirs.
    """
    level = _LEVELS.get(plan.deploy, "restricted")
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": plan.namespace,
                "labels": {
                    **labels(plan, "llm-endpoint"),
                    f"{_POD_SECURITY}/enforce": level,
                    f"{_POD_SECURITY}/warn": level,
                },
            },
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": metadata(plan, name),
                "automountServiceAccountToken": False,
            }
            for name in (SERVERS, GATEWAY)
        ),
    ]
