"""The keys of a model registry and of classic models, for programs that serve from pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from components.catalogue.gke import NodeRoom
from components.container_images import ContainerImageError, pod_image
from components.engines import ovms
from components.models.pod_model import RegistryModelReference, parse_pod_model
from components.models.reference import ModelReference, is_loopback
from components.models.registry import (
    RegistryError,
    RegistryModel,
    RegistryUrl,
    parse_registry_model,
    parse_registry_url,
)
from components.settings.base import Problem
from components.settings.gke import GkeSettings
from components.settings.registry import RegistryText, credential_problems
from components.settings.secrets import HiddenText, SecretText
from components.settings.values import words
from components.sizing.pod_tuning import CLASSIC

if TYPE_CHECKING:
    from components.settings.gke_ovms import GkeOvmsSettings

SET_REGISTRY = (
    'scripts/pulumi config set registry "$(scripts/pulumi stack output registry --stack '
    'model-registry)"'
)
_SIZES = ("classic_cpus", "classic_memory_gb", "classic_disk_gb")


def _classic(value: tuple[str, ...]) -> tuple[str, ...]:
    """Return the models sorted, so that their order means nothing."""
    try:
        models = [parse_registry_model(text.removeprefix("registry:")) for text in value]
    except RegistryError as error:
        raise ValueError(str(error)) from None
    twice = sorted({str(model) for model in models if models.count(model) > 1})
    if twice:
        raise ValueError(
            f"{', '.join(twice)} stands there twice: each version is named once, and another "
            "version of the same model beside it"
        )
    return tuple(str(model) for model in sorted(models))


ClassicModels = Annotated[tuple[str, ...], BeforeValidator(words), AfterValidator(_classic)]


class GkeRegistrySettings(GkeSettings):
    """The keys of a model registry and of classic models."""

    registry: RegistryText | None = Field(
        default=None,
        description="The registry that models are named from, `gs://BUCKET` or "
        "`s3://BUCKET?endpoint=https://HOST&region=REGION`: what the program `model-registry` "
        "exports as `registry`. Unset: none.",
    )
    registry_access: Literal["workload_identity", "key"] | None = Field(
        default=None,
        description="By what pods read a registry in Google Cloud Storage: by their own identity "
        "(`workload_identity`), without any key, or by the `key` of a service account, which is "
        "made for it and lies in a Secret. Unset: `workload_identity`.",
    )
    registry_key_id: HiddenText | None = Field(
        default=None,
        description="The id of the access key by which pods read a registry in storage that speaks "
        "S3.",
    )
    registry_secret_key: SecretText | None = Field(
        default=None,
        description="The access key itself, set with `--secret`.",
    )
    classic_models: ClassicModels = Field(
        default=(),
        description="Models of the registry that are no language models, each version as "
        "`NAME@VERSION`: OpenVINO Model Server serves them in a pod of their own, below `/models`.",
        examples=["resnet50@1"],
    )
    classic_cpus: int = Field(
        default=CLASSIC.cpus,
        ge=1,
        le=1024,
        description="Processors of that pod. They are taken off the pods of the model that chats, "
        "where their size is left open.",
    )
    classic_memory_gb: int = Field(
        default=CLASSIC.memory_gb,
        ge=1,
        le=24_000,
        description="GB of memory of that pod, likewise.",
    )
    classic_disk_gb: int = Field(
        default=20,
        ge=10,
        le=10_000,
        description="GB of that pod's disk, which keeps its models, for a while also those that "
        "they take the place of. Another size makes the disk anew.",
    )

    def registry_url(self) -> RegistryUrl | None:
        """Return where the registry lies; None for none."""
        return None if self.registry is None else parse_registry_url(self.registry)

    def classic(self) -> tuple[RegistryModel, ...]:
        """Return the classic models, sorted."""
        return tuple(parse_registry_model(text) for text in self.classic_models)

    def classic_room(self) -> NodeRoom | None:
        """Return what the pod of the classic models asks for; None where there are none."""
        asked = NodeRoom(self.classic_cpus, self.classic_memory_gb)
        return asked if self.classic_models else None

    def named_from_registry(self) -> dict[str, str]:
        """Return the keys that name models of the registry, with their values."""
        asked = {"model": self.model, "embeddings_model": self.embeddings_model}
        named = {
            key: value
            for key, value in asked.items()
            if value is not None and isinstance(parse_pod_model(value), RegistryModelReference)
        }
        if self.classic_models:
            named["classic_models"] = " ".join(self.classic_models)
        return named

    def references(self) -> tuple[ModelReference, ...]:
        """Return the models that come from elsewhere than the registry, each once."""
        names = dict.fromkeys([self.model, self.embeddings_model or self.model])
        parsed = map(parse_pod_model, names)
        return tuple(one for one in parsed if not isinstance(one, RegistryModelReference))


def _registry_is_set(settings: GkeOvmsSettings) -> Iterator[Problem]:
    named = settings.named_from_registry()
    if settings.registry is not None or not named:
        return
    asking = " and ".join(f"{key} is {value!r}" for key, value in named.items())
    yield Problem("registry", f"{asking}, which only a registry has", SET_REGISTRY)


def _access_is_the_registrys(settings: GkeOvmsSettings) -> Iterator[Problem]:
    url = settings.registry_url()
    yield from credential_problems(
        url,
        settings.registry_key_id,
        settings.registry_secret_key,
        needed=bool(settings.named_from_registry()),
    )
    if settings.registry_access is None:
        return
    remove = "scripts/pulumi config rm registry_access"
    if url is None:
        said = "it says how a registry in Google Cloud Storage is read, and registry is not set"
        yield Problem("registry_access", said, f"{remove}, or {SET_REGISTRY}")
    elif url.scheme != "gs":
        said = (
            f"registry is {settings.registry!r}, and storage that speaks S3 is read with "
            "registry_key_id and registry_secret_key alone"
        )
        yield Problem("registry_access", said, remove)


def _storage_is_not_here(settings: GkeOvmsSettings) -> Iterator[Problem]:
    url = settings.registry_url()
    if url is not None and is_loopback(urlsplit(url.endpoint or "").hostname):
        yield Problem(
            "registry",
            f"{url.endpoint} is this machine's own address, which is another one in a pod",
            "scripts/pulumi config set registry 's3://BUCKET?endpoint=https://HOST&region=REGION'",
        )


def _sizes_are_of_a_pod(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if settings.classic_models:
        return
    fields = type(settings).model_fields
    for key in _SIZES:
        if getattr(settings, key) not in {fields[key].default, None}:
            yield Problem(
                key,
                "it is for the pod of classic models, and classic_models is not set",
                f"scripts/pulumi config rm {key}, or scripts/pulumi config set classic_models "
                "NAME@VERSION",
            )


def _classic_image_can_be_had(settings: GkeOvmsSettings) -> Iterator[Problem]:
    if not settings.classic_models or settings.engine == ovms.NAME:
        return
    try:
        pod_image(ovms.NAME)
    except ContainerImageError as error:
        yield Problem("classic_models", str(error), "scripts/pulumi config rm classic_models")


def registry_warnings(settings: GkeOvmsSettings) -> Iterator[str]:
    """Yield what has no effect, and what only the pods find out, in words."""
    url = settings.registry_url()
    if url is None:
        return
    if not settings.named_from_registry():
        yield (
            f"registry {url}: nothing of it is served: neither model nor embeddings_model is "
            "registry:NAME@VERSION, and classic_models is not set"
        )
        return
    if (url.endpoint or "").startswith("http://"):
        yield (
            f"the models come from {url.endpoint} in the clear: anybody on the way can read them, "
            "and change them"
        )


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GkeOvmsSettings], Iterator[Problem]]], ...] = (
    (("registry", "model", "embeddings_model", "classic_models"), _registry_is_set),
    (
        (
            *("registry", "registry_access", "registry_key_id", "registry_secret_key"),
            *("model", "embeddings_model", "classic_models"),
        ),
        _access_is_the_registrys,
    ),
    (("registry",), _storage_is_not_here),
    (("classic_models", *_SIZES), _sizes_are_of_a_pod),
    (("classic_models", "engine"), _classic_image_can_be_had),
)
