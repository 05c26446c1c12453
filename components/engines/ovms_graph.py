"""OpenVINO Model Server's graph of a language model, for servers that are started by `config.json`.

What flags say for one model, a graph says beside a configuration of several. Its shape and its
options: `docs/llm/reference.md` and `src/llm/llm_calculator.proto` of
github.com/openvinotoolkit/model_server, v2026.2.1; which flag becomes which option:
`src/graph_export/graph_export.cpp` there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from components.engines.ovms import NO_PARSER, Task
from components.launch import Launch, Slot

_NUMBERS = {"--max_num_seqs": "max_num_seqs", "--cache_size": "cache_size"}
_WORDS = {"--target_device": "device"}
_TRUTHS = {"--enable_prefix_caching": "enable_prefix_caching"}
_PARSERS = {"--tool_parser": "tool_parser", "--reasoning_parser": "reasoning_parser"}
_KV_PRECISION = "--kv_cache_precision"
_TASK = "--task"
_OF_THE_SERVER = frozenset(
    {
        # What the configuration says, or whoever starts the server.
        *("--model_path", "--model_name", "--rest_port", "--rest_bind_address"),
        *("--metrics_enable", "--file_system_poll_wait_seconds", "--log_level"),
    }
)

_BEGINNING = """\
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {
  name: "LLMExecutor"
  calculator: "HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info { tag_index: "LOOPBACK:0" back_edge: true }
  node_options {
    [type.googleapis.com/mediapipe.LLMCalculatorOptions] {
"""
_END = """\
    }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler"
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] { sync_set { tag_index: "LOOPBACK:0" } }
    }
  }
}
"""


class GraphError(ValueError):
    """A launch that no graph says; the message names the flag."""


def graph(launch: Launch) -> str:
    """Return the graph of what `launch` serves, in protobuf's text, with `Slot.MODEL` in it.

    Raises `GraphError` for another task than text generation, and for a flag that has no option.
    """
    options = {"models_path": _text(Slot.MODEL), **dict(_options(launch.arguments))}
    lines = "".join(f"      {name}: {value}\n" for name, value in options.items())
    return _BEGINNING + lines + _END


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options that the flags come to, each as protobuf's text has it."""
    for flag, value in pairwise((*arguments, "")):
        if not flag.startswith("--") or flag in _OF_THE_SERVER:
            continue
        if flag == _TASK:
            if value != Task.TEXT_GENERATION:
                raise GraphError(f"{flag} {value}: there is a graph for text generation alone")
        elif flag in _NUMBERS:
            yield _NUMBERS[flag], str(int(value))
        elif flag in _TRUTHS:
            yield _TRUTHS[flag], value
        elif flag in _WORDS:
            yield _WORDS[flag], _text(value)
        elif flag in _PARSERS:
            # Without the option there is none.
            if value != NO_PARSER:
                yield _PARSERS[flag], _text(value)
        elif flag == _KV_PRECISION:
            yield "plugin_config", _text(json.dumps({"KV_CACHE_PRECISION": value}))
        else:
            raise GraphError(f"{flag} is no option of a graph: without it one can be made")


def _text(value: str) -> str:
    """Return `value` quoted: protobuf's escapes are those of JSON, as far as ASCII goes."""
    return json.dumps(value)
