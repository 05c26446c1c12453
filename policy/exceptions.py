"""What is let through although a rule refuses it: named, and with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

from policy.rule import Violation

KEY = "exceptions"
_NEEDED = ("stack", "resource", "reason")
_KNOWN = (*_NEEDED, "what")

SCHEMA: Mapping[str, object] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": list(_NEEDED),
        "additionalProperties": False,
        "properties": {name: {"type": "string", "pattern": r"\S"} for name in _KNOWN},
    },
}
"""The JSON schema of a rule's exceptions, by which the engine refuses one without a reason."""


@dataclass(frozen=True)
class Exemption:
    """One exception: `stack`, `resource` and `what` are patterns with `*`, as of file names."""

    rule: str
    stack: str
    resource: str
    what: str
    reason: str

    def covers(self, violation: Violation) -> bool:
        """Whether it lets `violation`, one of its rule's, through."""
        return self.is_of(violation.resource.stack) and all(
            fnmatchcase(value, pattern)
            for value, pattern in (
                (violation.resource.name, self.resource),
                (violation.what, self.what),
            )
        )

    def is_of(self, stack: str) -> bool:
        """Whether it is for `stack`, among others perhaps."""
        return fnmatchcase(stack, self.stack)


def exemptions(rule: str, given: object) -> tuple[Exemption, ...]:
    """Return the exceptions of `rule`, as its configuration has them and `problems` passed them."""
    entries = cast("list[Mapping[str, str]]", given or [])
    return tuple(
        Exemption(rule, one["stack"], one["resource"], one.get("what", "*"), one["reason"])
        for one in entries
    )


def problems(rule: str, given: object) -> Iterator[str]:
    """Say what is wrong with what a configuration has as the exceptions of `rule`."""
    if given is None:
        return
    if not isinstance(given, list):
        yield f"{rule}.{KEY} is {given!r}: it takes a list"
        return
    for number, entry in enumerate(cast("list[object]", given), 1):
        where = f"exception {number} of {rule}"
        if not isinstance(entry, Mapping):
            yield f"{where} is {entry!r}: it takes {', '.join(_NEEDED)}"
            continue
        held = cast("Mapping[str, object]", entry)
        for name in sorted(held.keys() - set(_KNOWN)):
            yield f"{where} has {name!r}: it takes {', '.join(_KNOWN)}"
        for name in _KNOWN:
            value = held.get(name)
            if name not in held and name not in _NEEDED:
                continue
            if not isinstance(value, str) or not value.strip():
                yield f"{where} has no {name}: {_MEANS[name]}"


_MEANS = {
    "stack": "write the stack's name, or * for any",
    "resource": "write the resource's name, with * for what may differ",
    "what": "leave it out, or write what is let through, such as tcp:80",
    "reason": "say why it is right, for who reads it in a year",
}
