"""The keys of every program that serves from a virtual machine, whichever cloud it is in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from components.models.reference import (
    Builtin,
    ModelReference,
    PathFile,
    UrlFile,
    parse_model_reference,
)
from components.models.size import guess
from components.schedule import Schedule, parse_schedule
from components.settings import network
from components.settings.base import Check, Problem, Settings
from components.settings.values import ModelReferenceText, words

NEVER = 0
"""The value of `idle_minutes` that keeps the machine running."""
_SHORTEST_IDLE = 5
_LEAST_CACHE_GB = 50
QUANTISED_CACHES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Values of llama.cpp's `kv_type` that need flash attention."""


def _fetched(value: str) -> str:
    """Refuse a model that a machine in a cloud can't fetch."""
    match parse_model_reference(value):
        case PathFile():
            raise ValueError(
                "that is a file of this machine, which the one in the cloud does not see: name a "
                "hub file (owner/repo:file.gguf) or a https:// URL"
            )
        case Builtin():
            raise ValueError(
                "the stand-in only tries things out on this machine: name a hub file "
                "(owner/repo:file.gguf) or a https:// URL"
            )
        case UrlFile(url) if not url.startswith("https://"):
            raise ValueError("that is this machine's own address, which is another one in a cloud")
        case _:
            return value


FetchedModel = Annotated[ModelReferenceText, AfterValidator(_fetched)]


class VmSettings(Settings):
    """The keys of every program that serves from a virtual machine."""

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
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads that compute. Unset: the machine's physical cores.",
    )
    flash_attention: Literal["auto", "on", "off"] | None = Field(
        default=None,
        description="Whether llama.cpp uses flash attention. Unset: from the machine type.",
    )
    allowed_cidrs: Annotated[
        tuple[str, ...], BeforeValidator(words), AfterValidator(network.cidrs)
    ] = Field(
        description="Who may come to the endpoint: ranges of addresses as in `203.0.113.7/32`, or "
        "the word `world` for everybody.",
        examples=["$(curl -s https://checkip.amazonaws.com)/32"],
    )
    tls: Literal["own_ca", "acme"] = Field(
        default="own_ca",
        description="Who signs the certificate: an authority of the stack's own, which it exports, "
        "or Let's Encrypt, for a domain.",
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
        "it. `0`: never.",
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
    schedule: Annotated[str, AfterValidator(network.schedule)] | None = Field(
        default=None,
        description="When the machine starts and stops by the clock, as in `start 0 8 * * 1-5; "
        "stop 0 20 * * 1-5; Europe/Berlin`. Without a time zone it is UTC.",
    )

    @field_validator("idle_minutes")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if NEVER < value < _SHORTEST_IDLE:
            raise ValueError(f"it is {NEVER} for never, or at least {_SHORTEST_IDLE}")
        return value

    def start_stop(self) -> Schedule | None:
        """Return when the machine starts and stops by the clock, if it does."""
        return None if self.schedule is None else parse_schedule(self.schedule)

    def warnings(self) -> tuple[str, ...]:
        """Return what the configuration says that has no effect, or one that is not seen."""
        said: list[str] = []
        six = [text for text in self.allowed_cidrs if ":" in text]
        if six:
            said.append(
                f"allowed_cidrs holds {', '.join(six)}, and the machine has an IPv4 address alone: "
                "who comes from there comes by IPv4"
            )
        if any(isinstance(one, UrlFile) and "?" in one.url for one in self.references()):
            said.append(
                "a model's URL has a query, which stands in the machine's metadata: if it is a "
                "secret, whoever may look at machines in the project reads it"
            )
        return tuple(said)

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
        yield Check(frozenset({"tls", "domain"}), partial(_acme_has_a_domain, self))
        yield Check(
            frozenset({"model", "embeddings_model", "cache_gb"}),
            partial(_models_fit_the_disk, self),
        )


def _disk_gb(models_bytes: int | None) -> int:
    """Return the size of a disk for models of that size, with room for those that come after."""
    tens = -int(-(2 * (models_bytes or 0) / 2**30 + 10) // 10)
    return max(_LEAST_CACHE_GB, tens * 10)


def _acme_has_a_domain(settings: VmSettings) -> Iterator[Problem]:
    if settings.tls != "acme" or settings.domain is not None:
        return
    yield Problem(
        "tls",
        "Let's Encrypt signs for a domain, and domain is not set",
        "scripts/pulumi config set domain llm.example.org, or scripts/pulumi config set tls own_ca",
    )


def _models_fit_the_disk(settings: VmSettings) -> Iterator[Problem]:
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


def quantised_cache_is_flash(kv_type: str | None, flash_attention: str | None) -> Iterator[Problem]:
    """Yield what is wrong where llama.cpp's cache is quantised and may not use flash attention."""
    if flash_attention != "off" or kv_type not in QUANTISED_CACHES:
        return
    yield Problem(
        "flash_attention",
        f"llama.cpp keeps a {kv_type} cache only with flash attention (kv_type)",
        "scripts/pulumi config set flash_attention auto",
    )
