"""Which outputs are secret and which are not known yet.

A secret input makes the output of the same name secret and no other: what a command prints
is plain even where its environment holds a secret (pulumi-command#274 made it so in 2023);
`additionalSecretOutputs` is the way to a secret stdout. An input that is not known yet, or
that changes, makes every result unknown in a preview.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulator.plugin.errors import InvalidProperties
from emulator.plugin.values import (
    Properties,
    Property,
    Secret,
    Signature,
    Special,
    Unknown,
    as_secret,
    as_unknown,
    holds_secret,
    is_unknown,
    same,
)

from .properties import COMMAND_INPUTS, Kind

_EMPTY: Mapping[Kind, Property] = {
    Kind.TEXT: "",
    Kind.FLAG: False,
    Kind.TEXT_MAP: {},
    Kind.VALUES: [],
}
_ITEMS: Mapping[Kind, Kind] = {
    Kind.TEXTS: Kind.TEXT,
    Kind.TEXT_MAP: Kind.TEXT,
    Kind.VALUES: Kind.VALUE,
}


def passed_on(value: Property) -> Property:
    """An input as it comes back as an output: a reference to a resource comes back empty."""
    match value:
        case Special(Signature.REFERENCE):
            return {}
        case list():
            return [passed_on(item) for item in value]
        case dict():
            return {key: passed_on(item) for key, item in value.items()}
        case Secret(inner):
            return Secret(passed_on(inner))
        case _:
            return value


def all_passed_on(inputs: Properties) -> Properties:
    """INPUTS as they come back as outputs: a list of strings not known yet is left out."""
    return {
        name: passed_on(value)
        for name, value in inputs.items()
        if not (is_unknown(value) and COMMAND_INPUTS.get(name) is Kind.TEXTS)
    }


def checked(inputs: Properties) -> Properties:
    """INPUTS, valid ones, as a check gives them back to the engine.

    A secret that is not known yet becomes an empty secret: so a preview shows that the input
    changes, where the resource exists.

    Raises:
        InvalidProperties: such a secret is an item of `triggers`; the published plugin gives back
            what the engine can't read.
    """
    return {
        name: _checked(name, value, COMMAND_INPUTS[name])
        for name, value in all_passed_on(inputs).items()
    }


def _checked(path: str, value: Property, kind: Kind) -> Property:
    match value:
        case Secret(Unknown()) if kind is Kind.VALUE:
            raise InvalidProperties(
                f"{path} is a secret that is not known yet, which the published plugin can't take: "
                "trigger on what is not secret, a version or a digest"
            )
        case Secret(Unknown()):
            return Secret(_EMPTY[kind])
        case Secret(inner):
            return Secret(_checked(path, inner, kind))
        case list() if kind in _ITEMS:
            items = enumerate(value)
            return [_checked(f"{path}[{index}]", item, _ITEMS[kind]) for index, item in items]
        case dict() if kind in _ITEMS:
            return {
                key: _checked(f"{path}.{key}", item, _ITEMS[kind]) for key, item in value.items()
            }
        case _:
            return value


def of_creation(inputs: Properties, outputs: Properties, *, preview: bool) -> Properties:
    """OUTPUTS of a command that is created with INPUTS, marked."""
    return {name: _mark(name, value, inputs, unknown=preview) for name, value in outputs.items()}


def of_update(
    inputs: Properties, outputs: Properties, state: Properties, *, preview: bool
) -> Properties:
    """OUTPUTS of a command with STATE (its old outputs) that is updated to INPUTS, marked."""
    unknown = preview and any(_changes(name, inputs, state) for name in COMMAND_INPUTS)
    return {name: _mark(name, value, inputs, unknown=unknown) for name, value in outputs.items()}


def _changes(name: str, inputs: Properties, state: Properties) -> bool:
    """Whether the input NAME may change what the command prints. One that is new does not."""
    if is_unknown(inputs.get(name)):
        return True
    return name in state and not same(inputs.get(name), state[name])


def _mark(name: str, value: Property, inputs: Properties, *, unknown: bool) -> Property:
    mirrored = name in inputs and _mirrors(inputs[name], value)
    if unknown and not is_unknown(value) and not mirrored:
        value = as_unknown(value)
    if not mirrored and holds_secret(inputs.get(name)):
        return as_secret(value)
    return value


def _mirrors(sent: Property, kept: Property) -> bool:
    """Whether an output is the input of its name; never, where that holds an asset or the like."""
    return not _holds_special(sent) and same(sent, kept)


def _holds_special(value: Property) -> bool:
    match value:
        case Special():
            return True
        case Secret(inner):
            return _holds_special(inner)
        case list():
            return any(map(_holds_special, value))
        case dict():
            return any(map(_holds_special, value.values()))
        case _:
            return False
