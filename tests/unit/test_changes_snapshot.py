"""Mocked runs compared: what is registered, without a place, a moment or a secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.changes import __main__ as cli
from scripts.changes import snapshot
from scripts.changes.base import BaseError, unpacked
from scripts.changes.markdown import written
from scripts.changes.mocked import Mocked, mocked_with
from scripts.changes.model import Bill, Property
from scripts.changes.policies import judged
from scripts.changes.snapshot import Snapshot, compare
from stacks import HERE

COMMAND = "command:local:Command"


@pytest.fixture(scope="module")
def local() -> Mocked:
    return mocked_with({}, "local")


def resource(inputs: object, **options: object) -> dict[str, object]:
    return {"inputs": inputs, "parent": "p", **options}


def taken(**resources: dict[str, object]) -> Snapshot:
    held = {f"{COMMAND}:{name}": one for name, one in resources.items()}
    return Snapshot("local", held, {}, {}, ())


def test_two_runs_of_the_same_code_are_the_same(local: Mocked):
    again = snapshot.of(mocked_with({}, "local"), "salt")
    changes, unchanged = compare(again, snapshot.of(local, "salt"))
    assert changes == ()
    assert unchanged == len(local.run.registrations)


def test_a_snapshot_is_read_as_it_was_written(local: Mocked):
    found = snapshot.of(local, "salt")
    assert snapshot.read(snapshot.written(found)) == found
    with pytest.raises(ValueError, match="made_up"):
        snapshot.read("{}")


def test_a_snapshot_holds_no_secret_and_no_place(local: Mocked):
    text = snapshot.written(snapshot.of(local, "salt"))
    assert "sk-mocked" not in text
    assert str(HERE.parent) not in text


def test_that_a_secret_differs_is_told_and_nothing_else_of_it(local: Mocked):
    other = mocked_with({"keys": "default alice"}, "local")
    changes, _ = compare(snapshot.of(local, "salt"), snapshot.of(other, "salt"))
    (server,) = [one for one in changes if one.name == "local-server"]
    assert Property("environment.LLM_ENDPOINT_KEYS", "[secret]", "[secret]") in server.properties
    assert [one.name for one in changes if one.kind == "create"] == ["local-key-alice"]


def test_without_another_run_everything_is_created():
    changes, unchanged = compare(None, taken(a=resource({"x": 1}, protect=True)))
    assert [(one.kind, one.token, one.name) for one in changes] == [("create", COMMAND, "a")]
    assert unchanged == 0


def test_what_goes_what_is_replaced_and_what_is_only_known_to_change_are_told_apart():
    replacing = {"replace_on_changes": ["triggers[*]"]}
    before = taken(
        gone=resource({}, protect=True),
        replaced=resource({"triggers": [1]}, protect=True, **replacing),
        changed=resource({"x": 1}, **replacing),
        loosened=resource({}, protect=True),
        same=resource({"x": [1]}),
    )
    after = taken(
        replaced=resource({"triggers": [2]}, protect=True, **replacing),
        changed=resource({"x": 2}, **replacing),
        loosened=resource({}, protect=False),
        same=resource({"x": [1]}),
    )
    changes, unchanged = compare(before, after)
    assert {one.name: (one.kind, one.protected) for one in changes} == {
        "gone": ("delete", True),
        "replaced": ("replace", True),
        "changed": ("change", False),
        "loosened": ("change", False),
    }
    assert unchanged == 1
    assert changes[0].causes == ("triggers[0]",)
    assert changes[2].properties == (Property("(protect)", True, False),)


def test_outputs_and_bills_are_compared_apart():
    bill = {"resource": "disk", "running": True, "parked": True}
    before = Snapshot("x", {}, {"billing": [], "state": "serving", "key": "[secret]"}, {}, ())
    after = Snapshot("x", {}, {"billing": [bill], "state": "parked", "key": "[secret]"}, {}, ())
    assert snapshot.outputs(before, after) == (Property("state", "serving", "parked"),)
    assert after.bills == (Bill("disk", True, True),)


def test_the_policies_judge_a_mocked_run(local: Mocked):
    assert [one for one in judged(local, "local") if one.mandatory] == []


def test_a_commit_that_is_not_there_is_named():
    message = "no-such-ref names no commit here: fetch it"
    with pytest.raises(BaseError, match=message), unpacked("no-such-ref", "local"):
        pass


def test_a_program_that_raises_is_told_in_the_markdown(monkeypatch: pytest.MonkeyPatch):
    def raises(_stack: str) -> Mocked:
        raise KeyError("a mistake")

    monkeypatch.setattr(cli, "run_mocked", raises)
    found = cli.mocked("local", "a reason", None, policy=False)
    assert cli.status(found, expect_no_changes=False) == 1
    assert "KeyError: 'a mistake'" in written(found, str)


def test_a_real_preview_is_told_although_the_mocks_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def raises(_stack: str) -> Mocked:
        raise KeyError("a mistake")

    monkeypatch.setattr(cli, "run_mocked", raises)
    (tmp_path / "events").touch()
    found = cli.logged("local", tmp_path / "events", None)
    assert cli.status(found, expect_no_changes=False) == 0
    assert "what bills is not told" in written(found, str)
