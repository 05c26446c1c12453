"""The graph of a language model: read by protobuf, with the options of OpenVINO Model Server."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    text_format,
)

from components.engines.ovms import OvmsOptions, Task, launch
from components.engines.ovms_graph import GraphError, graph
from components.launch import Slot

_OPTIONS = OvmsOptions(
    model_id="Qwen3-8B-int4-ov",
    slots=10,
    cache_gb=38,
    kv_precision="u8",
    tool_parser="hermes3",
    reasoning_parser="qwen3",
)
_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "string": _FIELD.TYPE_STRING,
    "uint64": _FIELD.TYPE_UINT64,
    "bool": _FIELD.TYPE_BOOL,
}
_MESSAGES: dict[str, dict[str, str]] = {
    # Of mediapipe/framework/calculator.proto and stream_handler.proto, as far as a graph needs.
    "CalculatorGraphConfig": {
        "input_stream": "repeated string",
        "output_stream": "repeated string",
        "node": "repeated Node",
    },
    "Node": {
        "name": "string",
        "calculator": "string",
        "input_stream": "repeated string",
        "output_stream": "repeated string",
        "input_side_packet": "repeated string",
        "input_stream_info": "repeated InputStreamInfo",
        "node_options": "repeated .google.protobuf.Any",
        "input_stream_handler": "InputStreamHandler",
    },
    "InputStreamInfo": {"tag_index": "string", "back_edge": "bool"},
    "InputStreamHandler": {"input_stream_handler": "string", "options": "Options"},
    "Options": {},
    "SyncSetInputStreamHandlerOptions": {"sync_set": "repeated SyncSet"},
    "SyncSet": {"tag_index": "repeated string"},
    # Of src/llm/llm_calculator.proto.
    "LLMCalculatorOptions": {
        "models_path": "string",
        "max_num_batched_tokens": "uint64",
        "cache_size": "uint64",
        "max_num_seqs": "uint64",
        "dynamic_split_fuse": "bool",
        "device": "string",
        "plugin_config": "string",
        "enable_prefix_caching": "bool",
        "tool_parser": "string",
        "reasoning_parser": "string",
    },
}


@cache
def pool() -> descriptor_pool.DescriptorPool:
    """The messages above, numbered as they come: in text only names count."""
    file = descriptor_pb2.FileDescriptorProto(name="graph.proto", package="mediapipe")
    file.dependency.append("google/protobuf/any.proto")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add(message.field.add(name=field, number=number), kind)
        if name == "Options":
            message.extension_range.add(start=100, end=200)
        if name == "SyncSetInputStreamHandlerOptions":
            extension = message.extension.add(name="ext", number=100, extendee=".mediapipe.Options")
            _add(extension, name)
    found = descriptor_pool.DescriptorPool()
    found.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    found.AddSerializedFile(file.SerializeToString())
    return found


def _add(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    label, _, name = kind.rpartition(" ")
    field.label = _FIELD.LABEL_REPEATED if label else _FIELD.LABEL_OPTIONAL
    if name in _KINDS:
        field.type = _KINDS[name]
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = name if name.startswith(".") else f".mediapipe.{name}"


def read(text: str) -> dict[str, Any]:
    """What protobuf reads in `text`; it raises where that is no graph."""
    kind = pool().FindMessageTypeByName("mediapipe.CalculatorGraphConfig")
    message = message_factory.GetMessageClass(kind)()
    text_format.Parse(text, message, descriptor_pool=pool())
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, descriptor_pool=pool()
    )


def options_in(text: str) -> dict[str, Any]:
    (node,) = read(text)["node"]
    (options,) = node["node_options"]
    assert options.pop("@type") == "type.googleapis.com/mediapipe.LLMCalculatorOptions"
    return options


def test_every_flag_of_a_model_is_an_option_of_its_graph():
    assert options_in(graph(launch(_OPTIONS))) == {
        "models_path": Slot.MODEL,
        "device": "CPU",
        "cache_size": "38",
        "plugin_config": json.dumps({"KV_CACHE_PRECISION": "u8"}),
        "enable_prefix_caching": True,
        "max_num_seqs": "10",
        "tool_parser": "hermes3",
        "reasoning_parser": "qwen3",
    }


def test_the_node_has_the_streams_that_the_server_looks_for():
    read_graph = read(graph(launch(_OPTIONS)))
    (node,) = read_graph["node"]
    assert read_graph["input_stream"] == ["HTTP_REQUEST_PAYLOAD:input"]
    assert read_graph["output_stream"] == ["HTTP_RESPONSE_PAYLOAD:output"]
    assert node["calculator"] == "HttpLLMCalculator"
    assert node["input_side_packet"] == ["LLM_NODE_RESOURCES:llm"]
    assert node["input_stream_info"] == [{"tag_index": "LOOPBACK:0", "back_edge": True}]
    handler = node["input_stream_handler"]["options"][
        "[mediapipe.SyncSetInputStreamHandlerOptions.ext]"
    ]
    assert handler == {"sync_set": [{"tag_index": ["LOOPBACK:0"]}]}


@pytest.mark.parametrize("parser", [None, "none"])
def test_a_parser_that_is_none_is_left_out(parser: str | None):
    given = replace(_OPTIONS, tool_parser=parser, reasoning_parser=parser, kv_precision=None)
    left = options_in(graph(launch(given)))
    assert not {"tool_parser", "reasoning_parser", "plugin_config"} & set(left)


def test_a_flag_that_a_graph_can_not_say_is_refused_by_its_name():
    given = replace(_OPTIONS, extra_flags=("--max_allowed_chunks", "3"))
    with pytest.raises(GraphError, match="--max_allowed_chunks"):
        graph(launch(given))


def test_another_task_than_text_generation_is_refused():
    embeddings = OvmsOptions(model_id="e5", slots=1, task=Task.EMBEDDINGS)
    with pytest.raises(GraphError, match="--task embeddings"):
        graph(launch(embeddings))
