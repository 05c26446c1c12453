"""The `llama-server` flags that llama.cpp's wheel (PyPI `xllamacpp`) can be given.

The wheel holds llama.cpp's own server without its command line; it takes the same parameters by
attribute. This table is that command line: what stands here works with the wheel, everything else
needs a real `llama-server`. Spellings: llama.cpp server README; attributes:
`xllamacpp.CommonParams`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class IntegerFlag:
    """A flag with a whole number."""

    attribute: str


@dataclass(frozen=True)
class NumberFlag:
    """A flag with a number."""

    attribute: str


@dataclass(frozen=True)
class TextFlag:
    """A flag with a text."""

    attribute: str


@dataclass(frozen=True)
class TextListFlag:
    """A flag whose value is one entry of a list-valued attribute."""

    attribute: str


@dataclass(frozen=True)
class SwitchFlag:
    """A flag without a value that sets `attribute` to `value`."""

    attribute: str
    value: bool


@dataclass(frozen=True)
class ChoiceFlag:
    """A flag with one of `choices`: word on the command line -> member of the enum `enum`."""

    attribute: str
    enum: str
    choices: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class KeyFileFlag:
    """A flag with the path of a file that holds one API key a line."""


Flag = IntegerFlag | NumberFlag | TextFlag | TextListFlag | SwitchFlag | ChoiceFlag | KeyFileFlag

_POOLING = {word: f"LLAMA_POOLING_TYPE_{word.upper()}" for word in ("none", "mean", "cls", "last")}
_CACHE_TYPES = {
    word: f"GGML_TYPE_{word.upper()}"
    for word in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
}
_FLASH_ATTENTION = {
    "on": "LLAMA_FLASH_ATTN_TYPE_ENABLED",
    "off": "LLAMA_FLASH_ATTN_TYPE_DISABLED",
    "auto": "LLAMA_FLASH_ATTN_TYPE_AUTO",
}

FLAGS: Mapping[str, Flag] = {
    "--model": TextFlag("model.path"),
    "--alias": TextListFlag("model_alias"),
    "--host": TextListFlag("hostnames"),
    "--port": IntegerFlag("port"),
    "--api-key-file": KeyFileFlag(),
    "--cors-origins": TextFlag("cors_origins"),
    "--no-ui": SwitchFlag("ui", value=False),
    "--offline": SwitchFlag("offline", value=True),
    "--ctx-size": IntegerFlag("n_ctx"),
    "--parallel": IntegerFlag("n_parallel"),
    "--predict": IntegerFlag("n_predict"),
    "--batch-size": IntegerFlag("n_batch"),
    "--ubatch-size": IntegerFlag("n_ubatch"),
    "--threads": IntegerFlag("cpuparams.n_threads"),
    "--threads-batch": IntegerFlag("cpuparams_batch.n_threads"),
    "--threads-http": IntegerFlag("n_threads_http"),
    "--flash-attn": ChoiceFlag("flash_attn_type", "llama_flash_attn_type", _FLASH_ATTENTION),
    "--cache-type-k": ChoiceFlag("cache_type_k", "ggml_type", _CACHE_TYPES),
    "--cache-type-v": ChoiceFlag("cache_type_v", "ggml_type", _CACHE_TYPES),
    "--kv-unified": SwitchFlag("kv_unified", value=True),
    "--cache-ram": IntegerFlag("cache_ram_mib"),
    "--cache-reuse": IntegerFlag("n_cache_reuse"),
    "--context-shift": SwitchFlag("ctx_shift", value=True),
    "--no-warmup": SwitchFlag("warmup", value=False),
    "--embeddings": SwitchFlag("embedding", value=True),
    "--pooling": ChoiceFlag("pooling_type", "llama_pooling_type", _POOLING),
    "--chat-template": TextFlag("chat_template"),
    "--metrics": SwitchFlag("endpoint_metrics", value=True),
    "--no-slots": SwitchFlag("endpoint_slots", value=False),
    "--timeout": IntegerFlag("timeout_read"),
    "--rope-freq-base": NumberFlag("rope_freq_base"),
    "--rope-freq-scale": NumberFlag("rope_freq_scale"),
    "--verbosity": IntegerFlag("verbosity"),
}


class FlagError(ValueError):
    """A command line that the wheel can't be given; the message names flag, value and choices."""


def parse(arguments: list[str]) -> list[tuple[Flag, str]]:
    """Pair each flag of a `llama-server` command line with its value ("" for a switch).

    Takes `--flag value` and `--flag=value`. Raises `FlagError` for a flag that is not in `FLAGS`,
    a missing or unusable value, and for words that belong to no flag.
    """
    pairs: list[tuple[Flag, str]] = []
    rest = list(arguments)
    while rest:
        name, equals, inline = rest.pop(0).partition("=")
        flag = FLAGS.get(name)
        if flag is None:
            raise FlagError(
                f"{name!r} is not a flag that llama.cpp's wheel takes; it takes {', '.join(FLAGS)}"
            )
        if isinstance(flag, SwitchFlag):
            if equals:
                raise FlagError(f"{name} takes no value, and was given {inline!r}")
            pairs.append((flag, ""))
            continue
        if not equals and not rest:
            raise FlagError(f"{name} needs a value")
        value = inline if equals else rest.pop(0)
        _check(name, flag, value)
        pairs.append((flag, value))
    return pairs


def _check(name: str, flag: Flag, value: str) -> None:
    if isinstance(flag, ChoiceFlag) and value not in flag.choices:
        raise FlagError(f"{name} is {value!r}; it can be {', '.join(flag.choices)}")
    if isinstance(flag, IntegerFlag | NumberFlag):
        number = int if isinstance(flag, IntegerFlag) else float
        try:
            number(value)
        except ValueError:
            kind = "a whole number" if number is int else "a number"
            raise FlagError(f"{name} is {value!r}; it takes {kind}") from None
