"""What a model of a pod is named by: any model reference, or one of the stack's own registry.

Apart from `reference`, which lies on every machine and in every pod, as this need not.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.models.reference import ModelReference, parse_model_reference
from components.models.registry import RegistryModel, parse_registry_model

REGISTRY_PREFIX = "registry:"
REGISTRY_FORM = f"{REGISTRY_PREFIX}NAME@VERSION"


@dataclass(frozen=True)
class RegistryModelReference:
    """A model in the registry of the stack: a folder in OpenVINO's format, or of one GGUF file."""

    model: RegistryModel

    def __str__(self) -> str:
        return f"{REGISTRY_PREFIX}{self.model}"


PodModelReference = ModelReference | RegistryModelReference


def parse_pod_model(text: str) -> PodModelReference:
    """Read what a pod's model is named by; `str()` of it parses to the same.

    Raises `RegistryError` or `ModelReferenceError`.
    """
    if is_of_a_registry(text):
        return RegistryModelReference(parse_registry_model(text.removeprefix(REGISTRY_PREFIX)))
    return parse_model_reference(text)


def is_of_a_registry(text: str) -> bool:
    """Whether a text means to name a model of a registry."""
    return text.startswith(REGISTRY_PREFIX)
