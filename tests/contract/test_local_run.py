"""The function `local.run`."""

from __future__ import annotations

import pytest
from plugin_client import ASSET, SIGNATURE, Plugin, PluginFailure, secret


def test_run_returns_its_arguments_and_results(plugin: Plugin):
    arguments = {"command": "cat; echo $A >&2", "stdin": "fed", "environment": {"A": "b"}}
    assert plugin.invoke(arguments).value == {**arguments, "stdout": "fed", "stderr": "b"}


def test_secret_arguments_stay_secret_and_results_plain(plugin: Plugin):
    arguments = {"command": secret("echo $A"), "environment": {"A": secret("hidden")}}
    assert plugin.invoke(arguments).value == {**arguments, "stdout": "hidden", "stderr": ""}


def test_files_are_collected(plugin: Plugin, tmp_path):
    returned = plugin.invoke(
        {"command": "echo x > made", "dir": str(tmp_path), "assetPaths": ["*"]}
    )
    assets = returned.value["assets"]
    assert isinstance(assets, dict)
    assert isinstance(assets["made"], dict)
    assert assets["made"][SIGNATURE] == ASSET


def test_a_failing_run_is_an_error(plugin: Plugin):
    with pytest.raises(PluginFailure) as failed:
        plugin.invoke({"command": "echo no; exit 3"})
    assert failed.value.text == 'exit status 3: running "echo no; exit 3":\nno\n'


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, {"command"}),
        ({"command": 1, "unheard": "of"}, {"command", "unheard"}),
        ({"command": "true", "create": "true"}, {"create"}),
        ({"command": "true", "triggers": []}, {"triggers"}),
    ],
)
def test_wrong_arguments_are_named_and_nothing_runs(
    plugin: Plugin, arguments: dict, named: set[str]
):
    returned = plugin.invoke(arguments)
    assert set(returned.faults) == named
    assert returned.value == {}
