"""The stand-in model's vocabulary and chat template, made by hand.

Byte-level BPE: every byte is a token, so any text in any language has tokens. Merges towards
frequent English words and towards what describes tools keep prompts short. The words of the
known answer are tokens too; few of them have merges, and generation alone needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import gguf

STAND_IN_ID = "stand-in"

ANSWER = (
    "This is the stand-in model of llm-endpoint: your endpoint works, a real one would answer here."
)
"""What every plain chat gets. Its words differ from one another: each names its successor."""

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
TEXT_START = "<|startoftext|>"
TOOLS = "<|tools|>"
TOOL_CALL_START = "<tool_call>"
TOOL_CALL_END = "</tool_call>"
TOOL_RESPONSE_END = "</tool_response>"

# What prompts are full of; what comes first is joined first. The role comes before all else, so
# that it is one token wherever it stands. A space before a word belongs to the word's token.
_FREQUENT = (
    "assistant",
    *(' {"', ' ["', ' "', '":', '",', '{"', '"},', '"]}}}', "  "),
    *(" the", " and", " of", " to", " in", " is", " that", " it", " for", " you", " with", " what"),
    *(" as", " be", " on", " at", " this", " or", " can", " answer", " have", " one", " not"),
    *("function", "description", "parameters", "properties", "required", "name", "type"),
    *("object", "string", "integer", "number", "array", "items", "enum"),
    *(" s", " p", " d", " m", " l", " g", " r", " e", " u"),
    *("ing", "tion", "er", "ed", "es", "en", "al", "ou", "or", "an", "le", "ar", "th", "he", "in"),
    *("ll", "ve", "ly", "ss", "ch", "us", "et", "il", "as", "ur", "om", "el", "ic", "ot", "ow"),
    "ro",
)

_CONTROL = (TEXT_START, TURN_START, TURN_END, TOOLS)
_USER_DEFINED = (TOOL_CALL_START, TOOL_CALL_END, TOOL_RESPONSE_END)

CHAT_TEMPLATE = """\
{%- if tools -%}
    {{- '<|im_start|>system\\n<|tools|>\\n' -}}
    {%- for tool in tools -%}
        {{- tool | tojson -}}
        {{- '\\n' -}}
    {%- endfor -%}
    {{- 'To call one: <tool_call>{"name": NAME, "arguments": OBJECT}</tool_call>' -}}
    {{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' -}}
    {%- if message.role == 'tool' -%}
        {{- '<tool_response>' -}}
        {{- message.content -}}
        {{- '</tool_response>' -}}
    {%- else -%}
        {%- if message.content -%}
            {{- message.content -}}
        {%- endif -%}
        {%- if message.tool_calls -%}
            {%- for call in message.tool_calls -%}
                {{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' -}}
                {%- if call.function.arguments is string -%}
                    {{- call.function.arguments -}}
                {%- else -%}
                    {{- call.function.arguments | tojson -}}
                {%- endif -%}
                {{- '}</tool_call>' -}}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

_AFTER_A_TOOL_RESPONSE = (TURN_END, "\n", TURN_START, "assistant", "\n")

TOOL_RESPONSE_DISTANCE = len(_AFTER_A_TOOL_RESPONSE)
"""Tokens from the end of a tool's response, where that came last, to where the answer begins."""


def byte_symbols() -> tuple[str, ...]:
    """Return the printable character that stands for each byte, in byte order.

    Byte-level BPE writes its tokens so (GPT-2's scheme, which GGUF files follow): printable
    Latin-1 characters stand for themselves, the other bytes for U+0100 and what follows it.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


def symbols(text: str) -> str:
    """Return `text` as byte-level BPE writes it in a vocabulary."""
    table = byte_symbols()
    return "".join(table[byte] for byte in text.encode())


def answer_pieces() -> tuple[str, ...]:
    """Return the tokens that make up `ANSWER`: its words, all but the first with their space."""
    first, *others = ANSWER.split(" ")
    return (first, *(f" {word}" for word in others))


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, in the GGUF file's own writing, and ids by the text that a token stands for.

    A byte's token has the byte as its id; only ASCII ones are in `ids`.
    """

    tokens: tuple[str, ...]
    types: tuple[gguf.TokenType, ...]
    merges: tuple[str, ...]
    ids: dict[str, int]

    def __len__(self) -> int:
        return len(self.tokens)


def _merges() -> tuple[tuple[str, str], ...]:
    """Return what BPE joins, first things first: each frequent piece from its start on."""
    return tuple(
        dict.fromkeys(
            (piece[:end], piece[end]) for piece in _FREQUENT for end in range(1, len(piece))
        )
    )


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary: all bytes in order, pieces of text, the special tokens."""
    merged = (left + right for left, right in _merges())
    pieces = tuple(dict.fromkeys((*merged, *answer_pieces(), STAND_IN_ID)))
    return Vocabulary(
        tokens=(*byte_symbols(), *(symbols(piece) for piece in pieces), *_CONTROL, *_USER_DEFINED),
        types=(
            *(gguf.TokenType.NORMAL for _ in range(256 + len(pieces))),
            *(gguf.TokenType.CONTROL for _ in _CONTROL),
            *(gguf.TokenType.USER_DEFINED for _ in _USER_DEFINED),
        ),
        merges=tuple(f"{symbols(left)} {symbols(right)}" for left, right in _merges()),
        ids={
            **{chr(byte): byte for byte in range(128)},
            **{text: 256 + n for n, text in enumerate((*pieces, *_CONTROL, *_USER_DEFINED))},
        },
    )
