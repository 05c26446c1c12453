"""The keys of every program that serves from a virtual machine, whichever cloud it is in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from components.models.reference import UrlFile
from components.schedule import Schedule, parse_schedule
from components.settings import network
from components.settings.base import Check, Problem
from components.settings.served import ServedSettings

QUANTISED_CACHES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""Values of llama.cpp's `kv_type` that need flash attention."""


class VmSettings(ServedSettings):
    """The keys of every program that serves from a virtual machine."""

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
    tls: Literal["own_ca", "acme"] = Field(
        default="own_ca",
        description="Who signs the certificate: an authority of the stack's own, which it exports, "
        "or Let's Encrypt, for a domain.",
    )
    schedule: Annotated[str, AfterValidator(network.schedule)] | None = Field(
        default=None,
        description="When the machine starts and stops by the clock, as in `start 0 8 * * 1-5; "
        "stop 0 20 * * 1-5; Europe/Berlin`. Without a time zone it is UTC.",
    )

    def start_stop(self) -> Schedule | None:
        """Return when the machine starts and stops by the clock, if it does."""
        return None if self.schedule is None else parse_schedule(self.schedule)

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for, on any cloud."""
        yield from super().checks()
        yield Check(frozenset({"tls", "domain"}), partial(_acme_has_a_domain, self))

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


def _acme_has_a_domain(settings: VmSettings) -> Iterator[Problem]:
    if settings.tls != "acme" or settings.domain is not None:
        return
    yield Problem(
        "tls",
        "Let's Encrypt signs for a domain, and domain is not set",
        "scripts/pulumi config set domain llm.example.org, or scripts/pulumi config set tls own_ca",
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
