"""Kubernetes objects as what they are in JSON, with the labels that all of a stack's have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Protocol

from components.rendering.kubernetes.names import COMPONENT_LABEL, NAME_LABEL

Manifest = dict[str, object]
"""One object: `apiVersion`, `kind`, `metadata`, and what its kind has beside them."""


class InNamespace(Protocol):
    """A plan of one namespace."""

    @property
    def base_name(self) -> str:
        """The stack's own name, which its objects have as a label."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace's name."""
        ...


SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
"""Has Pulumi not wait until an object serves: that is the verification's to say."""
WAIT_FOR_ITS_END = {"pulumi.com/waitFor": "jsonpath={.metadata.uid}"}
"""The same for what has to be gone before its successor is made: without the wait at its creation
there would be none at its deletion either (pulumi-kubernetes 4.32, `allowsSkipAwaitWithDelete`)."""


def labels(plan: InNamespace, name: str, component: str | None = None) -> dict[str, str]:
    """Return the labels of an object that belongs to `name`: a server, the gateway, the job."""
    return {
        NAME_LABEL: name,
        **({COMPONENT_LABEL: component} if component else {}),
        "app.kubernetes.io/part-of": "llm-endpoint",
        "app.kubernetes.io/managed-by": "pulumi",
        "llm-endpoint/stack": plan.base_name,
    }


def metadata(
    plan: InNamespace,
    name: str,
    of: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the metadata of the object `name` in the plan's namespace, which belongs to `of`."""
    return {
        "name": name,
        "namespace": plan.namespace,
        "labels": labels(plan, of or name),
        **({"annotations": dict(annotations)} if annotations else {}),
    }


def config_map(
    plan: InNamespace, name: str, data: Mapping[str, str] | None, of: str | None = None
) -> Manifest:
    """Return a ConfigMap; one without data gets them from the deployment."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(plan, name, of),
        **({} if data is None else {"data": dict(sorted(data.items()))}),
    }


def digest(content: object) -> str:
    """Return the sha256 of what JSON can hold, as 64 hex digits; the order of keys is none."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
