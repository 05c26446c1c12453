"""The volumes that keep the models, and where on them a server finds its own."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from components.models.pod_model import parse_pod_model
from components.models.reference import HubFile, UrlFile, split_names
from components.rendering.kubernetes.manifests import labels
from components.rendering.kubernetes.names import MODELS, SERVED
from components.rendering.kubernetes.plan import ModelForm, PodPlan, PodServer
from components.rendering.kubernetes.pods import Mount, size

CLAIM = "models"
"""The name of the claim in the StatefulSet: `models-chat-0` is that of the pod `chat-0`."""
READ = Mount(CLAIM, MODELS)
WRITTEN = Mount(CLAIM, MODELS, writable=True)

_ONE_FILE = "model.gguf"
"""What a GGUF model of one file is called beside its own name."""


def claim_template(plan: PodPlan, server: PodServer) -> dict[str, object]:
    """Return the template of the claims of `server`: `disk_gb` GiB each, which one node has."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "labels": labels(plan, server.name)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": plan.storage_class,
            "resources": {"requests": {"storage": size(server.disk_gb * 1024)}},
        },
    }


def claim_retention(plan: PodPlan) -> dict[str, str]:
    """Return what becomes of the claims: parking, which scales to 0, must never delete a model."""
    return {"whenDeleted": "Retain" if plan.keep_data else "Delete", "whenScaled": "Retain"}


def model_path(server: PodServer) -> str:
    """Return what stands for `Slot.MODEL`: a folder, or the first file of a GGUF model.

    `machine.pod.model` or `machine.pod.registry` puts it there, and the files of a GGUF model under
    their own names.
    """
    folder = f"{SERVED}/{server.name}"
    if server.form is not ModelForm.GGUF:
        return folder
    return f"{folder}/{_first_file(server.model)}"


def _first_file(model: str) -> str:
    match parse_pod_model(model):
        case HubFile(selector=str(path)) as file if file.names_file:
            return PurePosixPath(path).name
        case UrlFile(url=url):
            name = unquote(urlsplit(url).path).rpartition("/")[2]
            return name if len(split_names(name)) > 1 else _ONE_FILE
        case _:
            return _ONE_FILE
