"""What a check of `local.Command` takes and refuses."""

from __future__ import annotations

import pytest
from plugin_client import (
    EMULATED,
    SECRET_UNKNOWN,
    SIGNATURE,
    UNKNOWN,
    Json,
    Plugin,
    PluginFailure,
    secret,
    text_asset,
)

REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"


def test_every_input_is_taken_and_given_back(plugin: Plugin):
    inputs: dict[str, Json] = {
        "create": "a", "update": "b", "delete": "c", "stdin": "d", "dir": "e", "logging": "none",
        "interpreter": ["f"], "environment": {"g": "h"}, "addPreviousOutputInEnv": False,
        "triggers": [1.5, "x", True, ["y"], {"z": 1}, None], "assetPaths": ["i"],
        "archivePaths": [],
    }  # fmt: skip
    checked = plugin.check(inputs)
    assert checked.faults == {}
    assert checked.inputs == inputs


def test_nulls_are_left_out_of_objects_and_kept_in_lists(plugin: Plugin):
    checked = plugin.check({"create": None, "environment": {"A": None}, "triggers": [None]})
    assert checked.faults == {}
    assert checked.inputs == {"environment": {}, "triggers": [None]}


@pytest.mark.parametrize(
    ("inputs", "property_"),
    [
        ({"create": 1}, "create"),
        ({"update": True}, "update"),
        ({"delete": ["rm"]}, "delete"),
        ({"stdin": {"a": "b"}}, "stdin"),
        ({"dir": text_asset("x", "0")}, "dir"),
        ({"logging": 3}, "logging"),
        ({"interpreter": "sh -c"}, "interpreter"),
        ({"interpreter": ["sh", 1]}, "interpreter[1]"),
        ({"interpreter": [["sh"]]}, "interpreter[0]"),
        ({"environment": "A=b"}, "environment"),
        ({"environment": ["A=b"]}, "environment"),
        ({"environment": {"A": 1}}, "environment[A] value"),
        ({"environment": {"A": {"b": "c"}}}, "environment[A] value"),
        ({"addPreviousOutputInEnv": "yes"}, "addPreviousOutputInEnv"),
        ({"triggers": "x"}, "triggers"),
        ({"triggers": {"a": 1}}, "triggers"),
        ({"assetPaths": [{"a": "b"}]}, "assetPaths[0]"),
        ({"unheard": "of"}, "unheard"),
        ({"stdout": "an output"}, "stdout"),
    ],
)
def test_what_is_wrong_is_named(plugin: Plugin, inputs: dict[str, Json], property_: str):
    faults = plugin.check(inputs).faults
    assert list(faults) == [property_]
    assert property_ in faults[property_]


def test_everything_wrong_is_named_at_once(plugin: Plugin):
    assert set(plugin.check({"create": 1, "dir": False, "no": "no", "stdin": "fine"}).faults) == {
        "create", "dir", "no",
    }  # fmt: skip


def test_a_wrong_type_of_a_secret_is_named_without_its_value(plugin: Plugin):
    checked = plugin.check({"create": secret(123454321), "environment": {"A": secret([98789])}})
    assert set(checked.faults) == {"create", "environment[A] value"}
    assert not any("123454321" in it or "98789" in it for it in checked.faults.values())


def test_a_word_for_logging_that_is_none_of_the_four_passes(plugin: Plugin):
    assert plugin.check({"logging": "loudly"}).faults == {}


@pytest.mark.parametrize("name", ["create", "environment", "triggers", "addPreviousOutputInEnv"])
def test_a_value_not_known_yet_fits_any_type(plugin: Plugin, name: str):
    checked = plugin.check({name: UNKNOWN})
    assert checked.faults == {}
    assert checked.inputs == {name: UNKNOWN}


@pytest.mark.parametrize("name", ["interpreter", "assetPaths", "archivePaths"])
def test_a_list_of_strings_not_known_yet_is_left_out(plugin: Plugin, name: str):
    checked = plugin.check({name: UNKNOWN, "create": "a"})
    assert checked.faults == {}
    assert checked.inputs == {"create": "a"}


def test_values_not_known_yet_stay_inside_lists_and_maps(plugin: Plugin):
    inputs: dict[str, Json] = {
        "environment": {"A": UNKNOWN, "B": "c"},
        "triggers": [UNKNOWN],
        "interpreter": ["a", UNKNOWN],
    }
    assert plugin.check(inputs).inputs == inputs


def test_secrets_stay_secret_where_they_are(plugin: Plugin):
    inputs: dict[str, Json] = {
        "create": secret("a"),
        "environment": {"A": secret("b"), "C": "d"},
        "triggers": secret([1, secret(2)]),
    }
    assert plugin.check(inputs).inputs == inputs


@pytest.mark.parametrize(
    ("inputs", "checked"),
    [
        ({"create": SECRET_UNKNOWN}, {"create": secret("")}),
        ({"environment": {"A": SECRET_UNKNOWN}}, {"environment": {"A": secret("")}}),
        ({"environment": SECRET_UNKNOWN}, {"environment": secret({})}),
        ({"triggers": SECRET_UNKNOWN}, {"triggers": secret([])}),
        ({"addPreviousOutputInEnv": SECRET_UNKNOWN}, {"addPreviousOutputInEnv": secret(False)}),
    ],
)
def test_a_secret_not_known_yet_becomes_an_empty_secret(
    plugin: Plugin, inputs: dict[str, Json], checked: dict[str, Json]
):
    assert plugin.check(inputs).inputs == checked


def test_a_secret_not_known_yet_among_the_triggers_ends_a_preview(plugin: Plugin):
    """The stand-in refuses what the published plugin answers so that the engine stops."""
    inputs: dict[str, Json] = {"triggers": [SECRET_UNKNOWN]}
    if EMULATED:
        with pytest.raises(PluginFailure, match=r"triggers\[0\] is a secret"):
            plugin.check(inputs)
    else:
        malformed: Json = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}
        assert plugin.check(inputs).inputs == {"triggers": [malformed]}


def test_a_secret_null_is_refused(plugin: Plugin):
    with pytest.raises(PluginFailure):
        plugin.check({"stdin": secret(None)})


def test_an_asset_among_the_triggers_is_kept(plugin: Plugin):
    inputs: dict[str, Json] = {"triggers": [text_asset("x", "0"), {"in": text_asset("y", "1")}]}
    assert plugin.check(inputs).inputs == inputs


def test_a_resource_among_the_triggers_is_forgotten(plugin: Plugin):
    reference: Json = {SIGNATURE: REFERENCE, "urn": "urn:x", "id": "i"}
    assert plugin.check({"triggers": [reference]}).inputs == {"triggers": [{}]}


def test_create_and_update_check_again(plugin: Plugin):
    with pytest.raises(PluginFailure, match="create"):
        plugin.create({"create": 1})
    with pytest.raises(PluginFailure, match="unheard"):
        plugin.update({"stdout": "", "stderr": ""}, {"unheard": "of"})
