"""Create, update, delete and read of `local.Command`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plugin_client import Plugin, PluginFailure

STATE = {"create": "echo made", "stdout": "made", "stderr": ""}


def test_create_runs_the_command_and_keeps_inputs_and_results(plugin: Plugin):
    inputs = {"create": "echo out; echo err >&2", "environment": {"A": "b"}, "triggers": [1, "x"]}
    made = plugin.create(inputs)
    assert made.outputs == {**inputs, "stdout": "out", "stderr": "err"}


def test_an_id_is_the_name_and_eight_hex_digits(plugin: Plugin):
    first = plugin.create({"create": "true"}, name="a::name")
    second = plugin.create({"create": "true"}, name="a::name")
    assert re.fullmatch(r"a::name[0-9a-f]{8}", first.id)
    assert first.id != second.id


def test_a_child_of_a_component_is_named_by_its_own_name(plugin: Plugin):
    made = plugin.create({}, name="child", kind="a:b:Component$command:local:Command")
    assert made.id.startswith("child")


@pytest.mark.parametrize("inputs", [{}, {"update": "exit 1", "delete": "exit 1"}])
def test_without_create_nothing_runs(plugin: Plugin, inputs: dict):
    assert plugin.create(inputs).outputs == {**inputs, "stdout": "", "stderr": ""}


def test_an_empty_create_runs_an_empty_script(plugin: Plugin):
    assert plugin.create({"create": ""}).outputs == {"create": "", "stdout": "", "stderr": ""}


def test_a_preview_of_a_create_runs_nothing(plugin: Plugin, tmp_path: Path):
    plugin.create({"create": f"touch '{tmp_path}/ran'"}, preview=True)
    assert not (tmp_path / "ran").exists()


def test_a_failing_create_leaves_no_state(plugin: Plugin):
    failure = plugin.failure("echo out; exit 3")
    assert failure.code == "UNKNOWN"
    assert failure.text == 'exit status 3: running "echo out; exit 3":\nout\n'


def test_update_runs_update(plugin: Plugin):
    inputs = {"create": "exit 1", "update": "echo updated"}
    assert plugin.update(STATE, inputs) == {**inputs, "stdout": "updated", "stderr": ""}


def test_update_without_update_runs_create(plugin: Plugin):
    inputs = {"create": "echo again; echo err >&2", "stdin": "new"}
    assert plugin.update(STATE, inputs) == {**inputs, "stdout": "again", "stderr": "err"}


def test_update_with_neither_keeps_the_results(plugin: Plugin):
    state = {**STATE, "stderr": "old"}
    assert plugin.update(state, {"delete": "true"}) == {
        "delete": "true", "stdout": "made", "stderr": "old",
    }  # fmt: skip


def test_a_failing_update_is_an_error(plugin: Plugin):
    with pytest.raises(PluginFailure) as failed:
        plugin.update(STATE, {"create": "exit 1", "update": "echo no; exit 4"})
    assert failed.value.code == "UNKNOWN"
    assert failed.value.text == 'exit status 4: running "echo no; exit 4":\nno\n'


def test_a_preview_of_an_update_runs_nothing(plugin: Plugin, tmp_path: Path):
    plugin.update(STATE, {"create": f"touch '{tmp_path}/ran'"}, preview=True)
    assert not (tmp_path / "ran").exists()


def test_update_ignores_the_changes_that_it_is_told_to(plugin: Plugin):
    changed = {"create": "echo other", "stdin": "x"}
    assert plugin.update(STATE, changed, ignore=["create"]) == {
        "create": "echo made", "stdin": "x", "stdout": "made", "stderr": "",
    }  # fmt: skip


def test_delete_runs_delete_as_the_state_says(plugin: Plugin, tmp_path: Path):
    state = {
        **STATE,
        "delete": 'echo "$A $(pwd)" > deleted; cat >> deleted',
        "dir": str(tmp_path),
        "environment": {"A": "from state"},
        "stdin": "fed",
    }
    plugin.delete(state)
    assert (tmp_path / "deleted").read_text() == f"from state {tmp_path}\nfed"


def test_delete_without_delete_does_nothing(plugin: Plugin):
    plugin.delete(STATE)


def test_a_failing_delete_is_an_error(plugin: Plugin):
    with pytest.raises(PluginFailure) as failed:
        plugin.delete({**STATE, "delete": "echo why; exit 2"})
    assert failed.value.text == 'exit status 2: running "echo why; exit 2":\nwhy\n'


def test_previous_output_is_in_the_environment_of_updates_and_deletes(
    plugin: Plugin, tmp_path: Path
):
    script = 'echo "$PULUMI_COMMAND_STDOUT|$PULUMI_COMMAND_STDERR"'
    state = {**STATE, "stdout": "a\nb", "stderr": "c"}
    assert plugin.update(state, {"create": script})["stdout"] == "a\nb|c"
    plugin.delete({**state, "delete": f"({script}) > '{tmp_path}/seen'"})
    assert (tmp_path / "seen").read_text() == "a\nb|c\n"


def test_previous_output_is_not_there_when_there_is_none_or_it_is_not_wanted(plugin: Plugin):
    script = "env | grep -c PULUMI_COMMAND_; true"
    state = {**STATE, "stdout": "a", "stderr": "b"}
    assert plugin.output(script) == "0"
    assert plugin.update(state, {"create": script})["stdout"] == "2"
    assert plugin.update({**state, "stderr": ""}, {"create": script})["stdout"] == "1"
    unwanted = {"create": script, "addPreviousOutputInEnv": False}
    assert plugin.update(state, unwanted)["stdout"] == "0"


def test_previous_output_goes_before_what_the_environment_says(plugin: Plugin):
    inputs = {
        "create": "echo $PULUMI_COMMAND_STDOUT",
        "environment": {"PULUMI_COMMAND_STDOUT": "mine"},
    }
    assert plugin.update(STATE, inputs)["stdout"] == "made"
    assert plugin.create(inputs).outputs["stdout"] == "mine"


def test_reading_gives_back_what_is_known_and_runs_nothing(plugin: Plugin, tmp_path: Path):
    inputs = {"create": f"touch '{tmp_path}/ran'", "triggers": [1, None]}
    state = {**inputs, "stdout": "made", "stderr": ""}
    assert plugin.read(state, inputs) == ("an-id", state, inputs)
    assert not (tmp_path / "ran").exists()


def test_reading_for_an_import_finds_an_empty_command(plugin: Plugin):
    assert plugin.read({}, {}) == ("an-id", {}, {})


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"create": "true"}, "stdout"),
        ({**STATE, "other": "x"}, "other"),
        ({**STATE, "stdout": 1}, "stdout"),
    ],
)
def test_a_state_that_is_no_commands_is_refused(plugin: Plugin, state: dict, named: str):
    with pytest.raises(PluginFailure, match=named):
        plugin.update(state, {"create": "true"})
    with pytest.raises(PluginFailure, match=named):
        plugin.delete(state)
