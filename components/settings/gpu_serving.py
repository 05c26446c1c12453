"""The keys of every program that serves from containers, on a virtual machine with GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from components import gpu_fit
from components.catalogue.gcp import MachineType
from components.catalogue.gcp_gpu import Gpu
from components.container_images import BUILD
from components.engines import known_flags, llama_cpp, vllm
from components.gpu_tuning import Wanted, gpu_tuning
from components.machine_tuning import Tuning, tuning
from components.model_need import NOTHING, Bounds, ModelNeed, model_need
from components.model_reference import HubFile, UrlFile, parse_model_reference, shown
from components.model_size import guess, guess_repository
from components.settings.base import Check, Problem
from components.settings.gpu_flags import reserved
from components.settings.values import command_line
from components.settings.vm import FetchedModel, VmSettings

_ALL_LAYERS = ("auto", "all")
_MOST_LAYERS = 1000
_IMAGE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._/:-]*[a-z0-9])(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_OF_ONE_ENGINE = {
    "gpu_layers": llama_cpp.NAME,
    "split_mode": llama_cpp.NAME,
    "flash_attention": llama_cpp.NAME,
    "threads": llama_cpp.NAME,
    "tool_call_parser": vllm.NAME,
    "quantization": vllm.NAME,
}
_QUANTISED = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
_LONGEST_TEMPLATE = 32_768
SYSTEM_BYTES = 2**30
"""Of a machine's own memory, what is not there for a model."""

_PUBLISHED = {"llama.cpp": llama_cpp.NAME, "vllm-openai": vllm.NAME}
"""The engine in an image, by the last part of the names that their publishers give."""


def _gpu_layers(value: str) -> str:
    if value in _ALL_LAYERS:
        return value
    if re.fullmatch(r"[0-9]{1,4}", value) and 1 <= int(value) <= _MOST_LAYERS:
        return str(int(value))
    raise ValueError(f"it takes auto, all, or a whole number, from 1, to {_MOST_LAYERS}")


def _container_image(value: str) -> str:
    if value != BUILD and _IMAGE.fullmatch(value) is None:
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
        match = _IMAGE.fullmatch(self.container_image or "") if self.has_own_image else None
        return (match["name"], match["tag"]) if match else ("", "")

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
        if repository and _is_gguf(reference):
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
        for key in _OF_ONE_ENGINE:
            reads = frozenset({"engine", "embeddings_model", key})
            yield Check(reads, partial(_key_is_the_engines, self, key))
        for reads, find in _CHECKS:
            yield Check(frozenset(reads), partial(find, self))

    def warnings(self) -> tuple[str, ...]:
        """Return what has no effect, or one that is not seen, and what can't be checked."""
        said = [*super().warnings()]
        if self.has_own_image:
            said += [
                f"{problem.key}: {problem.said}; container_image {self.container_image} may differ"
                for problem in _unknown_to_the_build(self)
            ]
        llama = self.engine == llama_cpp.NAME
        said += [
            f"{key} {shown(value)}: llama.cpp loads GGUF files, which its name does not tell of: "
            f"{value}-GGUF is what a repository that has them is often called"
            for key, value in (("model", self.model), ("embeddings_model", self.embeddings_model))
            if llama and value is not None and not _is_gguf(parse_model_reference(value))
        ]
        if llama and not llama_cpp.makes_tool_calls(self.chat_template):
            said.append(
                "with this chat_template llama.cpp makes no tool calls, since it does not mention "
                "tools, as none of llama.cpp's own does: leave it unset, or write Jinja that does"
            )
        return tuple(said)


def _key_is_the_engines(settings: GpuServing, key: str) -> Iterator[Problem]:
    its = _OF_ONE_ENGINE[key]
    default = type(settings).model_fields[key].default
    if settings.engine == its or getattr(settings, key) == default:
        return
    # An embeddings model of its own is llama.cpp's, beside vLLM too.
    if key == "threads" and settings.embeddings_model is not None:
        return
    yield Problem(
        key,
        f"it is for {its}, and engine is {settings.engine!r}",
        f"scripts/pulumi config rm {key}, or scripts/pulumi config set engine {its}",
    )


def _kv_type_is_the_engines(settings: GpuServing) -> Iterator[Problem]:
    takes_fp8 = settings.engine == vllm.NAME
    if settings.kv_type is None or (settings.kv_type == "fp8") == takes_fp8:
        return
    what = "fp8, or nothing for the model's own" if takes_fp8 else "one of llama.cpp's, as in q8_0"
    yield Problem(
        "kv_type",
        f"with engine {settings.engine!r} it takes {what}",
        f"scripts/pulumi config set kv_type {'fp8' if takes_fp8 else 'q8_0'}, or "
        "scripts/pulumi config rm kv_type",
    )


def _quantised_cache_is_flash(settings: GpuServing) -> Iterator[Problem]:
    if settings.flash_attention != "off" or settings.kv_type not in _QUANTISED:
        return
    yield Problem(
        "flash_attention",
        f"llama.cpp keeps a {settings.kv_type} cache only with flash attention (kv_type)",
        "scripts/pulumi config set flash_attention auto",
    )


