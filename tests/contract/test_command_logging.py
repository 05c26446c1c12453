"""The lines that a running command shows in the engine."""

from __future__ import annotations

from typing import NoReturn

import grpc
import pytest
from plugin_client import EMULATED, Engine, Plugin, StartPlugin, urn
from pulumi.runtime.proto import engine_pb2


def lines_of(engine: Engine) -> list[str]:
    return [line.message for line in engine.logged]


@pytest.fixture(autouse=True)
def forget(engine: Engine):
    engine.logged.clear()


@pytest.mark.parametrize(
    ("logging", "lines"),
    [
        (None, ["err", "out"]),
        ("stdout", ["out"]),
        ("stderr", ["err"]),
        ("stdoutAndStderr", ["err", "out"]),
        ("none", []),
        ("loudly", []),
    ],
)
def test_logging_chooses_streams(
    plugin: Plugin, engine: Engine, logging: str | None, lines: list[str]
):
    made = plugin.create({"create": "echo out; echo err >&2", "logging": logging})
    assert sorted(lines_of(engine)) == lines
    assert (made.outputs["stdout"], made.outputs["stderr"]) == ("out", "err")


def test_lines_are_passing_notes_beside_the_resource(plugin: Plugin, engine: Engine):
    plugin.create({"create": "echo hi"}, name="noted")
    (line,) = engine.logged
    assert line.urn == urn("noted")
    assert line.severity == engine_pb2.INFO
    assert line.ephemeral


def test_lines_are_cut_at_their_ends(plugin: Plugin, engine: Engine):
    plugin.create({"create": r"printf 'a\r\n\nb\tc\nlast'"})
    assert lines_of(engine) == ["a", "", "b\tc", "last"]


def test_what_is_not_utf8_is_shown_with_a_replacement(plugin: Plugin, engine: Engine):
    plugin.failure(r"printf 'a\377b\n'")
    assert lines_of(engine) == ["a\N{REPLACEMENT CHARACTER}b"]


def test_updates_deletes_and_failures_log_too(plugin: Plugin, engine: Engine):
    state = {"stdout": "", "stderr": "", "delete": "echo deleting"}
    plugin.update(state, {"create": "echo updating"})
    plugin.delete(state)
    plugin.failure("echo failing; exit 1")
    assert lines_of(engine) == ["updating", "deleting", "failing"]


def test_a_function_logs_beside_no_resource(plugin: Plugin, engine: Engine):
    plugin.invoke({"command": "echo hi"})
    assert [(line.urn, line.message) for line in engine.logged] == [("", "hi")]


def test_a_long_line_is_captured_whole_without_logging(plugin: Plugin):
    script = "head -c 200000 /dev/zero | tr '\\0' x"
    assert plugin.output(script, logging="none") == "x" * 200_000


@pytest.mark.skipif(
    not EMULATED,
    reason="the published plugin hangs for ever at a logged line of more than 64 KiB",
)
def test_of_a_long_line_64_kib_are_shown(plugin: Plugin, engine: Engine):
    script = "head -c 200000 /dev/zero | tr '\\0' x; echo; echo next"
    assert plugin.output(script) == "x" * 200_000 + "\nnext"
    assert [len(line) for line in lines_of(engine)] == [65536, 4]


class DeafEngine(Engine):
    """An engine that takes no log lines."""

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> NoReturn:
        context.abort(grpc.StatusCode.INTERNAL, "deaf")
        raise AssertionError


def test_an_engine_that_takes_no_lines_does_not_fail_a_command(start_plugin: StartPlugin):
    engine = DeafEngine()
    assert start_plugin(engine=engine).output("echo hi; echo more") == "hi\nmore"
    engine.stop()
