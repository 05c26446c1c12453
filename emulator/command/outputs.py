"""Which outputs are secret and which are not known yet.

A secret input makes the output of the same name secret and no other: what a command prints
is plain even where its environment holds a secret. The published plugin has been so since 0.9;
`additionalSecretOutputs` is the way to a secret stdout. An input that is not known yet, or
that changes, makes every result unknown in a preview.
"""

from __future__ import annotations

from .properties import COMMAND_INPUTS
from .values import (
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
    """INPUTS as they come back as outputs."""
    return {name: passed_on(value) for name, value in inputs.items()}


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
    return name in state and not _mirrors(inputs.get(name), state[name])


def _mark(name: str, value: Property, inputs: Properties, *, unknown: bool) -> Property:
    mirrored = name in inputs and _mirrors(inputs[name], value)
    if unknown and not is_unknown(value) and not mirrored:
        value = as_unknown(value)
    if not mirrored and holds_secret(inputs.get(name)):
        return as_secret(value)
    return value


def _mirrors(sent: Property, kept: Property) -> bool:
    """Whether an output is the input of its name, both fully comparable.

    Assets, archives, references and secrets that are not known yet never compare equal here.
    """
    return _comparable(sent) and same(sent, kept)


def _comparable(value: Property) -> bool:
    match value:
        case Special() | Secret(Unknown()):
            return False
        case Secret(inner):
            return _comparable(inner)
        case list():
            return all(map(_comparable, value))
        case dict():
            return all(map(_comparable, value.values()))
        case _:
            return True
