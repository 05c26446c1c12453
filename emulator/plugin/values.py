"""Property values and their form on the wire.

The engine sends properties as a protobuf `Struct`. Objects that carry the key `SIGNATURE` are
secrets, outputs, assets, archives or references; some strings stand for a value that is not
known yet. The constants are those of the Pulumi SDKs (`pulumi/runtime/rpc.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from .errors import InvalidProperties

SIGNATURE = "4dabf18193072939515e22adb298388d"

# One for each type that the value will have: string, bool, number, list, object, asset, archive.
_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = frozenset(
    {
        _UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
    }
)


class Signature(StrEnum):
    """What an object on the wire stands for."""

    SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (a type's name, no secret)
    OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
    ASSET = "c44067f5952c0a294b673a41bacd8c17"
    ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
    REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that only the update will bring; previews are full of them."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret value; `value` is never itself a `Secret`, but may hold some."""

    value: Property


@dataclass(frozen=True, slots=True)
class Special:
    """An asset, an archive or a reference to a resource: passed on, not looked into."""

    signature: Signature
    fields: Properties


Property: TypeAlias = (
    "bool | float | str | list[Property] | Properties | Secret | Unknown | Special | None"
)
Properties: TypeAlias = "dict[str, Property]"

UNKNOWN = Unknown()


def parse_struct(struct: Struct) -> Properties:
    """The properties in STRUCT. Nulls are left out of objects; lists keep theirs.

    Raises:
        InvalidProperties: an object has a signature that is not known, or a secret no value.
    """
    parsed = {name: parse(value) for name, value in struct.fields.items()}
    return {name: value for name, value in parsed.items() if value is not None}


def parse(value: Value) -> Property:
    """The property that VALUE carries; see `parse_struct`."""
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            return value.number_value
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "list_value":
            return [parse(item) for item in value.list_value.values]
        case "struct_value":
            return _parse_object(parse_struct(value.struct_value))
        case _:
            return None


def _parse_object(fields: Properties) -> Property:
    if SIGNATURE not in fields:
        return fields
    try:
        signature = Signature(str(fields[SIGNATURE]))
    except ValueError:
        raise InvalidProperties(
            f"an object has the signature {fields[SIGNATURE]!r}, which is not one of Pulumi's"
        ) from None
    if signature is Signature.OUTPUT:
        # Which resources it depends on is the engine's to know.
        value = fields.get("value", UNKNOWN)
        return as_secret(value) if fields.get("secret") is True else value
    if signature is Signature.SECRET:
        if "value" not in fields:
            raise InvalidProperties("a secret came without a value (a secret null?)")
        return as_secret(fields["value"])
    return Special(signature, {key: item for key, item in fields.items() if key != SIGNATURE})


def render_struct(properties: Properties) -> Struct:
    """PROPERTIES as the engine takes them: nulls left out of objects."""
    return Struct(
        fields={name: render(value) for name, value in properties.items() if value is not None}
    )


def render(value: Property) -> Value:  # noqa: PLR0911 (a type a line)
    """VALUE as the engine takes it."""
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=value)
        case str():
            return Value(string_value=value)
        case list():
            return Value(list_value=ListValue(values=[render(item) for item in value]))
        case dict():
            return Value(struct_value=render_struct(value))
        case Unknown():
            return Value(string_value=_UNKNOWN_STRING)
        case Secret(Unknown()):
            return render({SIGNATURE: Signature.OUTPUT.value, "secret": True})
        case Secret(inner):
            return render({SIGNATURE: Signature.SECRET.value, "value": inner})
        case Special(signature, fields):
            return render({SIGNATURE: signature.value, **fields})


def as_secret(value: Property) -> Secret:
    """VALUE as a secret; a secret stays what it is."""
    return value if isinstance(value, Secret) else Secret(value)


def as_unknown(value: Property) -> Property:
    """A value not known yet in VALUE's place: a secret one where VALUE is secret."""
    return Secret(UNKNOWN) if isinstance(value, Secret) else UNKNOWN


def reveal(value: Property) -> Property:
    """VALUE with no secret wrapped around it (those inside it stay)."""
    return value.value if isinstance(value, Secret) else value


def is_unknown(value: Property) -> bool:
    """Whether VALUE itself, not something in it, is unknown."""
    return isinstance(reveal(value), Unknown)


def holds_secret(value: Property) -> bool:
    """Whether VALUE is secret or holds a secret at any depth."""
    match value:
        case Secret():
            return True
        case list():
            return any(map(holds_secret, value))
        case dict():
            return any(map(holds_secret, value.values()))
        case _:
            return False


def same(one: Property, other: Property) -> bool:
    """Whether two values are equal: type, secrecy and content. Assets are equal by their hash."""
    match one, other:
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case Secret(inner), Secret(other_inner):
            return same(inner, other_inner)
        case Special(signature, fields), Special(other_signature, other_fields):
            hashes = fields.get("hash"), other_fields.get("hash")
            alike = (
                hashes[0] == hashes[1] if all(hashes) else _filled(fields) == _filled(other_fields)
            )
            return signature is other_signature and alike
        case _:
            return type(one) is type(other) and one == other


def _filled(fields: Properties) -> Properties:
    """FIELDS without the empty ones: absent and empty mean the same in an asset."""
    return {name: value for name, value in fields.items() if value != ""}
