"""The keys of every program that serves from containers, on a virtual machine with GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from components.catalogue.gcp import MachineType
from components.catalogue.gcp_gpu import Gpu
from components.container_images import BUILD
from components.engines import llama_cpp, vllm
from components.models.need import NOTHING, Bounds, ModelNeed, model_need
from components.models.reference import parse_model_reference, shown
from components.models.size import guess, guess_repository
from components.settings.base import Check
from components.settings.container_flags import reserved
from components.settings.containers import IMAGE, is_gguf, name_and_tag
from components.settings.gpu_engine import (
    CHECKS,
    OF_ONE_ENGINE,
    key_is_the_engines,
    unknown_to_the_build,
)
from components.settings.served import FetchedModel
from components.settings.values import command_line
from components.settings.vm import VmSettings
from components.sizing import gpu_fit
from components.sizing.gpu_tuning import Wanted, gpu_tuning
from components.sizing.machine_tuning import Tuning, tuning

_ALL_LAYERS = ("auto", "all")
_MOST_LAYERS = 1000
_LONGEST_TEMPLATE = 32_768
SYSTEM_BYTES = 2**30
"""Of a machine's own memory, what is not there for a model."""


def _gpu_layers(value: str) -> str:
    if value in _ALL_LAYERS:
        return value
    if re.fullmatch(r"[0-9]{1,4}", value) and 1 <= int(value) <= _MOST_LAYERS:
        return str(int(value))
    raise ValueError(f"it takes auto, all, or a whole number, from 1, to {_MOST_LAYERS}")


def _container_image(value: str) -> str:
    if value != BUILD and IMAGE.fullmatch(value) is None:
        raise ValueError(
            f"it takes {BUILD}, or an image with its tag and digest, as in "
            "ghcr.io/ggml-org/llama.cpp:server-cuda@sha256:HEX (64 hex digits)"
        )
    return value


def _chat_template(value: str) -> str:
    if not llama_cpp.is_jinja(value):
        return value
    if not value.isprintable():
        raise ValueError(
            "it takes one line: a line break in the text is written as Jinja has it, {{ '\\n' }}"
        )
    if len(value) > _LONGEST_TEMPLATE:
        raise ValueError(f"it takes up to {_LONGEST_TEMPLATE} characters")
    return value


