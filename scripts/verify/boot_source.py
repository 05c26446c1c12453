"""Which console `--boot` names: the one place that knows them all."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.verify.console import Console, FileConsole
from scripts.verify.options import UsageError

_GCP = re.compile(
    r"gcp:(?P<project>[a-z0-9][a-z0-9.:-]*)/(?P<zone>[a-z0-9-]+)/(?P<instance>[a-z0-9-]+)"
)
_KUBERNETES = re.compile(r"kubernetes:(?P<namespace>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)")


def parse_source(text: str) -> str:
    """Return `text` where it names a console. Raises `UsageError`."""
    known = _GCP.fullmatch(text) or _KUBERNETES.fullmatch(text)
    if known or (text.startswith("file:") and len(text) > len("file:")):
        return text
    raise UsageError(
        "--boot takes gcp:PROJECT/ZONE/INSTANCE (the serial console of a Google Cloud VM), "
        "kubernetes:NAMESPACE (the pods there, in the cluster of $LLM_ENDPOINT_CLUSTER) or "
        "file:PATH"
    )


def subject(source: str | None) -> str:
    """Return what starts where `source` is read, as a sentence names it."""
    pods = source is not None and _KUBERNETES.fullmatch(source)
    return "the pods' start" if pods else "the machine's boot"


def open_console(source: str) -> Console:
    """Return the console at `source`, which `parse_source` has accepted."""
    pods = _KUBERNETES.fullmatch(source)
    if pods is not None:
        # Only pods need Kubernetes' client.
        from scripts.gke.pod_console import PodConsole

        return PodConsole(pods["namespace"])
    match = _GCP.fullmatch(source)
    if match is None:
        return FileConsole(Path(source.removeprefix("file:")))
    # Only a machine at Google needs Google's client.
    from scripts.gcp.serial_console import Instance, SerialConsole

    return SerialConsole(Instance(match["project"], match["zone"], match["instance"]))
