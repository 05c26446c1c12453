"""A mocked run as plain data, so that one checkout's can be compared with another's."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from scripts.changes import values
from scripts.changes.billing import read as read_billing
from scripts.changes.mocked import Mocked
from scripts.changes.model import ABSENT, Bill, Change, Kind, Property
from stacks import HERE

_OPTIONS = (
    "protect",
    "retain_on_delete",
    "delete_before_replace",
    "ignore_changes",
    "replace_on_changes",
)
_SEALED = re.compile(re.escape(values.SECRET) + " [0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """What the first `up` of a stack would register and return.

    `resources`: by type and name, `{"inputs": …, "parent": …, OPTION: …}`; `outputs`: those that
    are known and not secret.
    """

    program: str
    resources: Mapping[str, Mapping[str, object]]
    outputs: Mapping[str, object]
    made_up: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def bills(self) -> tuple[Bill, ...]:
        """What bills."""
        return read_billing(self.outputs.get("billing")) or ()


def of(found: Mocked, salt: str) -> Snapshot:
    """Return a mocked run as plain data.

    Secrets are kept as digests under `salt`, which tell whether they differ and nothing else.
    """
    resources: dict[str, Mapping[str, object]] = {}
    for key, entry in found.run.registrations.items():
        options = {name: getattr(entry, name) for name in _OPTIONS}
        inputs = _sealed(_without_place(entry.inputs), salt.encode())
        # A tuple is a list where it comes from another checkout.
        plain = values.entries(json.loads(json.dumps(options)))
        resources[key] = {"inputs": inputs, "parent": entry.parent, **plain}
    outputs = {
        name: values.SECRET if seen.secret else seen.value
        for name, seen in found.run.outputs.items()
        if seen.known
    }
    return Snapshot(found.program, resources, outputs, found.made_up, found.warnings)


def written(snapshot: Snapshot) -> str:
    """Return the snapshot as JSON, for `read`."""
    return json.dumps(vars(snapshot))


def read(text: str) -> Snapshot:
    """Return what `written` returned; raises `ValueError` for anything else."""
    try:
        found = values.entries(json.loads(text))
        made_up = values.entries(found["made_up"])
        resources = values.entries(found["resources"])
        return Snapshot(
            program=str(found["program"]),
            resources={key: values.entries(one) for key, one in resources.items()},
            outputs=values.entries(found["outputs"]),
            made_up={key: str(value) for key, value in made_up.items()},
            warnings=tuple(map(str, values.items(found["warnings"]))),
        )
    except KeyError as missing:
        raise ValueError(f"a snapshot has {missing}") from None


def compare(before: Snapshot | None, after: Snapshot) -> tuple[tuple[Change, ...], int]:
    """Return what changes from `before`, and how many resources stay; without it all is created."""
    olds: Mapping[str, Mapping[str, object]] = {} if before is None else before.resources
    changes: list[Change] = []
    for key in dict.fromkeys([*after.resources, *olds]):
        change = _change(key, olds.get(key), after.resources.get(key))
        if change is not None:
            changes.append(change)
    return tuple(changes), len(after.resources.keys() & olds.keys()) - sum(
        change.kind not in ("create", "delete") for change in changes
    )


def outputs(before: Snapshot | None, after: Snapshot) -> tuple[Property, ...]:
    """Return the outputs that come, go or change."""
    if before is None:
        return ()
    olds, news = (
        {name: value for name, value in one.outputs.items() if name != "billing"}
        for one in (before, after)
    )
    return tuple(values.differences(olds, news))


def _change(
    key: str, old: Mapping[str, object] | None, new: Mapping[str, object] | None
) -> Change | None:
    token, _, name = key.rpartition(":")
    if old is None:
        return Change("create", token, name, _properties({}, new or {}))
    protected = old.get("protect") is True
    if new is None:
        return Change("delete", token, name, protected=protected)
    found = _properties(old, new)
    if not found:
        return None
    # Only a plugin knows which properties of its resources can be changed in place.
    kind: Kind = "replace" if any(one.replaces for one in found) else "change"
    return Change(kind, token, name, found, protected=protected and kind == "replace")


def _properties(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[Property, ...]:
    listed = {values.top(str(path)) for path in values.items(new.get("replace_on_changes"))}
    found = [
        Property(
            one.path,
            _opened(one.before),
            _opened(one.after),
            replaces=bool(old) and values.top(one.path) in listed,
        )
        for one in values.differences(old.get("inputs") or {}, new.get("inputs") or {})
    ]
    for option in ("parent", *_OPTIONS) if old else ("protect", "retain_on_delete"):
        before, after = old.get(option), new.get(option)
        if (before or None) != (after or None):
            found.append(Property(f"({option})", before if old else ABSENT, after))
    return tuple(found)


def _without_place(value: object) -> object:
    """Return `value` with the paths below this checkout relative to it: another lies elsewhere."""
    text = json.dumps(value).replace(json.dumps(f"{HERE.parent}{os.sep}")[1:-1], "")
    # On the wire every number is a float.
    return json.loads(text, parse_float=_number)


def _number(said: str) -> int | float:
    return int(said[:-2]) if said.endswith(".0") else float(said)


def _sealed(value: object, salt: bytes) -> object:
    if values.is_secret(value):
        text = json.dumps(value, sort_keys=True).encode()
        return f"{values.SECRET} {hmac.new(salt, text, hashlib.sha256).hexdigest()}"
    if isinstance(value, dict):
        held = values.entries(cast("object", value))
        return {key: _sealed(inner, salt) for key, inner in held.items()}
    if isinstance(value, list):
        return [_sealed(inner, salt) for inner in values.items(cast("object", value))]
    return value


def _opened(value: object) -> object:
    """Return `value` as it is shown: of a secret nothing but that it is one."""
    if isinstance(value, str):
        return _SEALED.sub(values.SECRET, value)
    if isinstance(value, dict):
        held = values.entries(cast("object", value))
        return {key: _opened(inner) for key, inner in held.items()}
    if isinstance(value, list):
        return [_opened(inner) for inner in values.items(cast("object", value))]
    return value
