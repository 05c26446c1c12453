"""OpenVINO Model Server: models in OpenVINO's format on a CPU.

Flags: `docs/parameters.md` and the option tables of github.com/openvinotoolkit/model_server, those
of the pinned image in `ovms_server_flags.txt`. Only a REST port is opened, none for gRPC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path

from components.launch import Accelerator, Capability, Form, Launch, Probe, Slot

NAME = "ovms"
PROGRAM = "ovms"

API_PATH = "/v3"
"""Where every version has OpenAI's API; `/v1` is a second name of it from 2026.3 on."""

KV_TYPES = ("u8", "f16", "bf16", "f32")
"""What OpenVINO's CPU plugin takes for the KV cache's elements; the first is its own default."""

POOLINGS = ("CLS", "LAST", "MEAN")
NO_PARSER = "none"
"""The parser that turns the detection by chat template off, from 2026.3 on."""


class Task(StrEnum):
    """What a server does with its model."""

    TEXT_GENERATION = "text_generation"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True, order=True)
class Version:
    """A release of OpenVINO Model Server, such as 2026.3.1."""

    year: int
    release: int
    patch: int = 0

    def __str__(self) -> str:
        patch = f".{self.patch}" if self.patch else ""
        return f"{self.year}.{self.release}{patch}"


_VERSION = re.compile(r"(20[0-9]{2})\.([0-9]{1,2})(?:\.([0-9]{1,2}))?(?:-[A-Za-z0-9_.-]+)?")


def parse_version(tag: str) -> Version | None:
    """Return the version in an image's tag, such as `2026.3.1-gpu`; None where it tells none."""
    found = _VERSION.fullmatch(tag)
    if found is None:
        return None
    year, release, patch = found.groups(default="0")
    return Version(int(year), int(release), int(patch))


SERVES_A_FOLDER = Version(2026, 2)
"""From here on a model's folder is served as it lies there, read-only: the graph that says how is
made from the flags in memory. Earlier ones want it written into the folder."""
TURNS_PARSERS_OFF = Version(2026, 3)
"""From here on parsers are found by the chat template, unless `NO_PARSER` says that there is none.
Which one was found, if any, only the server's log tells."""

CLEANS_SEQUENCES = Version(2026, 2, 1)
"""The last one that takes `--sequence_cleaner_poll_wait_minutes`: later ones do not start with it.
"""
FINDS_POOLING = Version(2026, 3)
"""From here on the pooling is found in the model's own files. Earlier ones take `CLS` for it."""

_PARSER_FLAGS = Version(2025, 3)
"""The first release with `--tool_parser` and `--reasoning_parser`."""


@dataclass(frozen=True)
class Missing:
    """Something that an image's version lacks: the key to change, and a `value` that would do."""

    key: str
    said: str
    value: str | None = None


def missing_features(
    version: Version | None, tool_parser: str | None, reasoning_parser: str | None
) -> tuple[Missing, ...]:
    """Return what an image of that version lacks for what is asked of it.

    `version` None, where a tag tells none, is taken for the newest. Parsers are those of the keys
    `tool_call_parser` and `reasoning_parser`; None and `NO_PARSER` ask for nothing.
    """
    asked = {"tool_call_parser": tool_parser, "reasoning_parser": reasoning_parser}
    asked = {key: name for key, name in asked.items() if name not in {None, NO_PARSER}}
    if version is not None and version < SERVES_A_FOLDER:
        lacks = [f"serving a folder that it may not write to, which came with {SERVES_A_FOLDER}"]
        if version < _PARSER_FLAGS:
            lacks += [f"{key}, which came with {_PARSER_FLAGS}" for key in asked]
        said = f"OpenVINO Model Server {version} is too old for {', and for '.join(lacks)}"
        return (Missing("container_image", said),)
    lists = {"tool_call_parser": tool_parsers, "reasoning_parser": reasoning_parsers}
    return tuple(
        _unknown_parser(key, name, lists[key](version), lists[key](None), version)
        for key, name in asked.items()
        if name is not None and name not in lists[key](version)
    )


def _unknown_parser(
    key: str, name: str, known: tuple[str, ...], newest: tuple[str, ...], version: Version | None
) -> Missing:
    of = "OpenVINO Model Server" if version is None else f"OpenVINO Model Server {version}"
    if name in newest:
        first = _first_with(key, name)
        return Missing("container_image", f"{of} has no {key} {name}, which came with {first}")
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return Missing(
        key,
        f"{of} has none of that name: it takes {', '.join((*known, NO_PARSER))}",
        near[0] if near else None,
    )


