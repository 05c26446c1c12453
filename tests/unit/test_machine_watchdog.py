"""When an idle machine stops, and when it must not."""

import json
from pathlib import Path

import pytest
from annotated_types import Le
from fake_google import FakeGoogle, Fault
from fake_world import FakeMachine, fake_machine

from components.settings.base import EndpointSettings
from machine.commands import Result
from machine.status import State
from machine.watchdog import (
    LEAST_BOOT_MINUTES,
    Activity,
    Watch,
    look,
    observe,
    parse_activity,
    reason_to_stop,
)

IDLE = Activity(ready_since=100.0, last_request=200.0, active=0)
MINUTE = 60.0


def watched(looks: list[tuple[Activity | None, bool]]) -> Watch:
    """Return what is known after `looks`, a minute apart from 0 on."""
    watch = Watch()
    for minute, (activity, serving) in enumerate(looks):
        watch = observe(watch, activity, serving, minute * MINUTE)
    return watch


def test_a_machine_without_requests_for_the_idle_minutes_stops():
    watch = watched([(IDLE, True)] * 31)
    assert reason_to_stop(watch, 29 * MINUTE, 30) is None
    assert reason_to_stop(watch, 30 * MINUTE, 30) == "no request for 30 min"


def test_one_that_was_never_asked_stops_too():
    never = Activity(ready_since=100.0, last_request=None, active=0)
    assert reason_to_stop(watched([(never, True)] * 31), 30 * MINUTE, 30)


def test_a_boot_counts_as_idleness_only_once_it_is_ready():
    booting = Activity(ready_since=None, last_request=None, active=0)
    assert reason_to_stop(watched([(booting, False)] * 60), 59 * MINUTE, 30) is None


def test_a_request_begins_the_count_anew():
    asked = Activity(100.0, 1900.0, 0)
    watch = watched([(IDLE, True)] * 20 + [(asked, True)] * 20)
    assert reason_to_stop(watch, 39 * MINUTE, 30) is None


def test_a_request_that_is_being_answered_is_not_idleness_however_long():
    answering = Activity(100.0, 200.0, 1)
    assert reason_to_stop(watched([(answering, True)] * 200), 199 * MINUTE, 30) is None


def test_wall_clocks_that_jump_do_not_matter():
    future = Activity(ready_since=9e9, last_request=9e9, active=0)
    assert reason_to_stop(watched([(future, True)] * 10), 9 * MINUTE, 30) is None
    assert reason_to_stop(watched([(future, True)] * 31), 30 * MINUTE, 30)


def test_a_missing_or_damaged_activity_file_is_not_idleness():
    assert reason_to_stop(watched([(None, True)] * 200), 199 * MINUTE, 30) is None
    for text in ("", "{", "[]", "{}", '{"ready_since": 1, "last_request": 2, "active": "0"}'):
        assert parse_activity(text) is None


def test_the_first_look_after_a_damaged_file_begins_the_count_anew():
    watch = watched([(IDLE, True)] * 20 + [(None, True)] + [(IDLE, True)] * 20)
    assert reason_to_stop(watch, 40 * MINUTE, 30) is None


def test_a_machine_that_does_not_get_ready_stops_once_nobody_waits_for_it():
    (waits,) = (
        limit.le
        for limit in EndpointSettings.model_fields["ready_minutes"].metadata
        if isinstance(limit, Le)
    )
    assert waits == LEAST_BOOT_MINUTES
    watch = watched([(None, False)] * 241)
    assert reason_to_stop(watch, 239 * MINUTE, 30) is None
    assert reason_to_stop(watch, 240 * MINUTE, 30) == "not ready for 240 min"
    assert reason_to_stop(watch, 240 * MINUTE, 300) is None


def test_a_boot_that_takes_long_has_its_idle_minutes_once_it_is_ready():
    starting = Activity(None, None, 0)
    watch = watched([(starting, False)] * 100 + [(IDLE, True)] * 25)
    assert reason_to_stop(watch, 124 * MINUTE, 30) is None


def test_a_failed_stage_does_not_stop_a_machine_that_is_being_used():
    looks: list[tuple[Activity | None, bool]] = [
        (Activity(100.0, 200.0 + n, n % 2), False) for n in range(300)
    ]
    assert reason_to_stop(watched(looks), 299 * MINUTE, 30) is None


def test_a_gateway_that_died_while_answering_does_not_keep_a_broken_machine():
    dead = Activity(100.0, 200.0, 3)
    watch = watched([(dead, True)] * 5 + [(dead, False)] * 245)
    assert reason_to_stop(watch, 249 * MINUTE, 30)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    made = fake_machine(tmp_path)
    made.put(made.paths.activity, json.dumps({"ready_since": 1, "last_request": 2, "active": 0}))
    made.status().report("ready", State.DONE, "serving")
    return made


def test_looking_each_minute_powers_off_after_the_idle_minutes(machine: FakeMachine):
    config, status = machine.config(), machine.status()
    for _ in range(30):
        assert look(config, machine.world, status) is None
        machine.clock.now += MINUTE
    assert machine.run.commands == []
    assert look(config, machine.world, status) == "no request for 30 min: stopping"
    assert machine.run.lines() == ["systemctl poweroff"]


def test_what_an_earlier_run_kept_may_be_damaged(machine: FakeMachine):
    config, status = machine.config(), machine.status()
    for text in ("", "[]", '{"seen": 3}', '{"seen": {"x": 1}}'):
        machine.put(machine.paths.watched, text)
        assert look(config, machine.world, status) is None


def test_without_idle_minutes_nothing_is_ever_stopped(machine: FakeMachine):
    config = machine.config(watchdog={"idle_minutes": None, "stop": {"kind": "power_off"}})
    machine.put(machine.paths.watched, json.dumps({"unready_since": 0.0}))
    machine.clock.now = 1e6
    assert look(config, machine.world, machine.status()) is None
    assert machine.run.commands == []


def test_a_group_is_set_to_no_machine_and_a_failure_is_tried_again(machine: FakeMachine):
    group = {"kind": "resize_group", "group": "llm-endpoint-prod"}
    config = machine.config(watchdog={"idle_minutes": 30, "stop": group})
    google = FakeGoogle()
    google.faults = [Fault("/resize", 403, "Required 'compute…update' permission")]
    try:
        world, status = machine.at(google.client()), machine.status()
        assert look(config, world, status) is None
        machine.clock.now += 30 * MINUTE
        line = look(config, world, status)
        assert line is not None
        assert "can't: Compute Engine, asked to resize" in line
        assert "403: Required" in line
        assert google.resized == []
        machine.clock.now += MINUTE
        assert look(config, world, status) == "no request for 31 min: stopping"
        assert google.resized == [("llm-endpoint-prod", 0)]
    finally:
        google.close()


def test_a_power_off_that_fails_is_said(machine: FakeMachine):
    machine.run.answers = {"poweroff": Result(1, errors="Failed to connect to bus")}
    config, status = machine.config(), machine.status()
    look(config, machine.world, status)
    machine.clock.now += 31 * MINUTE
    line = look(config, machine.world, status)
    assert line is not None
    assert "should stop, and can't: powering off failed" in line
