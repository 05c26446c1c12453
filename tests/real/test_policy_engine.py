"""The policy pack as the real engine runs it, over this machine and over a cloud that is a folder.

The tests run in order: each starts from what the one before it left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import checkout as checkouts
import emulated_cloud
import pytest
from checkout import Checkout
from emulated_cloud import EmulatedCloud

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

STACK = "cpu-vm"
CLUSTER = "gke-ovms"
PACK = ("--policy-pack", "policy")
ENVIRONMENT = ".venv-policy"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = checkouts.make(tmp_path_factory.mktemp("policy-local"))
    yield made
    for left in made.servers():
        left.kill()


@pytest.fixture(scope="module")
def first_up(here: Checkout) -> str:
    return here.good("scripts/up", "local", "--policy", HF_ENDPOINT="http://127.0.0.1:9").text


@pytest.fixture(scope="module")
def cloud(here: Checkout, first_up: str, tmp_path_factory: pytest.TempPathFactory) -> EmulatedCloud:
    made = emulated_cloud.make(tmp_path_factory.mktemp("policy-cloud"), "127.0.0.1")
    (made.root / ENVIRONMENT).symlink_to(here.root / ENVIRONMENT)
    made.extra["PULUMI_DEBUG_COMMANDS"] = "true"  # type: ignore[index]
    made.good("stack", "init", STACK)
    made.configure(
        STACK,
        gcp__project="a-project",
        gcp__zone="europe-west4-a",
        allowed_cidrs="198.51.100.7/32",
        labels="owner=me",
        spot="true",
    )
    return made


def configuration(cloud: EmulatedCloud, **rules: object) -> tuple[str, ...]:
    """Write a configuration for the pack, over the one that ships; pulumi's arguments for it."""
    shipped = json.loads((cloud.root / "policy" / "config.json").read_text(encoding="utf-8"))
    told = {
        "told-the-configuration": {"told": True},
        "spot-as-configured": {"spot": True},
        "labels": {"labels": {"owner": "me"}},
    }
    file = cloud.folder / "policy.json"
    file.write_text(json.dumps({**shipped, **told, **rules}), encoding="utf-8")
    return (*PACK, "--policy-pack-config", str(file))


def said(log: Path) -> list[tuple[str, str]]:
    """Return the level and the rule of each violation in an event log."""
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    found = [event["policyEvent"] for event in events if event.get("policyEvent")]
    return [(event["enforcementLevel"], event["policyName"]) for event in found]


def test_the_local_stack_comes_up_under_the_policies_from_a_bare_checkout(first_up: str):
    assert "✅ llm-endpoint@v1.0.0" in first_up, first_up
    assert "/v1/chat/completions" in first_up


def test_the_pack_runs_by_hand_too_and_has_nothing_to_say(here: Checkout, first_up: str):
    done = here.good("scripts/pulumi", "preview", *PACK, "--stack", "local")
    assert "✅ llm-endpoint@v1.0.0" in done.text, done.text


def test_an_exception_without_a_reason_stops_the_up_before_the_engine(
    here: Checkout, first_up: str
):
    file = here.root / "policy" / "config.json"
    kept = file.read_text(encoding="utf-8")
    wrong = {"open-to-the-world": {"exceptions": [{"stack": "*", "resource": "*"}]}}
    file.write_text(json.dumps(wrong), encoding="utf-8")
    done = here.run("scripts/up", "local", "--policy")
    file.write_text(kept, encoding="utf-8")
    assert done.status == 1
    assert "exception 1 of open-to-the-world has no reason" in done.text
    assert "Diagnostics:" not in done.text


def test_a_preview_of_a_machine_passes_and_says_what_is_not_known_yet(cloud: EmulatedCloud):
    log = cloud.folder / "events.json"
    words = ("preview", "--stack", STACK, "--event-log", str(log))
    done = cloud.run(*words, *configuration(cloud))
    assert done.status == 0, done.text
    assert {level for level, _ in said(log)} == {"advisory"}, said(log)
    assert "serviceAccount.email is not known before it is made" in done.text


def test_a_machine_that_the_world_may_come_to_is_refused_with_the_key_to_set(
    cloud: EmulatedCloud,
):
    cloud.configure(STACK, allowed_cidrs="world")
    log = cloud.folder / "world.json"
    words = ("preview", "--stack", STACK, "--event-log", str(log))
    done = cloud.run(*words, *configuration(cloud))
    assert done.status != 0
    refused = [rule for level, rule in said(log) if level == "mandatory"]
    assert refused == ["open-to-the-world"]
    assert "scripts/pulumi config set --stack cpu-vm allowed_cidrs 203.0.113.7/32" in done.text


def test_an_exception_with_a_reason_lets_it_through_and_one_without_is_refused_by_the_engine(
    cloud: EmulatedCloud,
):
    exception = {"stack": STACK, "resource": "*-https", "what": "tcp:443", "reason": "a fair"}
    rule = {"open-to-the-world": {"exceptions": [exception]}}
    done = cloud.run("preview", "--stack", STACK, *configuration(cloud, **rule))
    assert done.status == 0, done.text
    without = {"open-to-the-world": {"exceptions": [{**exception, "reason": ""}]}}
    refused = cloud.run("preview", "--stack", STACK, *configuration(cloud, **without))
    assert refused.status != 0
    assert "open-to-the-world" in refused.text


def test_an_exception_that_nothing_needs_any_more_is_told(cloud: EmulatedCloud):
    cloud.configure(STACK, allowed_cidrs="198.51.100.7/32")
    exception = {"stack": STACK, "resource": "*-https", "what": "tcp:443", "reason": "a fair"}
    rule = {"open-to-the-world": {"exceptions": [exception]}}
    done = cloud.run("preview", "--stack", STACK, *configuration(cloud, **rule))
    assert done.status == 0, done.text
    assert f"the exception of open-to-the-world for *-https in {STACK}" in done.text


def test_a_cluster_passes_and_is_refused_where_nothing_would_park_what_serves(
    cloud: EmulatedCloud,
):
    cloud.good("stack", "init", CLUSTER)
    cloud.configure(
        CLUSTER, gcp__project="a-project", gcp__zone="europe-west4-a", labels="owner=me"
    )
    log = cloud.folder / "cluster.json"
    words = ("preview", "--stack", CLUSTER, "--event-log", str(log), *configuration(cloud))
    passed = cloud.run(*words)
    assert passed.status == 0, passed.text
    cloud.configure(CLUSTER, idle_minutes="0")
    refused = cloud.run(*words)
    assert refused.status != 0
    assert ("mandatory", "idle-pods-park") in said(log)
    assert "nothing parks gke-ovms-stateful-set-chat" in refused.text


def test_up_stops_before_a_machine_that_nothing_stops_is_made(cloud: EmulatedCloud):
    cloud.configure(STACK, idle_minutes="0")
    words = ("up", "--yes", "--skip-preview", "--stack", STACK)
    done = cloud.run(*words, *configuration(cloud))
    assert done.status != 0
    assert "scripts/pulumi config set --stack cpu-vm idle_minutes 60" in done.text
    assert not [made for made in cloud.resources() if "/instances/" in made]


def test_up_of_what_is_parked_passes_once_all_is_known(cloud: EmulatedCloud):
    cloud.configure(STACK, idle_minutes="60", parked="true")
    log = cloud.folder / "up.json"
    cloud.up(STACK, "--event-log", str(log), *configuration(cloud))
    assert said(log) == []
