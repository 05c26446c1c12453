"""The pack's configuration: a file such as `config.json`, which pulumi reads too.

Of the standard library alone: scripts read it before any environment is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from policy import exceptions
from policy.rule import AnyRule

SHIPPED = Path(__file__).parent / "config.json"
"""The exceptions that ship, each with its reason; a team adds its own there."""
LEVEL = "enforcementLevel"
LEVELS = ("mandatory", "advisory", "disabled")
ALL = "all"

Configuration = Mapping[str, object]
"""Rule -> level, or an object with `enforcementLevel`, `exceptions` and the rule's own options."""


class ConfigurationProblemError(Exception):
    """A pack's configuration that says what can't be."""


def read(file: Path, rules: Sequence[AnyRule]) -> Configuration:
    """Return what `file` says to `rules`. Raises `ConfigurationProblemError` with every problem."""
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationProblemError(f"{file} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationProblemError(f"{file} holds no JSON object")
    given = cast("dict[str, object]", content)
    found = [problem for name, said in given.items() for problem in _problems(name, said, rules)]
    if found:
        raise ConfigurationProblemError("\n".join([f"{file}:", *(f"  - {one}" for one in found)]))
    return given


def of_rule(configuration: Configuration, rule: str) -> Mapping[str, object]:
    """Return what the configuration says to `rule`, its level as `enforcementLevel`."""
    said = configuration.get(rule)
    own: Mapping[str, object] = (
        cast("Mapping[str, object]", said)
        if isinstance(said, Mapping)
        else {}
        if said is None
        else {LEVEL: said}
    )
    every = configuration.get(ALL)
    return {LEVEL: every, **own} if every is not None else own


def with_told(
    configuration: Configuration, told: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """Return `configuration` with what a stack's own says to each rule (`policy.told`)."""
    merged = dict(configuration)
    for rule, said in told.items():
        own = configuration.get(rule)
        held = {} if own is None else {LEVEL: own} if isinstance(own, str) else own
        merged[rule] = {**cast("Mapping[str, object]", held), **said}
    return merged


def _problems(name: str, said: object, rules: Sequence[AnyRule]) -> Iterator[str]:
    rule = next((one for one in rules if one.name == name), None)
    if rule is None and name != ALL:
        names = [one.name for one in rules]
        near = get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        yield f"{name!r} is no rule{hint}: the rules are {', '.join(sorted(names))}"
        return
    level = said
    if rule is not None and isinstance(said, Mapping):
        held = cast("Mapping[str, object]", said)
        level = held.get(LEVEL, LEVELS[0])
        takes = {LEVEL, exceptions.KEY, *rule.options}
        for other in sorted(held.keys() - takes):
            yield f"{name} takes no {other!r}: it takes {', '.join(sorted(takes))}"
        yield from exceptions.problems(name, held.get(exceptions.KEY))
    if level not in LEVELS:
        yield f"the level of {name} is {level!r}: it takes {', '.join(LEVELS)}"
