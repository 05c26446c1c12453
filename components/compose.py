"""Whether an engine can be placed on a target, and in which form."""

from __future__ import annotations

from dataclasses import dataclass

from components.launch import Accelerator, Form, Launch


class UnsupportedCombinationError(ValueError):
    """An engine that a target can't take; the message names both and what would do."""


@dataclass(frozen=True)
class Place:
    """What a target takes: its name, forms by preference, and the accelerators it has.

    `has_gateway` says that something before the engine checks keys and ends TLS.
    """

    name: str
    forms: tuple[Form, ...]
    accelerators: frozenset[Accelerator]
    has_gateway: bool


def form_for(launch: Launch, place: Place) -> Form:
    """Return the first form of `place` that `launch` has.

    Raises `UnsupportedCombinationError` where they share no form or no accelerator, and where
    nobody would check keys.
    """
    if not (launch.checks_keys or place.has_gateway):
        raise UnsupportedCombinationError(
            f"engine {launch.engine!r} checks no API keys, and target {place.name!r} has no "
            "gateway that would: choose another engine or target"
        )
    if not launch.accelerators & place.accelerators:
        raise UnsupportedCombinationError(
            f"engine {launch.engine!r} needs {_names(launch.accelerators)}, and target "
            f"{place.name!r} has {_names(place.accelerators)}: choose another engine or target"
        )
    for form in place.forms:
        if form in launch.forms:
            return form
    raise UnsupportedCombinationError(
        f"engine {launch.engine!r} runs as {_names(launch.forms)}, and target {place.name!r} takes "
        f"{_names(frozenset(place.forms))}: choose another engine or target"
    )


def _names(values: frozenset[Form] | frozenset[Accelerator]) -> str:
    return " or ".join(sorted(value.value for value in values))