def _flags(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Refuse the flags that other keys set, and those that would open the machine."""
    engine = info.data.get("engine")
    if engine is not None and (said := reserved(engine, value)):
        raise ValueError(said)
    return value


class GpuServing(VmSettings):
    """The keys of every program that serves from containers, on a virtual machine with GPUs."""

    engine: Literal["llama_cpp", "vllm"] = Field(
        default="llama_cpp",
        description="What serves the model: llama.cpp's own server, from GGUF files, or vLLM, from "
        "a hub repository of safetensors (`owner/repo`).",
    )
    model: FetchedModel = Field(
        description="The model: `owner/repo:file.gguf`, `owner/repo:QUANT`, or "
        "`https://…/file.gguf`; with vLLM `owner/repo`. It is fetched by the machine.",
    )
    embeddings_model: FetchedModel | None = Field(
        default=None,
        description="The model that answers `/v1/embeddings`. The model itself: the same server "
        "does both, except with vLLM. Another one, a GGUF file: a second llama.cpp server behind "
        "the same gateway. Unset: none does.",
    )
    context_tokens: int | None = Field(
        default=None,
        ge=256,
        le=1_048_576,
        description="Tokens that one request may use, prompt and answer together. Unset: from the "
        "GPUs' memory; with vLLM as many as the model and that memory bear.",
    )
    gpu_layers: Annotated[str, BeforeValidator(str), AfterValidator(_gpu_layers)] = Field(
        default="auto",
        description="Layers of the model that the GPUs hold. `auto`: as many as fit, where a model "
        "of which not all plainly do is refused. `all`: all, or the server does not start. A whole "
        "number: that many, and the rest is the processor's.",
    )
    split_mode: Literal["layer", "row", "none"] | None = Field(
        default=None,
        description="How several GPUs share the model: by `layer`, by `row` of its tensors, or "
        "`none`: one GPU has it all. Unset: `layer`. vLLM splits every tensor over all GPUs.",
    )
    kv_type: (
        Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "fp8"]
        | None
    ) = Field(
        default=None,
        description="Type of the KV cache's elements; `fp8` is vLLM's, and the others are "
        "llama.cpp's. Unset: from the GPUs' memory, and with vLLM the model's own.",
    )
    chat_template: Annotated[str, AfterValidator(_chat_template)] | None = Field(
        default=None,
        description="What turns messages into a prompt: one line of Jinja, or with llama.cpp the "
        "name of one of its own templates, such as `vicuna`. One that does not mention `tools` "
        "makes no tool calls. Unset: the model's own.",
    )
    tool_call_parser: str | None = Field(
        default=None,
        description="vLLM's parser for the model's tool calls, such as `hermes`. Unset: it makes "
        "none. llama.cpp needs none.",
    )
    quantization: str | None = Field(
        default=None,
        description="vLLM's quantization method, such as `fp8`. Unset: as the model's own "
        "configuration says.",
    )
    container_image: Annotated[str, AfterValidator(_container_image)] | None = Field(
        default=None,
        description="The engine's image: `repository:tag@sha256:…`, or `build`, which builds "
        "llama.cpp's on the machine from its pinned Dockerfile. Unset: the pinned image. "
        "`scripts/up` looks up a digest that is not there.",
    )
    engine_flags: Annotated[
        tuple[str, ...], BeforeValidator(command_line), AfterValidator(_flags)
    ] = Field(
        default=(),
        description="Further flags of the engine, as on its command line: `llama-server`'s, or "
        "`vllm serve`'s. The last of two wins.",
    )

    @property
    def offloaded_layers(self) -> int | None:
        """How many layers the GPUs hold; None for all of them."""
        return None if self.gpu_layers in {None, *_ALL_LAYERS} else int(self.gpu_layers)

    @property
    def has_own_image(self) -> bool:
        """Whether the engine comes from an image that is not this project's choice."""
        return self.container_image not in {None, BUILD}

    @property
    def own_image(self) -> tuple[str, str]:
        """The name and the tag of an image that is not this project's choice; empty for none."""
        return name_and_tag(self.container_image if self.has_own_image else None)

    def models_bytes(self) -> int | None:
        """Return what all models take together, as far as their names tell; None for nothing."""
        if self.engine != vllm.NAME:
            return super().models_bytes()
        chat, *others = self.references()
        sizes = [guess_repository(chat), *map(guess, others)]
        known = [size.size_bytes for size in sizes if size is not None]
        return sum(known) if known else None

    def need(self) -> ModelNeed | None:
        """Return what the chat model's name tells of the memory that it takes."""
        reference, repository = parse_model_reference(self.model), self.engine == vllm.NAME
        if repository and is_gguf(reference):
            return None
        return model_need(reference, repository=repository, quantization=self.quantization)

    def beside(self) -> Bounds:
        """Return what an embeddings model of its own takes of the GPUs."""
        if self.embeddings_model in {None, self.model}:
            return NOTHING
        need = model_need(parse_model_reference(str(self.embeddings_model)))
        return gpu_fit.beside(need, llama_cpp.EMBEDDING_TOKENS * llama_cpp.EMBEDDING_SLOTS)

    def sharing(self, gpus: tuple[Gpu, int]) -> tuple[Gpu, int]:
        """Return those of the machine's GPUs that share the chat model."""
        return (gpus[0], 1) if self.split_mode == "none" else gpus

    def tuned(self, gpus: tuple[Gpu, int] | None, machine: MachineType | None) -> Tuning:
        """Return how the engine is set up: what the keys say, and the rest from the machine.

        `gpus` None serves on the processor.
        """
        if gpus is None:
            return tuning(
                machine,
                self.models_bytes(),
                context_tokens=self.context_tokens,
                slots=self.slots,
                threads=self.threads,
                kv_type=self.kv_type,
                flash_attention=self.flash_attention,
            )
        wanted = Wanted(
            engine=self.engine,
            context_tokens=self.context_tokens,
            slots=self.slots,
            threads=self.threads,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            gpu_layers=self.offloaded_layers,
            beside=self.beside(),
            memory_bytes=machine.memory_bytes - SYSTEM_BYTES if machine else None,
        )
        return gpu_tuning(
            self.sharing(gpus), self.need(), machine.cores if machine else None, wanted
        )

    def checks(self) -> Iterator[Check]:
        """Return what the keys must fit together for."""
        yield from super().checks()
        for key in OF_ONE_ENGINE:
            reads = frozenset({"engine", "embeddings_model", key})
            yield Check(reads, partial(key_is_the_engines, self, key))
        for reads, find in CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, or one that is not seen, and what can't be checked."""
        said = [*super().warnings()]
        if self.has_own_image:
            said += [
                f"{problem.key}: {problem.said}; container_image {self.container_image} may differ"
                for problem in unknown_to_the_build(self)
            ]
        llama = self.engine == llama_cpp.NAME
        said += [
            f"{key} {shown(value)}: llama.cpp loads GGUF files, which its name does not tell of: "
            f"{value}-GGUF is what a repository that has them is often called"
            for key, value in (("model", self.model), ("embeddings_model", self.embeddings_model))
            if llama and value is not None and not is_gguf(parse_model_reference(value))
        ]
        if llama and not llama_cpp.makes_tool_calls(self.chat_template):
            said.append(
                "with this chat_template llama.cpp makes no tool calls, since it does not mention "
                "tools, as none of llama.cpp's own does: leave it unset, or write Jinja that does"
            )
        return tuple(said)
