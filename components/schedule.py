"""When a machine starts and stops by the clock, as Google's instance schedules take it.

Limits: cloud.google.com/compute/docs/instances/schedule-instance-start-stop.
"""

from __future__ import annotations

import json
import re
import zoneinfo
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

EXAMPLE = "start 0 8 * * 1-5; stop 0 20 * * 1-5; Europe/Berlin"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[0-9]+))?")


class ScheduleError(ValueError):
    """A text that is no schedule; the message says which part, and what it takes."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    first_word: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Schedule:
    """Start and stop of a machine, each five cron fields, in the time zone of an IANA name.

    At least one of `start` and `stop` is set. Days and months are numbers: 0 and 7 are Sunday.
    """

    start: str | None
    stop: str | None
    time_zone: str

    def __str__(self) -> str:
        times = {"start": self.start, "stop": self.stop}
        parts = [f"{verb} {cron}" for verb, cron in times.items() if cron is not None]
        return "; ".join([*parts, self.time_zone])


def parse_schedule(text: str) -> Schedule:
    """Read `start CRON; stop CRON; ZONE`, or a JSON object with start, stop and time_zone.

    Without a zone it is UTC. Raises `ScheduleError`.
    """
    parts = _from_json(text) if text.lstrip().startswith("{") else _from_words(text)
    unknown = sorted(set(parts) - {"start", "stop", "time_zone"})
    if unknown:
        raise ScheduleError(f"{', '.join(unknown)} is no part of a schedule, such as {EXAMPLE!r}")
    if not parts.keys() & {"start", "stop"}:
        raise ScheduleError(f"it says neither when to start nor when to stop, as {EXAMPLE!r} does")
    crons = {verb: _cron(verb, parts[verb]) for verb in ("start", "stop") if verb in parts}
    if crons.get("start") == crons.get("stop"):
        raise ScheduleError("it starts and stops at the same times")
    zone = _zone(parts.get("time_zone", "UTC"))
    return Schedule(crons.get("start"), crons.get("stop"), zone)


def _from_json(text: str) -> dict[str, str]:
    try:
        read = cast(object, json.loads(text))
    except ValueError as error:
        raise ScheduleError(f"it starts like a JSON object and is none ({error})") from None
    if not isinstance(read, dict):
        raise ScheduleError("it is JSON, but no object")
    content = cast(dict[str, object], read)
    if not all(isinstance(value, str) for value in content.values()):
        raise ScheduleError("the values of a schedule are texts")
    return {key: str(value) for key, value in content.items()}


def _from_words(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for piece in (piece.strip() for piece in text.split(";")):
        verb, _, cron = piece.partition(" ")
        name, value = (verb, cron.strip()) if verb in {"start", "stop"} else ("time_zone", piece)
        if not value:
            raise ScheduleError(f"a part of it is empty; it takes {EXAMPLE!r}")
        if name in parts:
            raise ScheduleError(f"it has two parts for {name}; it takes {EXAMPLE!r}")
        parts[name] = value
    return parts


def _cron(verb: str, text: str) -> str:
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ScheduleError(
            f"{verb} {text!r} has {len(fields)} fields, and cron has {len(_FIELDS)}: minute, hour, "
            "day of the month, month, day of the week"
        )
    pairs = zip(fields, _FIELDS, strict=True)
    return " ".join(_checked(verb, value, field) for value, field in pairs)


def _checked(verb: str, text: str, field: _Field) -> str:
    return ",".join(_checked_part(verb, part, field) for part in text.split(","))


def _checked_part(verb: str, text: str, field: _Field) -> str:
    """Return one part of a cron field with its words as numbers; raises `ScheduleError`."""
    found = _PART.fullmatch(text)
    if found is None or (found["first"] == "*" and found["last"] is not None):
        raise ScheduleError(f"{verb}: {text!r} is no {field.name}")
    if found["first"] == "*":
        span = "*"
    else:
        numbers = [_number(verb, word, field) for word in (found["first"], found["last"]) if word]
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            raise ScheduleError(f"{verb}: {text!r} runs backwards in the {field.name}")
        span = "-".join(str(number) for number in numbers)
    if found["step"] is None:
        return span
    if not 1 <= int(found["step"]) <= field.high:
        raise ScheduleError(f"{verb}: the step of {text!r} is not from 1 to {field.high}")
    return f"{span}/{int(found['step'])}"


def _number(verb: str, word: str, field: _Field) -> int:
    if word.lower() in field.words:
        return field.words.index(word.lower()) + field.first_word
    if not word.isascii() or not word.isdigit() or not field.low <= int(word) <= field.high:
        raise ScheduleError(
            f"{verb}: {word!r} is no {field.name}, which goes from {field.low} to {field.high}"
        )
    return int(word)


def _zone(name: str) -> str:
    known = zoneinfo.available_timezones()
    # A machine without a time zone database can't tell: the cloud then does.
    if not known or name in known:
        return name
    meant = get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {meant[0]}?" if meant else ", such as Europe/Berlin"
    raise ScheduleError(f"{name!r} is no time zone of the IANA database{hint}")