def tool_parsers(version: Version | None) -> tuple[str, ...]:
    """Return the names of the tool parsers of a version from 2026.2 on; None is the newest."""
    return _until(_parsers("ovms_tool_parsers"), version)


def reasoning_parsers(version: Version | None) -> tuple[str, ...]:
    """Return the names of the reasoning parsers of a version from 2026.2 on, as `tool_parsers`."""
    return _until(_parsers("ovms_reasoning_parsers"), version)


def _until(parsers: Mapping[str, Version], version: Version | None) -> tuple[str, ...]:
    return tuple(name for name, first in parsers.items() if version is None or first <= version)


def _first_with(key: str, name: str) -> Version:
    file = "ovms_tool_parsers" if key == "tool_call_parser" else "ovms_reasoning_parsers"
    return _parsers(file)[name]


@cache
def _parsers(file: str) -> dict[str, Version]:
    """Return the parsers in a list beside this file, each with the first version that has it."""
    text = Path(__file__).with_name(f"{file}.txt").read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: version for first, name in lines if (version := parse_version(first))}


@dataclass(frozen=True)
class Parsers:
    """What reads a model's tool calls, and what its reasoning; None for nothing."""

    tool: str | None = None
    reasoning: str | None = None


_FAMILIES: tuple[tuple[str, Parsers], ...] = (
    (r"embed|rerank|bge-|gte-", Parsers()),
    (r"qwen-?3-coder", Parsers("qwen3coder")),
    (r"qwen-?3\.[5-9]", Parsers("qwen3coder", "qwen3")),
    (r"qwen-?3(?=.*-instruct)", Parsers("hermes3")),
    (r"qwen-?3", Parsers("hermes3", "qwen3")),
    (r"qwen-?2\.5-(?!math).*instruct", Parsers("hermes3")),
    (r"hermes-3", Parsers("hermes3")),
    (r"phi-4-mini-instruct", Parsers("phi4")),
    (r"devstral", Parsers("devstral")),
    (r"mistral-.*instruct", Parsers("mistral")),
    (r"gpt-oss", Parsers("gptoss", "gptoss")),
    (r"llama-3\.[1-3].*instruct", Parsers("llama3")),
    (r"gemma-?4", Parsers("gemma4", "gemma4")),
)
"""By a model's name, the first that fits: the parsers of the server's own demos for that model, and
those that its chat template is recognised by (src/llm/io_processing/chat_template/analyzer.cpp)."""


def parsers_for(repo: str, version: Version | None) -> Parsers:
    """Return the parsers of the family that a repository's name tells, as far as `version` has."""
    name = repo.lower().replace("_", "-")
    found = next((parsers for family, parsers in _FAMILIES if re.search(family, name)), Parsers())
    return Parsers(
        found.tool if found.tool in tool_parsers(version) else None,
        found.reasoning if found.reasoning in reasoning_parsers(version) else None,
    )


_POOLING_FAMILIES: tuple[tuple[str, str | None], ...] = (
    (r"rerank", None),
    (r"qwen-?3-embedding|gte-qwen|e5-mistral|bge-en-icl|bge-multilingual-gemma", "LAST"),
    (r"^bge-|^gte-.*-v1\.5|^gte-multilingual-base", "CLS"),
    (r"^all-(?:minilm|mpnet|distilroberta)-|^(?:multilingual-)?e5-(?:small|base|large)", "MEAN"),
)
"""By a model's name, the first that fits: how the vectors of its tokens become one. Those of the
server's own demo (demos/embeddings/README.md), and what their authors' `1_Pooling/config.json` has.
"""


def pooling_for(repo: str) -> str | None:
    """Return the pooling of the family that a repository's name tells; None where it tells none."""
    name = repo.lower().replace("_", "-")
    return next((pooling for family, pooling in _POOLING_FAMILIES if re.search(family, name)), None)


_RESERVED = frozenset(
    {
        # Other keys set these.
        *("--model_name", "--model_path", "--task", "--target_device", "--cache_size"),
        *("--kv_cache_precision", "--max_num_seqs", "--tool_parser", "--reasoning_parser"),
        *("--rest_port", "--rest_bind_address", "--port", "--grpc_bind_address"),
        *("--file_system_poll_wait_seconds", "--metrics_enable"),
        # These do something else than serve.
        *("--pull", "--configure", "--list_models", "--add_to_config", "--remove_from_config"),
        *("--help", "-h", "--version"),
        # These read or fetch a configuration, a model or code that the stack has not named.
        *("--config_path", "--source_model", "--model_repository_path", "--overwrite_models"),
        *("--gguf_filename", "--weight-format", "--extra_quantization_params"),
        *("--draft_source_model", "--source_loras", "--cpu_extension"),
        # These would hand out a key, open the machine, or write where nothing can be written.
        *("--api_key_file", "--log_path", "--trace_path", "--cache_dir"),
    }
)
_RESERVED_BEGINNINGS = ("--allow", "--grpc")

