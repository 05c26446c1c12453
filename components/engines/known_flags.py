"""What the pinned builds of the container engines know: flags, templates, parsers, quantisations.

The lists are those of `*.txt` beside this file, which say where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from components.engines import llama_cpp, ovms, vllm

_PROGRAMS = {llama_cpp.NAME: "llama-server", vllm.NAME: "vllm serve", ovms.NAME: "ovms"}
_FILES = {
    llama_cpp.NAME: "llama_cpp_server_flags",
    vllm.NAME: "vllm_server_flags",
    ovms.NAME: "ovms_server_flags",
}
_RENAMED = {
    llama_cpp.NAME: {
        "--mmap": "--load-mode mmap",
        "--no-mmap": "--load-mode none",
        "--mlock": "--load-mode mlock",
    },
    vllm.NAME: {
        "--disable-log-requests": "no flag: requests are not logged unless asked for",
    },
    ovms.NAME: {
        "--response_parser": "the keys tool_call_parser and reasoning_parser",
    },
}
"""Flags of each engine's earlier builds, and what says the same now."""

# A container's settings have keys for these, which those of a process leave to `engine_flags`.
_CONTAINER_KEYS = (
    *("--gpu-layers", "--n-gpu-layers", "-ngl", "--split-mode", "-sm"),
    *("--chat-template", "--chat-template-file", "--jinja"),
)
_NUMBER = re.compile(r"-[0-9.]")
_OPTIMISATION = re.compile(r"-O[0-9=]?.*")


_HEAD = re.compile(r"^# (?:Build|Version): ([A-Za-z0-9.]*[A-Za-z0-9])", re.MULTILINE)


@cache
def _text(name: str) -> str:
    return Path(__file__).with_name(f"{name}.txt").read_text(encoding="utf-8")


@cache
def _listed(name: str) -> tuple[str, ...]:
    lines = _text(name).splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def build_of(engine: str) -> str:
    """Return the program and build whose flags are listed, such as `llama-server b11459`."""
    found = _HEAD.search(_text(_FILES[engine]))
    if found is None:
        raise ValueError(f"{_FILES[engine]}.txt does not say of which version it is")
    return f"{_PROGRAMS[engine]} {found[1]}"


def flags_of(engine: str) -> tuple[str, ...]:
    """Return every flag that the pinned build of `engine` takes, long and short."""
    return _listed(_FILES[engine])


def chat_templates() -> tuple[str, ...]:
    """Return the names of llama.cpp's own chat templates."""
    return _listed("llama_cpp_chat_templates")


def tool_parsers() -> tuple[str, ...]:
    """Return the names of vLLM's tool-call parsers."""
    return _listed("vllm_tool_parsers")


def quantizations() -> tuple[str, ...]:
    """Return the names of vLLM's quantization methods."""
    return _listed("vllm_quantizations")


def is_reserved(engine: str, word: str) -> bool:
    """Whether a container's `engine_flags` may not hold `word`, as its engine says.

    With llama.cpp also what a key of its own sets there: GPU layers, split mode, chat template.
    """
    if engine == vllm.NAME:
        return vllm.is_reserved(word)
    if engine == ovms.NAME:
        return ovms.is_reserved(word)
    return llama_cpp.is_reserved(word) or _spelt(engine, word) in _CONTAINER_KEYS


def unknown(engine: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return what is wrong with the flags in `words` for the pinned build, a sentence each.

    Values are not read, and not repeated. A flag that is not known is named with those that are
    spelt nearly so.
    """
    found: list[str] = []
    for index, word in enumerate(words):
        if not word.startswith("-"):
            if index == 0:
                found.append("it begins with a word that belongs to no flag")
            continue
        if _NUMBER.match(word):
            continue
        found += _problems(engine, word)
    return tuple(dict.fromkeys(found))


def _problems(engine: str, word: str) -> list[str]:
    known, name = flags_of(engine), _spelt(engine, word)
    if engine == vllm.NAME:
        name = name.partition(".")[0]
        if _OPTIMISATION.fullmatch(word):
            return []
    if name not in known:
        return [f"{build_of(engine)} has no flag {name}{_instead(engine, name, known)}"]
    if engine == ovms.NAME and name in ovms.FLAGS_OF_OTHER_TASKS:
        return [f"{name} is for other tasks than generating text on a CPU, which ends with it"]
    if "=" in word and engine == llama_cpp.NAME:
        return [f"llama-server takes the value of {name} as a word of its own, without ="]
    return []


def _spelt(engine: str, word: str) -> str:
    """Return the flag of a word as it is listed: all but ovms take `_` for `-` in long ones."""
    name = word.partition("=")[0]
    as_typed = engine == ovms.NAME or not name.startswith("--")
    return name if as_typed else name.replace("_", "-")


def _instead(engine: str, name: str, known: Iterable[str]) -> str:
    if name in _RENAMED[engine]:
        return f"; it is {_RENAMED[engine][name]}"
    near = get_close_matches(name, known, n=3, cutoff=0.75)
    return f"; did you mean {' or '.join(near)}?" if near else ""
