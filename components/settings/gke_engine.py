"""What the keys of the engines of `gke-ovms` must fit together for: model, image, flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from components.container_images import ContainerImageError, pinned_tag, pod_image
from components.engines import known_flags, llama_cpp, ovms
from components.models.pod_model import (
    PodModelReference,
    RegistryModelReference,
    parse_pod_model,
)
from components.models.reference import HubFile, ModelReference, shown
from components.models.size import is_openvino
from components.settings.base import Problem
from components.settings.containers import (
    image_of_another_engine,
    image_without_digest,
    is_gguf,
    key_is_of,
    name_and_tag,
)

if TYPE_CHECKING:
    from components.settings.gke_ovms import GkeOvmsSettings

OF_ONE_ENGINE = {
    "kv_cache_gb": ovms.NAME,
    "tool_call_parser": ovms.NAME,
    "reasoning_parser": ovms.NAME,
}
_ENGINES = (ovms.NAME, llama_cpp.NAME)
_GOOD_MODEL = "OpenVINO/Qwen3-8B-int4-ov"
_GOOD_EMBEDDINGS = "OpenVINO/Qwen3-Embedding-0.6B-int8-ov"
_GOOD_GGUF = {
    "model": "bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M",
    "embeddings_model": "Qwen/Qwen3-Embedding-0.6B-GGUF:Q8_0",
}

_OTHER_FORMATS = {
    **dict.fromkeys(("awq", "gptq", "exl2", "bnb", "nvfp4", "safetensors"), "safetensors"),
    "mlx": "MLX",
    "onnx": "ONNX",
    "coreml": "Core ML",
}
"""Formats that OpenVINO Model Server does not chat from, by words in a repository's name."""

_OF_A_REGISTRY = "registry"
"""Stands for the owner of what lies in a registry."""

_PUBLISHERS = frozenset(
    {
        *("qwen", "meta-llama", "mistralai", "google", "microsoft", "deepseek-ai", "openai"),
        *("ibm-granite", "huggingfacetb", "tiiuae", "allenai", "nvidia", "cohereforai", "unsloth"),
        *("baai", "intfloat", "sentence-transformers", "thenlper", "nomic-ai", "zai-org"),
    }
)
"""Owners of repositories that are safetensors unless their names say otherwise."""


def key_is_the_engines(settings: GkeOvmsSettings, key: str) -> Iterator[Problem]:
    """Yield what is wrong where `key`, which only one engine reads, is set with another."""
    yield from key_is_of(settings, key, OF_ONE_ENGINE[key], settings.engine)


def kv_type_is_the_engines(settings: GkeOvmsSettings) -> Iterator[Problem]:
    """Yield what is wrong where the KV cache's type is another engine's."""
    if settings.kv_type is None:
        return
    if settings.engine == ovms.NAME:
        good, takes = settings.kv_type in ovms.KV_TYPES, ovms.KV_TYPES
    else:
        good, takes = settings.kv_type != "u8", ("f16", "q8_0", "q4_0")
    if good:
        return
    such = "it takes" if settings.engine == ovms.NAME else "it takes llama.cpp's, such as"
    yield Problem(
        "kv_type",
        f"with engine {settings.engine!r} {such} {', '.join(takes)}",
        f"scripts/pulumi config set kv_type {takes[0]}, or scripts/pulumi config rm kv_type",
    )


def models_are_the_engines(settings: GkeOvmsSettings) -> Iterator[Problem]:
    """Yield what is wrong where the models are in a format that the engine does not serve."""
    find = _not_ovms_model if settings.engine == ovms.NAME else _not_llama_cpps_model
    yield from find("model", settings.model, _GOOD_MODEL)
    if settings.embeddings_model not in {None, settings.model}:
        yield from find("embeddings_model", str(settings.embeddings_model), _GOOD_EMBEDDINGS)