def _model_is_the_engines(settings: GpuServing) -> Iterator[Problem]:
    if settings.engine != vllm.NAME:
        return
    reference = parse_model_reference(settings.model)
    if isinstance(reference, HubFile) and reference.selector is None and not _is_gguf(reference):
        return
    yield Problem(
        "model",
        "vLLM loads no GGUF files: it takes a hub repository of safetensors, owner/repo, without "
        "a file or quantisation after it",
        "scripts/pulumi config set model Qwen/Qwen2.5-7B-Instruct, or "
        "scripts/pulumi config set engine llama_cpp",
    )


def _embeddings_are_llama_cpps(settings: GpuServing) -> Iterator[Problem]:
    if settings.engine != vllm.NAME or settings.embeddings_model is None:
        return
    reference = parse_model_reference(settings.embeddings_model)
    if settings.embeddings_model != settings.model and _is_gguf(reference):
        return
    yield Problem(
        "embeddings_model",
        "beside vLLM, which serves one model and only chats here, llama.cpp makes embeddings: it "
        "takes a GGUF file, owner/repo:file.gguf or owner/repo:QUANT",
        "scripts/pulumi config rm embeddings_model",
    )


def _is_gguf(reference: object) -> bool:
    """Whether a reference names a GGUF file, or a repository that says it has them."""
    if isinstance(reference, HubFile):
        return reference.selector is not None or "gguf" in reference.repo.lower()
    return isinstance(reference, UrlFile)


def _template_is_there(settings: GpuServing) -> Iterator[Problem]:
    template = settings.chat_template
    if template is None or llama_cpp.is_jinja(template):
        return
    if settings.engine == vllm.NAME:
        yield Problem(
            "chat_template",
            "vLLM has no templates of its own: it takes one line of Jinja, with {{ or {%",
            "scripts/pulumi config rm chat_template",
        )
    elif not settings.has_own_image:
        yield from _not_among(
            "chat_template",
            template,
            known_flags.chat_templates(),
            " (or one line of Jinja)",
        )


def _names_are_known(settings: GpuServing) -> Iterator[Problem]:
    if not settings.has_own_image:
        yield from _unknown_to_the_build(settings)


def _unknown_to_the_build(settings: GpuServing) -> Iterator[Problem]:
    """Yield the flags, parsers and methods that the pinned build of the engine lacks."""
    for said in known_flags.unknown(settings.engine, settings.engine_flags):
        yield Problem("engine_flags", said)
    if settings.engine != vllm.NAME:
        return
    yield from _not_among("tool_call_parser", settings.tool_call_parser, known_flags.tool_parsers())
    yield from _not_among("quantization", settings.quantization, known_flags.quantizations())


def _not_among(
    key: str, value: str | None, names: tuple[str, ...], further: str = ""
) -> Iterator[Problem]:
    if value is None or value in names:
        return
    near = get_close_matches(value, names, n=3, cutoff=0.5)
    takes = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(names)}"
    yield Problem(
        key,
        f"the pinned image knows none of that name: {takes}{further}",
        f"scripts/pulumi config set {key} {near[0]}" if near else None,
    )


def _built_image_is_llama_cpps(settings: GpuServing) -> Iterator[Problem]:
    if settings.engine != vllm.NAME or settings.container_image != BUILD:
        return
    yield Problem(
        "container_image",
        "only llama.cpp's image is built here, and engine is 'vllm'",
        "scripts/pulumi config rm container_image",
    )


def _image_is_the_engines(settings: GpuServing) -> Iterator[Problem]:
    name, _ = settings.own_image
    its = _PUBLISHED.get(name.rpartition("/")[2], settings.engine)
    if its != settings.engine:
        yield Problem(
            "container_image",
            f"that is the image of {its}, and engine is {settings.engine!r}",
            f"scripts/pulumi config rm container_image, or scripts/pulumi config set engine {its}",
        )


def _image_has_a_digest(settings: GpuServing) -> Iterator[Problem]:
    if not settings.has_own_image or "@sha256:" in str(settings.container_image):
        return
    yield Problem(
        "container_image",
        "it has no digest, without which a tag may mean another image tomorrow",
        "scripts/up STACK, which looks it up and records it, or python -m scripts.resolve STACK",
    )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[GpuServing], Iterator[Problem]]], ...] = (
    (("engine", "kv_type"), _kv_type_is_the_engines),
    (("kv_type", "flash_attention"), _quantised_cache_is_flash),
    (("engine", "model"), _model_is_the_engines),
    (("engine", "model", "embeddings_model"), _embeddings_are_llama_cpps),
    (("engine", "chat_template", "container_image"), _template_is_there),
    (
        ("engine", "engine_flags", "tool_call_parser", "quantization", "container_image"),
        _names_are_known,
    ),
    (("engine", "container_image"), _built_image_is_llama_cpps),
    (("engine", "container_image"), _image_is_the_engines),
    (("container_image",), _image_has_a_digest),
)
