"""The keys of `gke-ovms`, the endpoint on a pool of Spot nodes of a GKE cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from components.container_images import BUILD
from components.engines import ovms
from components.models.pod_model import (
    REGISTRY_FORM,
    RegistryModelReference,
    parse_pod_model,
)
from components.models.reference import ModelReferenceError
from components.models.registry import RegistryError
from components.models.size import guess_openvino
from components.settings.base import Check
from components.settings.container_flags import reserved
from components.settings.containers import IMAGE
from components.settings.gke_deploy import CHECKS as DEPLOY_CHECKS
from components.settings.gke_deploy import GkeDeploySettings, deploy_warnings
from components.settings.gke_engine import CHECKS, OF_ONE_ENGINE, key_is_the_engines, unsure
from components.settings.gke_fit import CHECKS as FIT_CHECKS
from components.settings.gke_fit import unfit
from components.settings.gke_registry import CHECKS as REGISTRY_CHECKS
from components.settings.gke_registry import registry_warnings
from components.settings.served import fetched
from components.settings.values import command_line
from components.sizing.pod_tuning import PodsWanted

_INSTEAD = (
    "a hub repository (owner/repo), a hub file (owner/repo:file.gguf), a model of the registry "
    f"({REGISTRY_FORM})"
)
_FILE_OF_A_FOLDER = re.compile(
    r"(?P<repository>[^/:@\s]+/[^/:@\s]+(?:@[^:\s]+)?):\S+\.(?:xml|bin|json|onnx)", re.IGNORECASE
)


def _whole_repository(value: object) -> object:
    found = _FILE_OF_A_FOLDER.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    raise ValueError(
        "a model in OpenVINO's format is a whole repository, named without a file: did you mean "
        f"{found['repository']}?"
    )


def _container_image(value: str) -> str:
    if value == BUILD or IMAGE.fullmatch(value) is None:
        raise ValueError(
            "it takes an image with its tag and digest, as in "
            "openvino/model_server:2026.3.1@sha256:HEX (64 hex digits); a cluster builds none"
        )
    return value


def _flags(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Refuse the flags that other keys set, and those that would open the pod."""
    engine = info.data.get("engine")
    if engine is not None and (said := reserved(engine, value)):
        raise ValueError(said)
    return value


def _pod_model(value: str) -> str:
    """Return what a model is named by in its canonical form."""
    try:
        reference = parse_pod_model(value)
    except RegistryError as error:
        raise ValueError(str(error)) from None
    except ModelReferenceError as error:
        raise ValueError(f"{error}, or, with the key registry, {REGISTRY_FORM}") from None
    if isinstance(reference, RegistryModelReference):
        return str(reference)
    return fetched(str(reference), instead=_INSTEAD)


PodModel = Annotated[str, AfterValidator(_pod_model), BeforeValidator(_whole_repository)]


class GkeOvmsSettings(GkeDeploySettings):
    """The keys of `gke-ovms`, the endpoint on a pool of Spot nodes of a GKE cluster."""

    engine: Literal["ovms", "llama_cpp"] = Field(
        default="ovms",
        description="What serves the model: OpenVINO Model Server, from a hub repository in "
        "OpenVINO's format, or llama.cpp's own server, from GGUF files.",
    )
    model: PodModel = Field(
        description="The model: a repository in OpenVINO's format, `owner/repo` or "
        "`owner/repo@revision`; with llama.cpp `owner/repo:file.gguf`, `owner/repo:QUANT`, or "
        "`https://…/file.gguf`; with either `registry:NAME@VERSION` of the key `registry`. Each "
        "pod fetches it to its disk.",
    )
    embeddings_model: PodModel | None = Field(
        default=None,
        description="The model that answers `/v1/embeddings`, from a pod of its own: another "
        "repository in OpenVINO's format; with llama.cpp another GGUF file, or the model itself, "
        "by the same pods. Unset: none does.",
    )
    context_tokens: int | None = Field(
        default=None,
        ge=256,
        le=1_048_576,
        description="Tokens that one request may use, prompt and answer together. Unset: from the "
        "pod's memory. OVMS's cache is sized for it, and holds no request to it.",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Requests that one pod answers at the same time. Unset: from its processors.",
    )
    kv_type: (
        Literal["u8", "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] | None
    ) = Field(
        default=None,
        description="Type of the KV cache's elements: for `ovms` `u8`, `f16`, `bf16` or `f32`, for "
        "`llama_cpp` any but `u8`. Unset: `u8`, and with llama.cpp from the pod's memory.",
    )
    kv_cache_gb: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="GB of OVMS's KV cache in each pod. Unset: from the pod's memory.",
    )
    tool_call_parser: str | None = Field(
        default=None,
        description="OVMS's parser for the model's tool calls, such as `hermes3`, or `none`. "
        "Unset: that of the model's family, by its name.",
    )
    reasoning_parser: str | None = Field(
        default=None,
        description="OVMS's parser for the model's reasoning, such as `qwen3`, or `none`. Unset: "
        "that of the model's family, by its name.",
    )
    container_image: Annotated[str, AfterValidator(_container_image)] | None = Field(
        default=None,
        description="The engine's image: `repository:tag@sha256:…`. Unset: the pinned image. "
        "`scripts/up` looks up a digest that is not there.",
    )
    engine_flags: Annotated[
        tuple[str, ...], BeforeValidator(command_line), AfterValidator(_flags)
    ] = Field(
        default=(),
        description="Further flags of the engine, as on its command line: `ovms`'s, or "
        "`llama-server`'s. The last of two wins.",
    )

    def models_bytes(self) -> int | None:
        """Return what all models take together, as far as their names tell; None for nothing."""
        if self.engine != ovms.NAME:
            return super().models_bytes()
        sizes = [guess_openvino(reference) for reference in self.references()]
        known = [size.size_bytes for size in sizes if size is not None]
        return sum(known) if known else None

    def wanted_pods(self) -> PodsWanted:
        """Return what the keys say about the pods that serve models."""
        model, other = self.model, self.embeddings_model
        return PodsWanted(
            engine=self.engine,
            model=parse_pod_model(model),
            embeddings_model=None if other in {None, model} else parse_pod_model(str(other)),
            classic=self.classic_room(),
            context_tokens=self.context_tokens,
            slots=self.slots,
            kv_type=self.kv_type,
            kv_cache_gb=self.kv_cache_gb,
            pod_cpus=self.pod_cpus,
            pod_memory_gb=self.pod_memory_gb,
            replicas=self.replicas,
            most_replicas=self.max_replicas,
        )

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for key in OF_ONE_ENGINE:
            yield Check(frozenset({"engine", key}), partial(key_is_the_engines, self, key))
        for reads, find in (*REGISTRY_CHECKS, *DEPLOY_CHECKS, *CHECKS, *FIT_CHECKS):
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect or has to be there already, and what can't be checked."""
        return (
            *super().warnings(),
            *registry_warnings(self),
            *deploy_warnings(self),
            *unsure(self),
            *unfit(self),
        )
