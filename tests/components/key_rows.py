"""What holds every key of every program to changing something: rows, and the runs they compare.

A row is a value of the key, what else has to be set for it to matter, and where it is seen then:
in a resource of that type, or in what its refusal says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

import pytest

from components.rendering.machine.places import BASE
from components.rendering.machine.rendered import MachineFile
from components.settings import ConfigurationError, Settings
from emulator.mocks.recording import Run
from scripts.changes.mocked import mocked_with
from scripts.made_up import made_up
from stacks import PROGRAMS

Given = Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """A key's `value`, beside other keys, and the last part of a type of which it changes one.

    `together` are keys that change with it: the value would not do with what they are else.
    `refused` instead, where only one value would do: what a refusal of this one says.
    """

    value: str
    seen: str = ""
    beside: Given = field(default_factory=dict)
    refused: str = ""
    together: Given = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """What came of a configuration: all that is registered and returned, and what is said of it."""

    run: Run
    said: tuple[str, ...]


def as_text(files: tuple[MachineFile, ...], packages: tuple[str, ...]) -> str:
    """Stand for user-data: the same, but for the YAML and the archive, which take most of a run.

    Of what is packed, our code and what is installed, the names are there alone.
    """
    shown = [
        file.path if file.path.startswith(f"{BASE}/") else f"{file.path}\n{file.content}"
        for file in files
    ]
    return "\n".join([*packages, *shown])


@cache
def _run(program: str, given: tuple[tuple[str, str], ...]) -> Seen:
    with (
        patch("pulumi.log.warn") as warned,
        patch("pulumi.log.info") as told,
        patch("components.rendering.machine.render.user_data", as_text),
    ):
        found = mocked_with(dict(given), program).run
    return Seen(found, tuple(str(call.args[0]) for call in (*warned.mock_calls, *told.mock_calls)))


def run_of(program: str, given: Given) -> Seen:
    """What `program` registers with `given`, each configuration run once."""
    return _run(program, tuple(given.items()))


def changed_types(before: Seen, after: Seen) -> set[str]:
    """The last parts of the types of what is there in one alone, or otherwise.

    `outputs` and `said` stand for the stack's outputs, and for warnings and advice.
    """
    was, now = before.run.registrations, after.run.registrations
    different = {name for name in {*was, *now} if was.get(name) != now.get(name)}
    # `TYPE:NAME`, of which the type has colons too.
    kinds = {name.rpartition(":")[0].rpartition(":")[2] for name in different}
    others = {
        "outputs": before.run.outputs != after.run.outputs,
        "said": before.said != after.said,
    }
    return kinds | {word for word, changed in others.items() if changed}


def _settings(program: str, given: Given) -> Settings:
    chosen = PROGRAMS[program]
    return chosen.settings({**given, **made_up(chosen, given)})


def check(program: str, key: str, row: Row) -> None:
    """Assert that the key of `row` is seen where the row says."""
    with_it = {**row.beside, **row.together, key: row.value}
    if row.refused:
        _settings(program, row.beside)
        with pytest.raises(ConfigurationError) as caught:
            _settings(program, with_it)
        assert key in str(caught.value)
        assert row.refused in str(caught.value)
        return
    changed = changed_types(run_of(program, row.beside), run_of(program, with_it))
    assert row.seen in changed, f"{key} {row.value!r} changes {sorted(changed) or 'nothing'}"


def keys_of(program: str) -> set[str]:
    """Every key of the program's schema."""
    fields = PROGRAMS[program].schema.model_fields.items()
    return {one.alias or name for name, one in fields}


def merged(program: str, rows: Mapping[str, Row]) -> list[dict[str, str]]:
    """Return configurations, as few as go, which together set every key of `rows` to its value."""
    groups: list[dict[str, str]] = []
    for key, row in rows.items():
        if row.refused:
            continue
        wanted = {**row.beside, **row.together, key: row.value}
        for group in groups:
            both = {**group, **wanted}
            if all(group.get(one, value) == value for one, value in wanted.items()):
                try:
                    _settings(program, both)
                except ConfigurationError:
                    continue
                group.update(wanted)
                break
        else:
            groups.append(wanted)
    return groups