FLAGS_OF_OTHER_TASKS = frozenset(
    {
        *("--default_num_inference_steps", "--default_resolution", "--guidance_scale"),
        *("--max_allowed_chunks", "--max_num_images_per_prompt", "--max_num_inference_steps"),
        *("--max_prompt_len", "--max_resolution", "--model_type", "--normalize"),
        *("--num_images_per_prompt", "--num_streams", "--pooling", "--resolution", "--truncate"),
        "--vocoder",
    }
)
"""Flags with which a server that generates text on a CPU does not start."""


def is_reserved(flag: str) -> bool:
    """Whether `engine_flags` may not hold `flag`: another key sets it, or it opens the machine."""
    name = flag.partition("=")[0]
    return name in _RESERVED or name.startswith(_RESERVED_BEGINNINGS)


@dataclass(frozen=True)
class OvmsOptions:
    """What a person chooses about OpenVINO Model Server.

    `model_id` has no slash, which its paths do not take. `slots` is how many requests are answered
    at once; how much each may use is the model's own context, as far as `cache_gb` (GiB of KV
    cache, shared by all) bears it: there is no flag for it on a CPU. `kv_precision` is one of
    `KV_TYPES`, None for what OpenVINO chooses. `prefix_caching` keeps what was reckoned of prompts.
    Without a `tool_parser` no tool calls are claimed. With the task `EMBEDDINGS` all of these are
    left out, and `pooling` is one of `POOLINGS`, None for what the model says. `extra_flags` are
    further flags, as typed: of two the last one counts.
    """

    model_id: str
    slots: int
    cache_gb: int = 1
    kv_precision: str | None = KV_TYPES[0]
    prefix_caching: bool = True
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    task: Task = Task.TEXT_GENERATION
    pooling: str | None = None
    extra_flags: tuple[str, ...] = ()


def launch(options: OvmsOptions) -> Launch:
    """Return how OpenVINO Model Server serves one model, a folder that it only reads.

    It checks no keys, of which it takes one alone and asks for it on some paths only, so that a
    gateway has to. A cache of a size is always asked for: without, it grows until the memory is
    full. Answers are held to a JSON schema without any flag
    (`demos/continuous_batching/structured_output`). Tool calls are claimed only with a parser that
    is named: whether one is found by the chat template is not known before the server runs.
    """
    if "/" in options.model_id:
        raise ValueError(f"model_id is {options.model_id!r}; OpenVINO Model Server takes no slash")
    arguments = (
        "--model_path",
        Slot.MODEL,
        "--model_name",
        options.model_id,
        "--task",
        options.task.value,
        "--target_device",
        "CPU",
        *_task_flags(options),
        "--rest_port",
        Slot.PORT,
        "--rest_bind_address",
        Slot.HOST,
        "--metrics_enable",
        "--file_system_poll_wait_seconds",
        "0",
        "--log_level",
        "INFO",
        *options.extra_flags,
    )
    return Launch(
        engine=NAME,
        program=PROGRAM,
        arguments=arguments,
        model_id=options.model_id,
        probe=Probe(
            path=f"/v2/models/{options.model_id}/ready",
            loading_status=404,
            live_path="/v2/health/live",
            state_path="/v1/config",
        ),
        forms=frozenset({Form.POD}),
        accelerators=frozenset({Accelerator.CPU}),
        capabilities=_claims(options),
        slots=options.slots,
        api_path=API_PATH,
    )


def _claims(options: OvmsOptions) -> frozenset[Capability]:
    if options.task is Task.EMBEDDINGS:
        return frozenset({Capability.EMBEDDINGS})
    if options.tool_parser in {None, NO_PARSER}:
        return frozenset({Capability.JSON_SCHEMA})
    return frozenset({Capability.JSON_SCHEMA, Capability.TOOL_CALLS})


def _task_flags(options: OvmsOptions) -> tuple[str, ...]:
    """Return the flags that one task takes alone; those of another end the server."""
    if options.task is Task.EMBEDDINGS:
        return () if options.pooling is None else ("--pooling", options.pooling)
    chosen = {
        "--cache_size": str(options.cache_gb),
        "--kv_cache_precision": options.kv_precision,
        "--enable_prefix_caching": "true" if options.prefix_caching else "false",
        "--max_num_seqs": str(options.slots),
        "--tool_parser": options.tool_parser,
        "--reasoning_parser": options.reasoning_parser,
    }
    return tuple(
        word for flag, value in chosen.items() if value is not None for word in (flag, value)
    )
