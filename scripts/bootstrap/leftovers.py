"""What scripts/down looks for, of a stack in a cluster, once it is gone."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scripts.bootstrap import exported
from scripts.bootstrap.environment import Prepared
from scripts.bootstrap.running import run_live

_CLUSTER = "llm-endpoint:gcp:Cluster"
_MADE = "gcp:container/cluster:Cluster"
_NAMESPACE = "kubernetes:core/v1:Namespace"


def sought(export: exported.Export) -> tuple[str, ...]:
    """Return arguments of `scripts.gke.leftovers` for a stack by its state; none for others."""
    cluster: str | None = None
    namespaces: list[str] = []
    made = False
    for resource in exported.resources(export):
        kind = resource.get("type", "")
        if kind == _CLUSTER:
            named = resource.get("inputs", {}).get("cluster")
            named = named or resource.get("outputs", {}).get("cluster")
            cluster = named if isinstance(named, str) else cluster
        elif kind == _NAMESPACE:
            namespaces += [name] if (name := resource.get("id")) else []
        made = made or kind == _MADE
    if not cluster or not namespaces:
        return ()
    words = ["--cluster", cluster]
    for name in sorted(namespaces):
        words += ["--namespace", name]
    return (*words, "--whole") if made else tuple(words)


def look(ready: Prepared, arguments: Sequence[str], *, kept: bool) -> None:
    """Say what is left of what `arguments` name."""
    # In a process of its own: it needs packages, and nothing here does.
    sys.stdout.flush()
    words = [str(ready.python), "-m", "scripts.gke.leftovers", *arguments]
    run_live([*words, "--kept"] if kept else words, ready.checkout.root, ready.variables)
