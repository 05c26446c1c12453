"""The namespace of a Colab runtime, as whom its pod runs, and the disks that outlive the pod."""

from __future__ import annotations

from components.rendering.kubernetes.colab.names import DATA_CLAIM, LIBRARIES_CLAIM, RUNTIME
from components.rendering.kubernetes.colab.plan import ColabPlan
from components.rendering.kubernetes.manifests import SKIP_AWAIT, Manifest, labels, metadata
from components.rendering.kubernetes.pods import size

_POD_SECURITY = "pod-security.kubernetes.io"


def namespace_objects(plan: ColabPlan) -> list[Manifest]:
    """Return the Namespace, the ServiceAccount and the claims.

    The image is root's and writes all over, so that `restricted` would refuse it; `baseline` lets
    nothing of the node in. The service account may nothing, and its pod has no token of its own.
    """
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": plan.namespace,
                "labels": {
                    **labels(plan, "llm-endpoint"),
                    f"{_POD_SECURITY}/enforce": "baseline",
                    f"{_POD_SECURITY}/warn": "baseline",
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(plan, RUNTIME),
            "automountServiceAccountToken": False,
        },
        _claim(plan, DATA_CLAIM, plan.data_gb),
        _claim(plan, LIBRARIES_CLAIM, plan.libraries_gb),
    ]


def _claim(plan: ColabPlan, name: str, disk_gb: int) -> Manifest:
    """Return a claim of `disk_gb` GiB, which one node has; its disk is made with the first pod."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(plan, name, RUNTIME, SKIP_AWAIT),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": plan.storage_class,
            "resources": {"requests": {"storage": size(disk_gb * 1024)}},
        },
    }
