"""When a machine starts and stops by the clock: what is taken, and what is refused by its part."""

import re

import pytest

from components.schedule import EXAMPLE, Schedule, ScheduleError, parse_schedule

BERLIN = "Europe/Berlin"


def test_a_schedule_is_read_from_words():
    assert parse_schedule(EXAMPLE) == Schedule("0 8 * * 1-5", "0 20 * * 1-5", BERLIN)


def test_a_schedule_is_read_from_json():
    text = '{"start": "0 8 * * 1-5", "stop": "0 20 * * 1-5", "time_zone": "Europe/Berlin"}'
    assert parse_schedule(text) == parse_schedule(EXAMPLE)


def test_what_a_schedule_prints_as_reads_to_the_same():
    for text in (EXAMPLE, "stop 30 19 * * *", "start */15 8-18/2 1,15 jan-mar SUN; UTC"):
        read = parse_schedule(text)
        assert parse_schedule(str(read)) == read


def test_days_and_months_by_name_become_numbers():
    assert parse_schedule("stop 0 20 * DEC mon-fri").stop == "0 20 * 12 1-5"


def test_a_schedule_may_only_stop_and_is_in_utc_where_nothing_else_is_said():
    assert parse_schedule("stop 0 20 * * *") == Schedule(None, "0 20 * * *", "UTC")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Europe/Berlin", "neither when to start nor when to stop"),
        ("start 0 8 * *; UTC", "has 4 fields, and cron has 5"),
        ("start 60 8 * * *", "'60' is no minute, which goes from 0 to 59"),
        ("stop 0 24 * * *", "stop: '24' is no hour"),
        ("stop 0 8 0 * *", "'0' is no day of the month"),
        ("stop 0 8 * feb-jan *", "runs backwards in the month"),
        ("stop 0 8 * * funday", "'funday' is no day of the week"),
        ("stop 0 8 * * *-5", "is no day of the week"),
        ("stop */0 8 * * *", "the step of '*/0'"),
        ("stop 0 8 * * *; Europe/Berln", "did you mean Europe/Berlin?"),
        ("stop 0 8 * * *; stop 0 9 * * *", "two parts for stop"),
        ("start 0 8 * * *; stop 0 8 * * *", "starts and stops at the same times"),
        ("stop 0 8 * * *;", "a part of it is empty"),
        ('{"stop": "0 8 * * *", "zone": "UTC"}', "zone is no part of a schedule"),
        ('{"stop": 8}', "the values of a schedule are texts"),
        ('{"stop": ', "starts like a JSON object and is none"),
    ],
)
def test_what_is_no_schedule_is_refused_by_the_part_that_is_wrong(text: str, said: str):
    with pytest.raises(ScheduleError, match=re.escape(said)):
        parse_schedule(text)
