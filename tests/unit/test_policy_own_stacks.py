"""What the policies say to our own programs, by the exceptions that ship."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from policy_resources import SHIPPED_CONFIGURATION, as_resources, examined, told

from policy.exceptions import KEY, exemptions
from policy.judging import Finding, examine
from policy.rule import Rule
from policy.rules import RULES
from scripts.changes.mocked import Mocked, mocked_with
from stacks import PROGRAMS

_DOMAIN = {"domain": "llm.example.com"}
_ALL_OF_A_GROUP = {
    **_DOMAIN,
    **{"spot": "true", "spot_recovery": "mig", "tls": "acme"},
    **{"keep_data": "true", "labels": "owner=me"},
}
VARIANTS: list[tuple[str, Mapping[str, str]]] = [
    *((program, {}) for program in PROGRAMS),
    ("cpu-vm", _ALL_OF_A_GROUP),
    (
        "gpu-vm",
        {"idle_minutes": "0", "schedule": "start 0 8 * * 1-5; stop 0 20 * * 1-5; Europe/Berlin"},
    ),
    ("gke-ovms", {"parked": "true", "idle_minutes": "0"}),
    ("gke-ovms", {**_DOMAIN, "expose": "gateway", "allowed_cidrs": "203.0.113.0/24"}),
    ("gke-colab", {"keep_data": "true", "parked": "true"}),
    ("model-registry", {"keep_data": "true"}),
]
BY_NAME = {
    " ".join([program, *(f"{key}={value}" for key, value in given.items())]): (program, given)
    for program, given in VARIANTS
}


@cache
def registered(variant: str) -> Mocked:
    program, given = BY_NAME[variant]
    return mocked_with(given, program)


def findings(variant: str) -> list[Finding]:
    program, given = BY_NAME[variant]
    return examine(as_resources(registered(variant).run, program), told(program, given))


@pytest.mark.parametrize("variant", BY_NAME)
def test_our_own_programs_pass_with_at_most_the_advice_to_set_labels(variant: str):
    assert {(one.level, one.rule) for one in findings(variant)} <= {("advisory", "any-label")}


@pytest.mark.parametrize(
    ("program", "given", "refused"),
    [
        (
            "cpu-vm",
            {"allowed_cidrs": "world", "idle_minutes": "0"},
            {"open-to-the-world": "allowed_cidrs", "spending-stop": "idle_minutes 60"},
        ),
        ("gke-ovms", {"idle_minutes": "0"}, {"idle-pods-park": "idle_minutes 60"}),
        ("gke-ovms", {"deploy": "kserve"}, {"idle-pods-park": "parked true"}),
    ],
)
def test_what_a_configuration_gives_up_is_refused_with_the_key_to_set(
    program: str, given: Mapping[str, str], refused: Mapping[str, str]
):
    found = [one for one in examined(program, **given) if one.level == "mandatory"]
    assert {one.rule for one in found} == set(refused)
    for one in found:
        assert refused[one.rule] in one.message


def test_each_exception_that_ships_is_needed_by_a_program_of_ours():
    everything = [
        (rule, violation)
        for variant, (program, _) in BY_NAME.items()
        for resource in as_resources(registered(variant).run, program)
        for rule in RULES
        if isinstance(rule, Rule) and rule.name in SHIPPED_CONFIGURATION
        for violation in rule.check(resource, {})
    ]
    for name, said in SHIPPED_CONFIGURATION.items():
        assert isinstance(said, dict)
        for one in exemptions(name, said[KEY]):
            assert any(rule.name == name and one.covers(found) for rule, found in everything), one


def test_the_exception_for_challenges_opens_no_other_port():
    (acme,) = exemptions("open-to-the-world", _exceptions("open-to-the-world"))
    assert acme.what == "tcp:80"
    assert "Let's Encrypt" in acme.reason


def _exceptions(rule: str) -> object:
    said = SHIPPED_CONFIGURATION[rule]
    assert isinstance(said, dict)
    return said[KEY]