def _not_ovms_model(key: str, value: str, good: str) -> Iterator[Problem]:
    parsed = parse_pod_model(value)
    reference = _by_its_name(parsed)
    if is_gguf(reference) or not isinstance(reference, HubFile):
        yield Problem(
            key,
            "OpenVINO Model Server is given no GGUF files here: it takes a hub repository in "
            "OpenVINO's format, owner/repo, without a file or quantisation after it",
            f"scripts/pulumi config set {key} {good}, or scripts/pulumi config set engine "
            f"{llama_cpp.NAME}",
        )
        return
    if is_openvino(reference) or isinstance(parsed, RegistryModelReference):
        return
    words = re.split(r"[-_.]", reference.repo.lower())
    said = next((kind for word, kind in _OTHER_FORMATS.items() if word in words), None)
    if said is not None:
        yield Problem(
            key,
            f"its name tells of {said}, and OpenVINO Model Server serves models in OpenVINO's "
            "format, whose names end in -ov",
            f"scripts/pulumi config set {key} {good}",
        )
    elif reference.owner.lower() in _PUBLISHERS:
        meant = f"OpenVINO/{reference.repo}-int{4 if key == 'model' else 8}-ov"
        yield Problem(
            key,
            f"{reference.owner} publishes safetensors, and OpenVINO Model Server serves models in "
            f"OpenVINO's format: {meant} is what such a one of it is often called",
            f"scripts/pulumi config set {key} {meant}",
        )


def _by_its_name(reference: PodModelReference) -> ModelReference:
    """Return a reference that tells what the name of a model in a registry does."""
    if isinstance(reference, RegistryModelReference):
        return HubFile(_OF_A_REGISTRY, reference.model.name)
    return reference


def _not_llama_cpps_model(key: str, value: str, good: str) -> Iterator[Problem]:
    if not is_openvino(_by_its_name(parse_pod_model(value))):
        return
    yield Problem(
        key,
        f"its name tells of OpenVINO's format, as that of {good} does, and llama.cpp loads GGUF "
        "files, owner/repo:file.gguf or owner/repo:QUANT",
        f"scripts/pulumi config set engine {ovms.NAME}, or scripts/pulumi config set {key} "
        f"{_GOOD_GGUF[key]}",
    )


