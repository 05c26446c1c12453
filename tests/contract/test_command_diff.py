"""Which changes of `local.Command` the plugin sees, and which of them replace."""

from __future__ import annotations

import pytest
from plugin_client import SECRET_UNKNOWN, UNKNOWN, Json, Plugin, StartPlugin, secret, text_asset

BASE: dict[str, Json] = {
    "create": "a",
    "environment": {"A": "1", "b.c": "2"},
    "triggers": [1, {"k": "x"}],
}


def test_the_same_inputs_are_no_change(plugin: Plugin):
    difference = plugin.diff(BASE, BASE)
    assert not difference.changes
    assert difference.detailed == {}


@pytest.mark.parametrize(
    ("changed", "detailed"),
    [
        ({"create": "b"}, {"create": "UPDATE"}),
        ({"update": "u", "delete": "d"}, {"update": "ADD", "delete": "ADD"}),
        ({"create": None}, {"create": "DELETE"}),
        ({"environment": {"A": "2", "b.c": "2"}}, {"environment.A": "UPDATE"}),
        ({"environment": {"A": "1", "b.c": "3"}}, {'environment["b.c"]': "UPDATE"}),
        ({"environment": {"b.c": "2"}}, {"environment.A": "DELETE"}),
        (
            {"environment": {"A": "1", "b.c": "2", 'q"': "x"}},
            {'environment["q\\""]': "ADD"},
        ),
        ({"environment": secret(BASE["environment"])}, {"environment": "UPDATE"}),
        ({"environment": {"A": UNKNOWN, "b.c": "2"}}, {"environment.A": "UPDATE"}),
    ],
)
def test_a_change_updates(plugin: Plugin, changed: dict[str, Json], detailed: dict[str, str]):
    difference = plugin.diff(BASE, {**BASE, **changed})
    assert difference.changes
    assert difference.detailed == detailed
    assert difference.properties == set(changed)
    assert difference.replacing == set()


@pytest.mark.parametrize(
    ("triggers", "detailed"),
    [
        ([2, {"k": "x"}], {"triggers[0]": "UPDATE"}),
        ([1, {"k": "y"}], {"triggers[1].k": "UPDATE"}),
        ([1], {"triggers[1]": "DELETE"}),
        ([1, {"k": "x"}, "new"], {"triggers[2]": "ADD"}),
        ([UNKNOWN, {"k": "x"}], {"triggers[0]": "UPDATE"}),
        (["1", {"k": "x"}], {"triggers[0]": "UPDATE"}),
        ([None, {"k": "x"}], {"triggers[0]": "DELETE"}),
    ],
)
def test_a_change_inside_the_triggers_updates(
    plugin: Plugin, triggers: Json, detailed: dict[str, str]
):
    """The SDKs turn it into a replacement, by `replaceOnChanges`; the plugin does not."""
    difference = plugin.diff(BASE, {**BASE, "triggers": triggers})
    assert difference.detailed == detailed
    assert difference.properties == {"triggers"}
    assert difference.replacing == set()


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (None, [1], "ADD_REPLACE"),
        ([1], None, "DELETE_REPLACE"),
        ([1], UNKNOWN, "UPDATE_REPLACE"),
        ([1], secret([1]), "UPDATE_REPLACE"),
    ],
)
@pytest.mark.parametrize("update", [{}, {"update": "u"}])
def test_a_change_of_the_triggers_as_a_whole_replaces_with_update_or_without(
    plugin: Plugin, old: Json, new: Json, kind: str, update: dict[str, Json]
):
    difference = plugin.diff({**update, "triggers": old}, {**update, "triggers": new})
    assert difference.detailed == {"triggers": kind}
    assert difference.replacing == {"triggers"}
    assert not difference.deletes_first


def test_assets_are_compared_by_their_hash(plugin: Plugin):
    old: dict[str, Json] = {"triggers": [text_asset("x", "0")]}
    assert not plugin.diff(old, {"triggers": [text_asset("y", "0")]}).changes
    changed = plugin.diff(old, {"triggers": [text_asset("x", "1")]})
    assert changed.detailed == {"triggers[0]": "UPDATE"}


def test_true_is_not_one(plugin: Plugin):
    changed = plugin.diff({"triggers": [1]}, {"triggers": [True]})
    assert changed.detailed == {"triggers[0]": "UPDATE"}


def test_a_secret_is_compared_as_one_value(plugin: Plugin):
    old: dict[str, Json] = {"environment": secret({"A": "1"})}
    assert not plugin.diff(old, old).changes
    changed = plugin.diff(old, {"environment": secret({"A": "2"})})
    assert changed.detailed == {"environment": "UPDATE"}


@pytest.mark.parametrize("name", ["create", "stdin"])
def test_a_secret_not_known_yet_counts_as_no_change(plugin: Plugin, name: str):
    assert not plugin.diff(BASE, {**BASE, name: SECRET_UNKNOWN}).changes


def test_what_the_engine_adds_counts_for_nothing(plugin: Plugin):
    assert not plugin.diff(BASE, {**BASE, "version": "1", "__internal": "x"}).changes


def test_ignored_changes_are_ignored(plugin: Plugin):
    changed: dict[str, Json] = {**BASE, "create": "b", "stdin": "c"}
    state = {**BASE, "stdout": "", "stderr": ""}
    assert plugin.diff(BASE, changed, state=state, ignore=["create"]).detailed == {"stdin": "ADD"}


def test_inputs_are_compared_with_inputs_not_with_the_state(plugin: Plugin):
    state = {**BASE, "create": "other", "stdout": "x", "stderr": "y"}
    assert not plugin.diff(BASE, BASE, state=state).changes


def test_with_an_engine_that_sends_no_old_inputs_the_state_has_them(start_plugin: StartPlugin):
    plugin = start_plugin(old_inputs=False)
    state = {**BASE, "create": "other", "stdout": "x", "stderr": "y"}
    assert plugin.diff({}, BASE, state=state).detailed == {"create": "UPDATE"}
