"""What a pod's model is named by: references as everywhere, and models of a registry."""

import pytest

from components.models.pod_model import (
    RegistryModelReference,
    is_of_a_registry,
    parse_pod_model,
)
from components.models.reference import ModelReferenceError, parse_model_reference
from components.models.registry import RegistryError, RegistryModel

REFERENCES = ("owner/repo:file.gguf", "https://example.org/m.gguf", "OpenVINO/Qwen3-8B-int4-ov")


@pytest.mark.parametrize("text", REFERENCES)
def test_a_reference_is_what_it_is_everywhere(text: str):
    assert parse_pod_model(text) == parse_model_reference(text)
    assert not is_of_a_registry(text)


def test_a_model_of_a_registry_is_named_with_its_version():
    found = parse_pod_model("registry:resnet50@2")
    assert found == RegistryModelReference(RegistryModel("resnet50", 2))
    assert str(found) == "registry:resnet50@2"
    assert parse_pod_model(str(found)) == found


@pytest.mark.parametrize("text", ["registry:", "registry:a", "registry:a@0", "registry:A@1"])
def test_one_without_name_or_version_is_refused_as_such(text: str):
    with pytest.raises(RegistryError, match="NAME@VERSION"):
        parse_pod_model(text)


def test_what_is_neither_is_refused_as_a_reference():
    with pytest.raises(ModelReferenceError):
        parse_pod_model("resnet50@2")
