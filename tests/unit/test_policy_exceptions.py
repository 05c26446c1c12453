"""Exceptions from policies: named, with a reason, and gone once nothing needs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from policy_fixtures import firewall
from policy_resources import RULES

from policy.configuration import ConfigurationProblemError, of_rule, read, with_told
from policy.judging import examine

RULE = "open-to-the-world"
OPEN = firewall("0.0.0.0/0", port="80", name="cpu-vm-firewall-acme")


def exception(**changed: str) -> dict[str, str]:
    return {"stack": "dev", "resource": "*-acme", "reason": "challenges", **changed}


def said(*exceptions: object, **more: object) -> dict[str, object]:
    return {"all": "disabled", RULE: {"enforcementLevel": "mandatory", "exceptions": [*exceptions]}}


@pytest.mark.parametrize(
    ("one", "covered"),
    [
        (exception(), True),
        (exception(stack="*", what="tcp:80"), True),
        (exception(what="tcp:8*"), True),
        (exception(what="tcp:22"), False),
        (exception(stack="production"), False),
        (exception(resource="cpu-vm"), False),
    ],
)
def test_an_exception_covers_the_stack_the_resource_and_what_it_names(
    one: dict[str, str], covered: bool
):
    found = [each for each in examine([OPEN], said(one)) if each.rule == RULE]
    assert (found == []) is covered


def test_an_exception_of_this_stack_that_covers_nothing_is_told():
    closed = firewall("203.0.113.0/24")
    configuration = {RULE: {"exceptions": [exception()]}, "any-label": "disabled"}
    unused = [one for one in examine([closed], configuration) if one.rule == "unused-exceptions"]
    assert [one.level for one in unused] == ["advisory"]
    assert f"the exception of {RULE} for *-acme" in unused[0].message


@pytest.mark.parametrize("stack", ["*", "production"])
def test_an_exception_that_other_stacks_may_need_is_not_told(stack: str):
    configuration = {RULE: {"exceptions": [exception(stack=stack)]}}
    found = examine([firewall("203.0.113.0/24")], configuration)
    assert [one for one in found if one.rule == "unused-exceptions"] == []


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({RULE: {"exceptions": [exception(reason=" ")]}}, "has no reason"),
        (
            {RULE: {"exceptions": [{"stack": "*", "resource": "*"}]}},
            f"exception 1 of {RULE} has no reason: say why",
        ),
        ({RULE: {"exceptions": [{"reason": "so"}]}}, "has no stack"),
        ({RULE: {"exceptions": [{**exception(), "port": "80"}]}}, "has 'port'"),
        ({RULE: {"exceptions": {}}}, "it takes a list"),
        ({RULE: {"exceptions": ["acme"]}}, "is 'acme'"),
        ({"open-to-world": "disabled"}, "did you mean open-to-the-world?"),
        ({RULE: "off"}, "'off': it takes mandatory, advisory, disabled"),
        ({RULE: {"enforcementLevel": "off"}}, "the level of open-to-the-world is 'off'"),
        ({"labels": {"needed": ["owner"]}}, "labels takes no 'needed'"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused_and_says_what_would_do(
    tmp_path: Path, written: object, words: str
):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ConfigurationProblemError) as refused:
        read(file, RULES)
    assert words in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("written", ["{", "[]"])
def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path, written: str):
    file = tmp_path / "config.json"
    file.write_text(written, encoding="utf-8")
    with pytest.raises(ConfigurationProblemError):
        read(file, RULES)


def test_every_problem_is_told_at_once(tmp_path: Path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"a": "b", RULE: {"exceptions": [{}]}}), encoding="utf-8")
    with pytest.raises(ConfigurationProblemError) as refused:
        read(file, RULES)
    assert str(refused.value).count("\n  - ") == 4


def test_what_a_stack_says_goes_beside_what_the_file_says_to_a_rule():
    file = {"labels": "advisory", RULE: {"exceptions": [exception()]}}
    merged = with_told(file, {"labels": {"labels": {"owner": "me"}}, RULE: {"x": 1}})
    assert merged["labels"] == {"enforcementLevel": "advisory", "labels": {"owner": "me"}}
    assert merged[RULE] == {"exceptions": [exception()], "x": 1}


def test_a_rule_s_own_level_goes_before_that_of_all():
    configuration = {"all": "disabled", RULE: "advisory"}
    assert of_rule(configuration, RULE)["enforcementLevel"] == "advisory"
    assert of_rule(configuration, "labels")["enforcementLevel"] == "disabled"
    (found,) = examine([OPEN], configuration)
    assert found.level == "advisory"
