"""The engine's event log, read: kinds of change, what causes a replacement, secrets, drift."""

from __future__ import annotations

import json

from scripts.changes.events import read
from scripts.changes.model import ABSENT, Bill, Diagnostic, Property, Violation

STACK = "urn:pulumi:dev::llm-endpoint::pulumi:pulumi:Stack::llm-endpoint-dev"
COMMAND = "command:local:Command"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SECRET = {
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    "ciphertext": "[secret]",
}


def urn(name: str, token: str = COMMAND) -> str:
    return f"urn:pulumi:dev::llm-endpoint::llm-endpoint:local:LocalServer${token}::{name}"


def step(op: str, urn: str, *, done: bool = False, **more: object) -> str:
    kind = "resOutputsEvent" if done else "resourcePreEvent"
    return json.dumps({"sequence": 1, kind: {"metadata": {"op": op, "urn": urn, **more}}})


def side(inputs: object, **more: object) -> dict[str, object]:
    return {"inputs": inputs, "outputs": inputs, **more}


def preview(*lines: str, failed: bool = False):
    return read(lines, "dev", failed=failed)


def test_a_replacement_is_one_change_although_the_log_tells_it_in_three_steps():
    old, new = side({"triggers": [1]}), side({"triggers": [2]})
    details = {"triggers[0]": {"diffKind": "update-replace", "inputDiff": False}}
    found = preview(
        step("create-replacement", urn("key"), old=old, new=new, detailedDiff=details),
        step("replace", urn("key"), old=old, new=new, detailedDiff=details),
        step("delete-replaced", urn("key"), old=old, new=None, detailedDiff=None),
    )
    (change,) = found.changes
    assert (change.kind, change.token, change.name) == ("replace", COMMAND, "key")
    assert change.properties == (Property("triggers[0]", 1, 2, replaces=True),)
    assert change.causes == ("triggers[0]",)


def test_a_replacement_that_deletes_first_has_what_its_later_steps_say():
    old, new = side({"triggers": ["a"], "create": "x"}), side({"triggers": ["b"], "create": "x"})
    found = preview(
        step("delete-replaced", urn("check"), old=old, new=None),
        step("replace", urn("check"), old=old, new=new),
        step("create-replacement", urn("check"), old=old, new=new, keys=["triggers"]),
    )
    (change,) = found.changes
    assert change.kind == "replace"
    assert change.causes == ("triggers[0]",)
    assert change.properties == (Property("triggers[0]", "a", "b", replaces=True),)


def test_creations_deletions_updates_and_what_stays_are_told_apart():
    found = preview(
        step("create", urn("new"), old=None, new=side({"a": 1})),
        step("delete", urn("gone"), old=side({"a": 1}), new=None),
        step(
            "update",
            urn("changed"),
            old=side({"a": 1}),
            new=side({"a": 2, "b": UNKNOWN}),
            detailedDiff={"a": {"diffKind": "update"}, "b": {"diffKind": "add"}},
        ),
        step("same", urn("same"), old=side({}), new=side({})),
    )
    assert {one.name: one.kind for one in found.changes} == {
        "new": "create",
        "gone": "delete",
        "changed": "update",
    }
    assert found.unchanged == 1
    changed = found.of_kind("update")[0]
    assert changed.properties == (
        Property("a", 1, 2),
        Property("b", ABSENT, "[known after up]"),
    )


def test_what_is_read_or_imported_is_no_update():
    found = preview(
        step("read", urn("image"), new=side({})), step("import", urn("disk"), new=side({}))
    )
    assert [one.kind for one in found.changes] == ["read", "import"]


def test_the_stack_itself_and_default_providers_are_not_counted():
    provider = "urn:pulumi:dev::llm-endpoint::pulumi:providers:command::default_1_2_1"
    own = "urn:pulumi:dev::llm-endpoint::pulumi:providers:kubernetes::cluster"
    found = preview(
        step("create", STACK, new=side({})),
        step("create", provider, new=side({})),
        step("create", own, new=side({})),
    )
    assert [one.name for one in found.changes] == ["cluster"]


def test_a_secret_stays_hidden_where_it_changes_and_within_what_is_created():
    held = {"environment": {"KEY": SECRET, "URL": "http://one"}}
    details = {"environment.KEY": {"diffKind": "update"}, "environment.KEY.x": {"diffKind": "add"}}
    found = preview(
        step("create", urn("new"), new=side(held)),
        step("update", urn("old"), old=side(held), new=side(held), detailedDiff=details),
    )
    assert found.changes[0].properties == (
        Property("environment", ABSENT, {"KEY": "[secret]", "URL": "http://one"}),
    )
    assert {one.after for one in found.changes[1].properties} == {"[secret]"}
    assert "ciphertext" not in repr(found)


