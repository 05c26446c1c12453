"""What the keys of a container engine must fit together for: engine, model, image, flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from components.container_images import BUILD
from components.engines import known_flags, llama_cpp, vllm
from components.models.reference import HubFile, parse_model_reference
from components.settings.base import Problem
from components.settings.containers import (
    image_of_another_engine,
    image_without_digest,
    is_gguf,
    key_is_of,
)
from components.settings.vm import quantised_cache_is_flash

if TYPE_CHECKING:
    from components.settings.gpu_serving import GpuServing

OF_ONE_ENGINE = {
    "gpu_layers": llama_cpp.NAME,
    "split_mode": llama_cpp.NAME,
    "flash_attention": llama_cpp.NAME,
    "threads": llama_cpp.NAME,
    "tool_call_parser": vllm.NAME,
    "quantization": vllm.NAME,
}


def key_is_the_engines(settings: GpuServing, key: str) -> Iterator[Problem]:
    """Yield what is wrong where `key`, which only one engine reads, is set with another."""
    # An embeddings model of its own is llama.cpp's, beside vLLM too.
    if key == "threads" and settings.embeddings_model is not None:
        return
    yield from key_is_of(settings, key, OF_ONE_ENGINE[key], settings.engine)


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
    yield from quantised_cache_is_flash(settings.kv_type, settings.flash_attention)


def _model_is_the_engines(settings: GpuServing) -> Iterator[Problem]:
    if settings.engine != vllm.NAME:
        return
    reference = parse_model_reference(settings.model)
    if isinstance(reference, HubFile) and reference.selector is None and not is_gguf(reference):
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
    if settings.embeddings_model != settings.model and is_gguf(reference):
        return
    yield Problem(
        "embeddings_model",
        "beside vLLM, which serves one model and only chats here, llama.cpp makes embeddings: it "
        "takes a GGUF file, owner/repo:file.gguf or owner/repo:QUANT",
        "scripts/pulumi config rm embeddings_model",
    )


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
        yield from unknown_to_the_build(settings)


def unknown_to_the_build(settings: GpuServing) -> Iterator[Problem]:
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
    yield from image_of_another_engine(name, settings.engine, (llama_cpp.NAME, vllm.NAME))


def _image_has_a_digest(settings: GpuServing) -> Iterator[Problem]:
    if settings.has_own_image:
        yield from image_without_digest(str(settings.container_image))


CHECKS: tuple[tuple[tuple[str, ...], Callable[[GpuServing], Iterator[Problem]]], ...] = (
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
