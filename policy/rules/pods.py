"""The pods that an object of Kubernetes makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from policy.resources import UNKNOWN, NotKnownError, Resource

_CONTAINERS = "containers", "initContainers"
_ON_OTHER_NODES = "workerSpec"
_METADATA = "metadata"
"""Holds names, labels and annotations, and never a pod."""
_NO_PODS = (_METADATA, "data", "stringData", "binaryData", "status")
"""What an object of Kubernetes has besides its spec, and holds no pod."""


def pod_specs(resource: Resource) -> Iterator[Mapping[str, object]]:
    """Yield each mapping with containers in an object of Kubernetes, whatever its kind is.

    Raises `NotKnownError` where what might hold one is not known.
    """
    if resource.type.startswith("kubernetes:"):
        for name, held in resource.props.items():
            if name not in _NO_PODS:
                yield from _with_containers(held, name)


def _with_containers(value: object, path: str) -> Iterator[Mapping[str, object]]:
    if value is UNKNOWN:
        raise NotKnownError(path)
    if isinstance(value, dict):
        held = cast("dict[str, object]", value)
        if any(isinstance(held.get(name), list) for name in _CONTAINERS):
            yield held
            # A pod holds no other, but KServe's on several nodes.
            yield from _with_containers(held.get(_ON_OTHER_NODES), f"{path}.{_ON_OTHER_NODES}")
            return
        for name, inner in held.items():
            if name != _METADATA:
                yield from _with_containers(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[object]", value)):
            yield from _with_containers(inner, f"{path}.{index}")
