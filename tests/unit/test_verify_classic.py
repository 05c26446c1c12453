"""Classic models: available, with inputs and outputs, and an answer that keeps to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fake_endpoint import Exchange, FakeEndpoint, verified

from components.models.registry import RegistryModel
from scripts.verify.classic import FAILED_SECONDS, Loading
from scripts.verify.client import Answer, Client
from scripts.verify.options import Endpoint, UsageError, parse_classic, parse_endpoint
from scripts.verify.outcome import Failure
from scripts.verify.scrub import Scrubber
from scripts.verify.tensors import HEADER_BYTES, Tensor, TensorError, read_tensors, zeros

KEY = "sk-0123456789abcdef"
NET = RegistryModel("net", 2)
INPUTS = [{"name": "b", "datatype": "FP32", "shape": [-1, 3]}]
OUTPUTS = [
    {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
    {"name": "words", "datatype": "BYTES", "shape": [2]},
]


def state(state: str | None = "AVAILABLE", code: str | None = "OK", name: str = "net") -> Any:
    entry = {"name": name, "version": "2", "state": state, "error_code": code}
    return {"models": [{**entry, "error_message": code}]}


@dataclass
class Classic:
    """What the server says of its one model, and what it answers."""

    endpoint: FakeEndpoint
    states: Any = field(default_factory=state)
    inputs: Any = field(default_factory=lambda: INPUTS)
    outputs: Any = field(default_factory=lambda: OUTPUTS)
    answer: dict[str, Any] = field(default_factory=dict)
    binary: bytes = bytes(8) + b"\0\0\0\0\2\0\0\0hi"
    smallest: int = 1

    def script(self) -> None:
        on = self.endpoint.on
        on("GET", "/models", lambda e: e.json(200, self.states))
        metadata = {"name": "net", "versions": ["2"], "platform": "OpenVINO"}
        on(
            "GET",
            "/models/net/versions/2",
            lambda e: e.json(200, {**metadata, "inputs": self.inputs, "outputs": self.outputs}),
        )
        on("POST", "/models/net/versions/2/infer", self.infer)

    def infer(self, exchange: Exchange) -> None:
        header = json.loads(exchange.data[: int(exchange.headers[HEADER_BYTES.lower()])])
        sent = header["inputs"][0]
        if sent["shape"][-1] < self.smallest:
            exchange.json(400, {"error": "Invalid input shape"})
            return
        outputs = [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], **size(8)},
            {"name": "words", "datatype": "BYTES", "shape": [2], **size(10)},
        ]
        answer = {"model_name": "net", "model_version": "2", "outputs": outputs, **self.answer}
        text = json.dumps(answer).encode()
        exchange.send(200, text + self.binary, **{HEADER_BYTES.replace("-", "_"): str(len(text))})

    def sent(self) -> list[tuple[Any, bytes]]:
        """Return what came to be inferred: the JSON, and the tensors after it."""
        found: list[tuple[Any, bytes]] = []
        for each in self.endpoint.asked("POST", "/models/net/versions/2/infer"):
            end = int(each.headers[HEADER_BYTES.lower()])
            found.append((json.loads(each.data[:end]), each.data[end:]))
        return found


def size(count: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": count}}


@pytest.fixture
def classic() -> Iterator[Classic]:
    with FakeEndpoint(key=KEY) as endpoint:
        classic = Classic(endpoint)
        classic.script()
        yield classic


def failure(classic: Classic) -> str:
    return verified(classic.endpoint, classic=(NET,)).failed_at("classic_models")


def test_each_model_answers_zeros_with_what_it_promised(classic: Classic):
    receipt = verified(classic.endpoint, classic=(NET,)).receipt
    check = receipt.checks[-1]
    assert (check.name, check.status) == ("classic_models", "passed")
    assert check.seen == "net@2 FP32[1, 3] -> FP32[1, 2] BYTES[2]"
    ((request, tensors),) = classic.sent()
    assert request["inputs"] == [{**INPUTS[0], "shape": [1, 3], **size(12)}]
    assert [(one["name"], one["parameters"]) for one in request["outputs"]] == [
        ("a", {"binary_data": True}),
        ("words", {"binary_data": True}),
    ]
    assert tensors == bytes(12)


def test_an_endpoint_without_classic_models_has_no_such_check(classic: Classic):
    receipt = verified(classic.endpoint).receipt
    assert "classic_models" not in [check.name for check in receipt.checks]
    assert classic.endpoint.asked("GET", "/models") == []


@pytest.mark.parametrize(
    ("states", "seen"),
    [
        (state("LOADING", "UNKNOWN"), "net@2 LOADING (UNKNOWN)"),
        (state("AVAILABLE", "UNKNOWN"), "net@2 AVAILABLE (UNKNOWN)"),
        (state("END"), "net@2 END (OK)"),
        (state(None, None), "net@2 is not told of"),
        (state(name="other"), "net@2 is not told of"),
        ({"models": "none"}, '{"models": "none"}'),
    ],
)
def test_a_model_that_is_not_available_fails_by_its_name(classic: Classic, states: Any, seen: str):
    classic.states = states
    assert seen in failure(classic)
    assert classic.sent() == []


@pytest.mark.parametrize(
    ("answer", "binary", "seen"),
    [
        ({"model_version": "1"}, None, "an answer of net version 1"),
        ({"model_name": "other"}, None, "an answer of other version 2"),
        ({"outputs": []}, b"", "no outputs with name, datatype and shape"),
        ({}, bytes(8) + b"\0\0\0\0", "elements in output words"),
        ({}, bytes(8) + b"\0\0\0\0\2\0\0\0hi!", "1 bytes after the last output"),
        (
            {"outputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], **size(8)}]},
            bytes(8),
            "no output words",
        ),
        (
            {"outputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [0.0]}]},
            b"",
            "1 elements in output a FP32[1, 2]",
        ),
        (
            {"outputs": [{"name": "a", "datatype": "FP32", "shape": [1, 3], **size(12)}]},
            bytes(12),
            "output a FP32[1, 3]",
        ),
        (
            {"outputs": [{"name": "a", "datatype": "FP64", "shape": [1, 2], **size(16)}]},
            bytes(16),
            "output a FP64[1, 2]",
        ),
    ],
)
def test_an_answer_that_is_not_what_was_promised_fails(
    classic: Classic, answer: dict[str, Any], binary: bytes | None, seen: str
):
    classic.answer = answer
    classic.binary = classic.binary if binary is None else binary
    assert seen in failure(classic)


def test_open_dimensions_are_tried_in_sizes_that_models_take(classic: Classic):
    classic.inputs = [{"name": "b", "datatype": "INT64", "shape": [-1, -1]}]
    classic.smallest = 33
    check = verified(classic.endpoint, classic=(NET,)).receipt.checks[-1]
    assert check.seen == "net@2 INT64[1, 224] -> FP32[1, 2] BYTES[2]"
    assert [request["inputs"][0]["shape"] for request, _ in classic.sent()] == [
        *([1, 1], [1, 32], [1, 224])
    ]
    assert [len(tensors) for _, tensors in classic.sent()] == [8, 8 * 32, 8 * 224]


def test_more_zeros_than_a_machine_may_have_are_not_tried(classic: Classic):
    classic.inputs = [{"name": "b", "datatype": "FP32", "shape": [-1, -1, -1, -1, -1]}]
    classic.smallest = 300
    assert "HTTP 400: Invalid input shape" in failure(classic)
    assert [request["inputs"][0]["shape"][-1] for request, _ in classic.sent()] == [1, 32]


def test_a_model_that_refuses_zeros_fails_with_what_it_says(classic: Classic):
    classic.smallest = 4
    assert "HTTP 400: Invalid input shape" in failure(classic)
    assert len(classic.sent()) == 1


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [
        ([], '"inputs": []'),
        ([{"name": "b", "datatype": "FP32", "shape": ["3"]}], '"inputs"'),
        ([{"name": "b", "datatype": "FP4", "shape": [3]}], "FP4"),
    ],
)
def test_metadata_that_can_not_be_followed_fails(classic: Classic, inputs: Any, seen: str):
    classic.inputs = inputs
    assert seen in failure(classic)


def test_a_model_that_failed_to_load_is_named_while_the_rest_is_waited_for(classic: Classic):
    scrubber = Scrubber([KEY])
    client = Client(verified_endpoint(classic), KEY, scrubber=scrubber)
    moments = iter([0.0, FAILED_SECONDS - 1, FAILED_SECONDS])
    loading = Loading(client, (NET, RegistryModel("gone", 1)), lambda: next(moments))
    classic.states = state("LOADING", "OK")
    assert loading.look() == "net@2 LOADING (OK), gone@1 is not told of"
    classic.states = state("LOADING", "UNKNOWN")
    assert loading.look() == "net@2 LOADING (UNKNOWN), gone@1 is not told of"
    assert loading.look() != ""
    with pytest.raises(Failure) as caught:
        loading.look()
    assert caught.value.seen == "net@2 LOADING (UNKNOWN)"


def test_a_failure_that_passes_with_its_pod_is_forgotten(classic: Classic):
    client = Client(verified_endpoint(classic), KEY, scrubber=Scrubber([KEY]))
    moments = iter([0.0, FAILED_SECONDS])
    loading = Loading(client, (NET,), lambda: next(moments))
    classic.states = state("LOADING", "UNKNOWN")
    loading.look()
    classic.states = state()
    assert loading.look() == ""
    classic.states = state("LOADING", "UNKNOWN")
    assert loading.look() == "net@2 LOADING (UNKNOWN)"


def verified_endpoint(classic: Classic) -> Endpoint:
    return parse_endpoint(classic.endpoint.url)


def test_a_wait_names_the_models_that_are_not_there(classic: Classic):
    starting = {"status": "starting", "stage": "server", "message": "models loads its models"}
    classic.endpoint.on("GET", "/health", lambda e: e.json(503, starting))
    classic.states = state("LOADING", "UNKNOWN")
    failed = verified(classic.endpoint, classic=(NET,), wait_seconds=0.1).failed
    assert failed.name == "ready"
    assert "; net@2 LOADING (UNKNOWN)" in str(failed.seen)


def test_nobody_who_asks_is_no_reason_to_fail(classic: Classic):
    classic.endpoint.on("GET", "/models", lambda e: e.error(503, "starting"))
    client = Client(verified_endpoint(classic), KEY, scrubber=Scrubber([KEY]))
    assert Loading(client, (NET,)).look() == ""


def test_strings_are_empty_and_answers_may_come_as_json():
    content = zeros([Tensor("s", "BYTES", (2,)), Tensor("x", "FP16", (3,))], ())
    assert content.data[int(content.headers[HEADER_BYTES]) :] == bytes(2 * 4 + 3 * 2)
    output = {"name": "a", "datatype": "FP32", "shape": [], "data": [1.5]}
    body = json.dumps({"model_name": "n", "model_version": "1", "outputs": [output]}).encode()
    assert read_tensors(Answer(200, {}, body)) == (("n", "1"), (Tensor("a", "FP32", ()),))
    with pytest.raises(TensorError):
        read_tensors(Answer(200, {HEADER_BYTES: "x"}, body))


def test_models_are_given_by_commas():
    assert parse_classic("net@2, a-b@10") == (NET, RegistryModel("a-b", 10))
    assert parse_classic("") == ()
    with pytest.raises(UsageError, match="--classic: 'net'"):
        parse_classic("net")
