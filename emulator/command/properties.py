"""The properties of `local.Command` and `local.run`: names, types, checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from emulator.plugin.errors import InvalidProperties
from emulator.plugin.values import Properties, Property, Special, Unknown, reveal


class Kind(Enum):
    """The type of a property."""

    TEXT = "a string"
    FLAG = "a boolean"
    TEXTS = "a list of strings"
    TEXT_MAP = "a map of strings"
    VALUE = "anything"
    VALUES = "a list"
    ASSETS = "a map of assets"
    ARCHIVE = "an archive"


_HOW_TO_RUN: Mapping[str, Kind] = {
    "stdin": Kind.TEXT,
    "logging": Kind.TEXT,
    "interpreter": Kind.TEXTS,
    "dir": Kind.TEXT,
    "environment": Kind.TEXT_MAP,
    "assetPaths": Kind.TEXTS,
    "archivePaths": Kind.TEXTS,
    "addPreviousOutputInEnv": Kind.FLAG,
}
_RESULTS: Mapping[str, Kind] = {
    "stdout": Kind.TEXT,
    "stderr": Kind.TEXT,
    "assets": Kind.ASSETS,
    "archive": Kind.ARCHIVE,
}

COMMAND_INPUTS: Mapping[str, Kind] = {
    "triggers": Kind.VALUES,
    "create": Kind.TEXT,
    "update": Kind.TEXT,
    "delete": Kind.TEXT,
    **_HOW_TO_RUN,
}
COMMAND_OUTPUTS: Mapping[str, Kind] = {**COMMAND_INPUTS, **_RESULTS}
RUN_INPUTS: Mapping[str, Kind] = {**_HOW_TO_RUN, "command": Kind.TEXT}
RUN_OUTPUTS: Mapping[str, Kind] = {**RUN_INPUTS, **_RESULTS}
ALWAYS_IN_STATE = ("stdout", "stderr")

REPLACING = "triggers"
"""The input whose appearance or disappearance replaces the resource.

A change inside the list is an update to the plugin; the SDKs add `replaceOnChanges:
["triggers[*]"]`, from which the engine makes a replacement.
"""


_NAMES = {"bool": "a boolean", "float": "a number", "str": "a string", "list": "a list"}


@dataclass(frozen=True)
class Fault:
    """One property that can't be taken, and why; the reason never holds the value."""

    property: str
    reason: str


def faults(
    properties: Properties, kinds: Mapping[str, Kind], required: Collection[str] = ()
) -> list[Fault]:
    """All that is wrong with PROPERTIES, in the order of KINDS; unknown values fit any type."""
    found: list[Fault] = []
    for name, kind in kinds.items():
        if name in properties:
            found.extend(_misfits(name, properties[name], kind))
        elif name in required:
            found.append(Fault(name, f"{name} is required and was not given"))
    known = ", ".join(sorted(kinds))
    for name in sorted(properties.keys() - kinds.keys()):
        found.append(Fault(name, f"there is no property {name}; there are {known}"))
    return found


def refuse_faults(
    properties: Properties, kinds: Mapping[str, Kind], required: Collection[str] = ()
) -> None:
    """Raises InvalidProperties with everything that `faults` finds, if it finds anything."""
    found = faults(properties, kinds, required)
    if found:
        listed = "; ".join(fault.reason for fault in found)
        raise InvalidProperties(f"invalid properties: {listed}")


def _misfits(path: str, value: Property, kind: Kind) -> Iterator[Fault]:
    plain = reveal(value)
    match kind, plain:
        case _, Unknown():
            return
        case (Kind.TEXT, str()) | (Kind.FLAG, bool()) | (Kind.VALUES, list()):
            return
        case Kind.TEXTS, list():
            for index, item in enumerate(plain):
                yield from _misfits(f"{path}[{index}]", item, Kind.TEXT)
        case Kind.TEXT_MAP, dict():
            for key, item in plain.items():
                yield from _misfits(f"{path}[{key}] value", item, Kind.TEXT)
        case (Kind.ASSETS, dict()) | (Kind.ARCHIVE, Special()):
            return
        case _:
            yield Fault(path, f"{path} must be {kind.value}, but it is {_type_of(plain)}")


def _type_of(value: Property) -> str:
    if isinstance(value, Special):
        return f"Pulumi's {value.signature.name.lower()}"
    if value is None:
        return "null"
    return _NAMES.get(type(value).__name__, "an object")


@dataclass(frozen=True)
class HowToRun:
    """How a command is run: what `local.Command` and `local.run` have in common."""

    interpreter: tuple[str, ...]
    directory: str | None
    environment: Mapping[str, str]
    stdin: str
    logs_stdout: bool
    logs_stderr: bool
    asset_globs: tuple[str, ...] | None
    archive_globs: tuple[str, ...] | None
    previous_output_in_environment: bool

    @classmethod
    def of(cls, properties: Properties) -> HowToRun:
        """Reads PROPERTIES, in which `faults` has found nothing."""
        # A word that is none of the four is no fault, and logs nothing.
        logging = text(properties, "logging")
        return cls(
            interpreter=texts(properties, "interpreter") or ("/bin/sh", "-c"),
            directory=text(properties, "dir"),
            environment=_text_map(properties, "environment"),
            stdin=text(properties, "stdin") or "",
            logs_stdout=logging in (None, "stdout", "stdoutAndStderr"),
            logs_stderr=logging in (None, "stderr", "stdoutAndStderr"),
            asset_globs=texts(properties, "assetPaths"),
            archive_globs=texts(properties, "archivePaths"),
            previous_output_in_environment=(
                reveal(properties.get("addPreviousOutputInEnv")) is not False
            ),
        )


def text(properties: Properties, name: str) -> str | None:
    """The string NAME of PROPERTIES, None where it is absent."""
    value = reveal(properties.get(name))
    return value if isinstance(value, str) else None


def texts(properties: Properties, name: str) -> tuple[str, ...] | None:
    """The list of strings NAME of PROPERTIES, None where it is absent."""
    value = reveal(properties.get(name))
    if not isinstance(value, list):
        return None
    return tuple(item for item in map(reveal, value) if isinstance(item, str))


def _text_map(properties: Properties, name: str) -> dict[str, str]:
    value = reveal(properties.get(name))
    if not isinstance(value, dict):
        return {}
    plain = {key: reveal(item) for key, item in value.items()}
    return {key: item for key, item in plain.items() if isinstance(item, str)}
