"""Which outputs of `local.Command` are secret, and which are not known in a preview."""

from __future__ import annotations

from plugin_client import SIGNATURE, UNKNOWN, Json, Plugin, secret, text_asset

STATE: dict[str, Json] = {
    "create": "echo made",
    "environment": {"A": "1"},
    "stdout": "made",
    "stderr": "err",
}


def test_a_secret_in_the_environment_does_not_make_stdout_secret(plugin: Plugin):
    """So what prints a secret must say so: `additionalSecretOutputs`."""
    made = plugin.create({"create": "echo $K", "environment": {"K": secret("hidden")}})
    assert made.outputs == {
        "create": "echo $K",
        "environment": {"K": secret("hidden")},
        "stdout": "hidden",
        "stderr": "",
    }


def test_a_secret_command_stays_secret_and_its_stdout_plain(plugin: Plugin):
    made = plugin.create({"create": secret("echo shown")})
    assert made.outputs["create"] == secret("echo shown")
    assert made.outputs["stdout"] == "shown"


def test_secrets_keep_their_places_in_create_and_update(plugin: Plugin):
    inputs: dict[str, Json] = {
        "create": "true",
        "environment": secret({"A": secret("b")}),
        "triggers": [secret(1), "x"],
    }
    for outputs in (plugin.create(inputs).outputs, plugin.update(STATE, inputs)):
        assert outputs == {**inputs, "stdout": "", "stderr": ""}


def test_an_update_does_not_know_that_the_old_stdout_was_secret(plugin: Plugin):
    state = {**STATE, "stdout": secret("made")}
    inputs: dict[str, Json] = {"create": "echo $PULUMI_COMMAND_STDOUT"}
    assert plugin.update(state, inputs)["stdout"] == "made"


def test_reading_keeps_secrets(plugin: Plugin):
    state = {**STATE, "stdout": secret("made"), "environment": secret({"A": "1"})}
    _, read, _ = plugin.read(state, {})
    assert read == state


def test_a_preview_of_a_create_knows_its_inputs_and_not_its_results(plugin: Plugin):
    inputs: dict[str, Json] = {
        "create": secret("a"),
        "environment": {"A": UNKNOWN, "B": "c"},
        "stdin": UNKNOWN,
        "triggers": [UNKNOWN, secret("t")],
    }
    made = plugin.create(inputs, preview=True)
    assert made.outputs == {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}


def test_a_preview_of_a_create_that_runs_nothing_knows_no_results_either(plugin: Plugin):
    assert plugin.create({}, preview=True).outputs == {"stdout": UNKNOWN, "stderr": UNKNOWN}


def test_a_preview_of_an_update_with_a_changed_input_knows_no_results(plugin: Plugin):
    for inputs in (
        {"create": "echo other", "environment": {"A": "1"}},
        {"create": "echo made"},
        {"create": "echo made", "environment": secret({"A": "1"})},
        {"create": "echo made", "environment": {"A": "1"}, "stdin": UNKNOWN},
    ):
        previewed = plugin.update(STATE, inputs, preview=True)
        assert previewed == {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}


def test_a_preview_of_an_update_with_a_new_input_still_shows_the_old_results(plugin: Plugin):
    inputs: dict[str, Json] = {"create": "echo made", "environment": {"A": "1"}, "stdin": "new"}
    previewed = plugin.update(STATE, inputs, preview=True)
    assert previewed == {**inputs, "stdout": "made", "stderr": "err"}


def test_a_preview_of_an_update_doubts_old_assets_too(plugin: Plugin):
    state = {**STATE, "assets": {"a": text_asset("x", "0")}}
    assert plugin.update(state, {}, preview=True)["assets"] == UNKNOWN


def test_triggers_with_an_asset_are_not_known_in_a_preview_of_a_create(plugin: Plugin):
    inputs: dict[str, Json] = {"triggers": [text_asset("x", "0")]}
    assert plugin.create(inputs, preview=True).outputs["triggers"] == UNKNOWN
    assert plugin.create(inputs).outputs["triggers"] == inputs["triggers"]


def test_triggers_with_an_asset_and_a_secret_are_secret_as_a_whole(plugin: Plugin):
    inputs: dict[str, Json] = {"triggers": [text_asset("x", "0"), secret("s")]}
    assert plugin.create(inputs).outputs["triggers"] == secret(inputs["triggers"])


def test_an_output_value_comes_back_without_its_dependencies(plugin: Plugin):
    value: Json = {
        SIGNATURE: "d0e6a833031e9bbcd3f4e8bde6ca49a4",
        "value": "true",
        "secret": True,
        "dependencies": ["urn:pulumi:x"],
    }
    assert plugin.create({"create": value}).outputs["create"] == secret("true")
