"""The keys of every endpoint in a cloud, on whatever it runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from components.models.reference import (
    Builtin,
    ModelReference,
    PathFile,
    UrlFile,
    parse_model_reference,
)
from components.models.size import guess
from components.settings import network
from components.settings.base import Check, EndpointSettings, Problem
from components.settings.values import ModelReferenceText, words

NEVER = 0
"""The value of `idle_minutes` that keeps the machine running."""
_SHORTEST_IDLE = 5
_LEAST_CACHE_GB = 50


_HUB_FILE = "a hub file (owner/repo:file.gguf)"


def fetched(value: str, instead: str = _HUB_FILE) -> str:
    """Refuse a model that can't be fetched from a cloud, and say what to name `instead`."""
    match parse_model_reference(value):
        case PathFile():
            raise ValueError(
                "that is a file of this machine, which the one in the cloud does not see: name "
                f"{instead} or a https:// URL"
            )
        case Builtin():
            raise ValueError(
                f"the stand-in only tries things out on this machine: name {instead} or a "
                "https:// URL"
            )
        case UrlFile(url) if not url.startswith("https://"):
            raise ValueError("that is this machine's own address, which is another one in a cloud")
        case _:
            return value


FetchedModel = Annotated[ModelReferenceText, AfterValidator(fetched)]


class ServedSettings(EndpointSettings):
    """The keys of every endpoint in a cloud, on whatever it runs."""

    model: FetchedModel = Field(
        description="The model: `owner/repo:file.gguf`, `owner/repo:QUANT`, or "
        "`https://…/file.gguf`; it is fetched by the machine.",
    )
    embeddings_model: FetchedModel | None = Field(
        default=None,
        description="The model that answers `/v1/embeddings`. The model itself: the same server "
        "does both. Another one: a second server behind the same gateway. Unset: none does.",
    )
    context_tokens: int | None = Field(
        default=None,
        ge=256,
        le=1_048_576,
        description="Tokens that one request may use, prompt and answer together. Unset: from the "
        "machine type.",
    )
    slots: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Requests that are answered at the same time. Unset: from the machine type.",
    )
    allowed_cidrs: Annotated[
        tuple[str, ...], BeforeValidator(words), AfterValidator(network.cidrs)
    ] = Field(
        description="Who may come to the endpoint: ranges of addresses as in `203.0.113.7/32`, or "
        "the word `world` for everybody.",
        examples=["$(curl -s https://checkip.amazonaws.com)/32"],
    )
    domain: Annotated[str, AfterValidator(network.domain)] | None = Field(
        default=None,
        description="The endpoint's DNS name. Unset: its address.",
    )
    idle_minutes: int = Field(
        default=NEVER,
        ge=NEVER,
        le=7 * 24 * 60,
        description="Minutes without a request after which the machine stops; the next `up` starts "
        "it. `0`, never, or from 5.",
    )
    cache_gb: int | None = Field(
        default=None,
        ge=10,
        le=10_000,
        description="GB of the disk that keeps models and outlives the machine. Unset: "
        "50, or twice what the models take and 10 more. A disk grows in place; a smaller one is a "
        "new one.",
    )
    keep_data: bool = Field(
        default=False,
        description="Refuse to delete the disk of the models, with the stack too.",
    )
    labels: Annotated[
        dict[str, str], BeforeValidator(network.label_pairs), AfterValidator(network.labels)
    ] = Field(
        default={},
        description="Labels of everything that bills, as in `team=research cost-centre=42`.",
    )

    @field_validator("idle_minutes")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if NEVER < value < _SHORTEST_IDLE:
            raise ValueError(f"it is {NEVER} for never, or at least {_SHORTEST_IDLE}")
        return value

    def references(self) -> tuple[ModelReference, ...]:
        """Return the models that are served, each once: the chat model first."""
        names = dict.fromkeys([self.model, self.embeddings_model or self.model])
        return tuple(parse_model_reference(name) for name in names)

    def models_bytes(self) -> int | None:
        """Return what all models take together, as far as their names tell; None for nothing."""
        sizes = [guess(reference) for reference in self.references()]
        known = [size.size_bytes for size in sizes if size is not None]
        return sum(known) if known else None

    def disk_gb(self) -> int:
        """Return the size of the disk for models, in GB (2^30 bytes)."""
        return _disk_gb(self.models_bytes()) if self.cache_gb is None else self.cache_gb

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for, on any cloud."""
        yield Check(
            frozenset({"model", "embeddings_model", "cache_gb"}),
            partial(_models_fit_the_disk, self),
        )


def _disk_gb(models_bytes: int | None) -> int:
    """Return the size of a disk for models of that size, with room for those that come after."""
    tens = -int(-(2 * (models_bytes or 0) / 2**30 + 10) // 10)
    return max(_LEAST_CACHE_GB, tens * 10)


def _models_fit_the_disk(settings: ServedSettings) -> Iterator[Problem]:
    models = settings.models_bytes()
    if settings.cache_gb is None or models is None:
        return
    least = int(models / 2**30) + 2
    if settings.cache_gb >= least:
        return
    yield Problem(
        "cache_gb",
        f"the models take about {models / 1e9:.1f} GB by their names",
        f"scripts/pulumi config set cache_gb {_disk_gb(models)}",
    )