def test_a_path_with_dots_in_a_name_is_followed():
    old, new = ({"metadata": {"user-data": text, "a.b": text}} for text in ("one", "two"))
    details = {
        'metadata["a.b"]': {"diffKind": "update"},
        'metadata["user-data"]': {"diffKind": "update-replace"},
    }
    found = preview(step("replace", urn("vm"), old=side(old), new=side(new), detailedDiff=details))
    assert [(one.before, one.after) for one in found.changes[0].properties] == [("one", "two")] * 2


def test_what_an_output_alone_has_is_shown_as_it_was():
    old = {"inputs": {}, "outputs": {"etag": "1"}}
    details = {"etag": {"diffKind": "update"}}
    found = preview(step("update", urn("a"), old=old, new=side({}), detailedDiff=details))
    assert found.changes[0].properties == (Property("etag", "1", ABSENT),)


def test_a_protected_resource_that_would_go_is_marked():
    old = side({}, protect=True)
    found = preview(
        step("delete", urn("disk"), old=old, new=None),
        step("update", urn("other"), old=old, new=side({})),
    )
    assert [one.protected for one in found.changes] == [True, False]
    assert found.changes[1].properties == (Property("(protect)", True, False),)


def test_what_a_refresh_finds_is_drift_and_no_change_of_ours():
    gone, moved, kept = urn("gone"), urn("moved"), urn("kept")
    found = preview(
        *(step("refresh", one, old=side({"size": 1})) for one in (gone, moved, kept)),
        step("delete", gone, done=True, old=side({"size": 1}), new=None),
        step("update", moved, done=True, old=side({"size": 1}), new=side({"size": 2})),
        step("refresh", kept, done=True, old=side({"size": 1}), new=side({"size": 1})),
        step("same", kept),
    )
    assert found.changes == ()
    assert [(one.name, one.gone) for one in found.drift] == [("gone", True), ("moved", False)]
    assert found.drift[1].properties == (Property("size", 1, 2),)


def outputs(old: object, new: object) -> str:
    return step("same", STACK, done=True, old={"outputs": old}, new={"outputs": new})


def test_outputs_are_told_where_they_come_go_or_are_known_to_change():
    found = preview(
        outputs(
            {"model": "a", "state": "serving", "key": SECRET, "old": 1},
            {"model": UNKNOWN, "state": "parked", "key": SECRET, "ca": UNKNOWN},
        )
    )
    assert found.outputs == (
        Property("ca", ABSENT, "[known after up]"),
        Property("old", 1, ABSENT),
        Property("state", "serving", "parked"),
    )


def test_billing_is_taken_from_the_outputs_where_they_know_it():
    disk = {"resource": "disk", "running": True, "parked": True}
    machine = {"resource": "machine", "running": True, "parked": False}
    found = preview(outputs({"billing": [disk]}, {"billing": [disk, machine]})).billing
    assert found is not None
    assert found.after == (Bill("disk", True, True), Bill("machine", True, False))
    assert found.before == (Bill("disk", True, True),)
    assert preview(outputs({"billing": [disk]}, {"billing": UNKNOWN})).billing is None


def test_a_program_that_did_not_end_says_nothing_of_outputs_and_bills():
    found = preview(outputs({}, {"billing": [], "state": "serving"}), failed=True)
    assert (found.outputs, found.billing) == ((), None)


def policy(level: str, resource: str = "") -> str:
    event = {
        "resourceUrn": resource,
        "message": "Nothing is open\nfirewall is: set allowed_cidrs",
        "policyName": "closed",
        "enforcementLevel": level,
    }
    return json.dumps({"sequence": 1, "policyEvent": event})


def test_violations_are_told_with_their_level_and_their_resource():
    refused = said("error", "preview failed", urn=STACK)
    found = preview(
        policy("mandatory", urn("firewall")), policy("advisory", STACK), refused, failed=True
    )
    assert found.diagnostics == ()
    message = "Nothing is open: firewall is: set allowed_cidrs"
    assert found.violations == (
        Violation("closed", True, "firewall", message),
        Violation("closed", False, "", message),
    )
    # The preview came to its end: it is refused, and has not failed.
    assert not found.failed


def said(severity: str, message: str, **more: object) -> str:
    event = {"severity": severity, "message": message, **more}
    return json.dumps({"sequence": 1, "diagnosticEvent": event})


def test_diagnostics_are_told_once_without_colours_and_without_debugging():
    found = preview(
        said("error", "<{%fg 1%}>it broke<{%reset%}>\n", urn=urn("vm")),
        said("error", "it broke", urn=urn("vm")),
        said("warning", "mind that", urn=STACK),
        said("debug", "registering"),
        said("info", "fine"),
        said("warning", "working …", ephemeral=True),
        failed=True,
    )
    assert found.diagnostics == (
        Diagnostic("error", "vm", "it broke"),
        Diagnostic("warning", "", "mind that"),
    )
    assert found.failed


def test_a_line_that_was_cut_off_is_left_out():
    whole = step("create", urn("a"), new=side({}))
    assert len(preview(whole, whole[:40], "", "[1]").changes) == 1
