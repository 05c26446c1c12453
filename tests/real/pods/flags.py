"""The command line of the programs in the place of OpenVINO Model Server's: its flags alone."""

from __future__ import annotations

from collections.abc import Sequence

from components.engines import known_flags

_SWITCHES = ("--metrics_enable",)


def parsed(words: Sequence[str]) -> dict[str, str]:
    """Return the flags with their values. Raises `SystemExit` for what OVMS does not take."""
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        flag, _, value = rest.pop(0).partition("=")
        if flag not in known_flags.flags_of("ovms"):
            raise SystemExit(f"error parsing options: Option '{flag}' does not exist")
        if flag in _SWITCHES:
            found[flag] = ""
        elif value or rest:
            found[flag] = value or rest.pop(0)
        else:
            raise SystemExit(f"error parsing options: Option '{flag}' is missing an argument")
    return found