def _ovms_embeds_by_another_model(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.engine != ovms.NAME or settings.embeddings_model is None:
        return
    chat = parse_pod_model(settings.model)
    other = parse_pod_model(settings.embeddings_model)
    if other == chat:
        said = (
            "OpenVINO Model Server does one thing with a model, and this one chats (model): it "
            "takes another repository"
        )
    elif (name := _name(other)) is not None and name == _name(chat):
        what = "model" if isinstance(other, RegistryModelReference) else "repository"
        said = (
            f"clients ask for it as {name}, the {what}'s name alone, and so they do for the one "
            f"that chats, {settings.model} (model): it takes one of another name"
        )
    else:
        return
    yield Problem(
        "embeddings_model",
        said,
        f"scripts/pulumi config set embeddings_model {_GOOD_EMBEDDINGS}, or "
        "scripts/pulumi config rm embeddings_model",
    )


def _name(reference: PodModelReference) -> str | None:
    """Return the name that OpenVINO Model Server serves a model by; None where it serves none."""
    match reference:
        case HubFile(repo=name):
            return name
        case RegistryModelReference(model):
            return model.name
        case _:
            return None


def _llama_cpp_embeds_by_another_name(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.engine != llama_cpp.NAME or settings.embeddings_model is None:
        return
    chat, other = parse_pod_model(settings.model), parse_pod_model(settings.embeddings_model)
    both = isinstance(chat, RegistryModelReference) and isinstance(other, RegistryModelReference)
    if both and chat != other and _name(chat) == _name(other):
        yield Problem(
            "embeddings_model",
            f"clients ask for it as {_name(other)}, and so they do for the version that chats, "
            f"{chat} (model): it takes the same version, or one of another name",
            f"scripts/pulumi config set embeddings_model {chat}, or "
            "scripts/pulumi config rm embeddings_model",
        )


def ovms_version(settings: GkeOvmsSettings) -> ovms.Version | None:
    """Return the version of OpenVINO Model Server in the image, as its tag tells it."""
    own = settings.container_image
    return ovms.parse_version(pinned_tag(ovms.NAME) if own is None else name_and_tag(own)[1])


def _image_can_be_had(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.container_image is not None:
        name, _ = name_and_tag(settings.container_image)
        yield from image_of_another_engine(name, settings.engine, _ENGINES)
        yield from image_without_digest(settings.container_image)
        return
    try:
        pod_image(settings.engine)
    except ContainerImageError as error:
        yield Problem("container_image", str(error))


def _image_is_new_enough(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.engine != ovms.NAME:
        return
    version = ovms_version(settings)
    asked = (settings.tool_call_parser, settings.reasoning_parser)
    for missing in ovms.missing_features(version, *asked):
        steps = {
            "container_image": "scripts/pulumi config rm container_image",
            missing.key: f"scripts/pulumi config rm {missing.key}",
        }
        named = f"scripts/pulumi config set {missing.key} {missing.value}, or "
        yield Problem(
            missing.key,
            missing.said,
            (named if missing.value else "") + steps[missing.key],
        )


def _flags_are_known(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.container_image is None:
        for said in known_flags.unknown(settings.engine, settings.engine_flags):
            yield Problem("engine_flags", said)


def unsure(settings: GkeOvmsSettings) -> Iterator[str]:
    """Yield what can't be checked before the pods run, in words."""
    own = settings.container_image
    if own is not None:
        for said in known_flags.unknown(settings.engine, settings.engine_flags):
            yield f"engine_flags: {said}; container_image {own} may differ"
        if settings.engine == ovms.NAME and ovms_version(settings) is None:
            yield (
                f"container_image {own}: its tag tells no version, so that nothing says here "
                f"whether it serves a folder that it only reads, as {ovms.SERVES_A_FOLDER} and "
                "later do"
            )
    yield from _pooling_is_unsure(settings)
    models = {"model": settings.model, "embeddings_model": settings.embeddings_model}
    for key, value in models.items():
        reference = None if value is None else parse_pod_model(value)
        if reference is None or isinstance(reference, RegistryModelReference):
            continue
        if is_gguf(reference) or is_openvino(reference):
            continue
        if settings.engine == ovms.NAME:
            yield (
                f"{key} {value}: its name does not tell of OpenVINO's format, in which OpenVINO "
                "Model Server serves: the pod finds out when it fetches it"
            )
        else:
            yield (
                f"{key} {shown(str(value))}: llama.cpp loads GGUF files, which its name does not "
                f"tell of: {value}-GGUF is what a repository that has them is often called"
            )


def _pooling_is_unsure(settings: GkeOvmsSettings) -> Iterator[str]:
    """Yield where an embeddings model may be pooled wrongly, which no answer shows."""
    if settings.engine != ovms.NAME or settings.embeddings_model is None:
        return
    version, name = ovms_version(settings), _name(parse_pod_model(settings.embeddings_model))
    if name is None or ovms.pooling_for(name) is not None:
        return
    if version is None or version < ovms.FINDS_POOLING:
        image = "an image of no known version" if version is None else f"version {version}"
        yield (
            f"embeddings_model {settings.embeddings_model}: its name does not tell how it is "
            f"pooled, and with {image} OpenVINO Model Server may take the first token's vector "
            f"(CLS), which is wrong for many models; {ovms.FINDS_POOLING} and later find it in the "
            "model's files: take container_image out, or name such an image"
        )


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeOvmsSettings], Iterator[Problem]]], ...] = (
    (("engine", "kv_type"), kv_type_is_the_engines),
    (("engine", "model", "embeddings_model"), models_are_the_engines),
    (("engine", "model", "embeddings_model"), _ovms_embeds_by_another_model),
    (("engine", "model", "embeddings_model"), _llama_cpp_embeds_by_another_name),
    (("engine", "container_image"), _image_can_be_had),
    (
        ("engine", "container_image", "tool_call_parser", "reasoning_parser"),
        _image_is_new_enough,
    ),
    (("engine", "container_image", "engine_flags"), _flags_are_known),
)
