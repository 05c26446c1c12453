"""The keys of every program that serves on a virtual machine's processor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from components.engines import localllm
from components.models.reference import HubFile, parse_model_reference
from components.settings.base import Check, Problem
from components.settings.values import command_line, flags
from components.settings.vm import QUANTISED_CACHES, VmSettings, quantised_cache_is_flash


class CpuServing(VmSettings):
    """The keys of every program that serves on a virtual machine's processor."""

    engine: Literal["llama_cpp", "localllm"] = Field(
        default="llama_cpp",
        description="What serves the model: llama.cpp's own server, or Google's `localllm`, which "
        "serves by llama-cpp-python.",
    )
    llama_server: Literal["wheel", "native"] = Field(
        default="wheel",
        description="Which llama.cpp server: `wheel` (PyPI xllamacpp, nothing to compile), "
        "`native` (built on the machine for its very CPU, some minutes at its first boot).",
    )
    kv_type: (
        Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] | None
    ) = Field(
        default=None,
        description="Type of the KV cache's elements. Unset: from the machine's memory.",
    )
    engine_flags: Annotated[
        tuple[str, ...], BeforeValidator(command_line), AfterValidator(flags)
    ] = Field(
        default=(),
        description="Further flags of the engine, as on its command line: `llama-server`'s, or "
        "with `localllm` those of `llama_cpp.server`. The last of two wins.",
    )

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        yield Check(
            frozenset({"kv_type", "flash_attention"}), partial(_quantised_cache_is_flash, self)
        )
        yield Check(frozenset({"engine", "llama_server"}), partial(_build_is_of_the_engine, self))
        yield Check(
            frozenset({"engine", "model", "slots", "kv_type", "engine_flags", "embeddings_model"}),
            partial(_localllm_takes_it, self),
        )


def _quantised_cache_is_flash(settings: CpuServing) -> Iterator[Problem]:
    yield from quantised_cache_is_flash(settings.kv_type, settings.flash_attention)


def _build_is_of_the_engine(settings: CpuServing) -> Iterator[Problem]:
    if settings.engine == "llama_cpp" or settings.llama_server == "wheel":
        return
    yield Problem(
        "llama_server",
        f"it is a build of llama_cpp, and engine is {settings.engine!r}",
        "scripts/pulumi config rm llama_server",
    )


def _localllm_takes_it(settings: CpuServing) -> Iterator[Problem]:
    if settings.engine != localllm.NAME:
        return
    if settings.embeddings_model is not None:
        yield Problem(
            "embeddings_model",
            "engine 'localllm' makes no embeddings",
            "scripts/pulumi config set engine llama_cpp, or "
            "scripts/pulumi config rm embeddings_model",
        )
    reference = parse_model_reference(settings.model)
    if not isinstance(reference, HubFile):
        yield Problem("model", localllm.ONLY_HUB)
        return
    options = localllm.LocalllmOptions(
        owner=reference.owner,
        repo=reference.repo,
        revision=reference.revision,
        selector=reference.selector,
        context_tokens=settings.context_tokens or 0,
        slots=settings.slots or 1,
        kv_type=settings.kv_type or "f16",
        flash_attention=settings.kv_type in QUANTISED_CACHES,
        extra_flags=settings.engine_flags,
    )
    for said in localllm.problems(options):
        key = said.partition(":")[0].partition(" ")[0]
        known = key if key in {"slots", "kv_type", "engine_flags"} else "model"
        yield Problem(known, re.sub(rf"^{known}(: | is [^;]*; )", "", said))
