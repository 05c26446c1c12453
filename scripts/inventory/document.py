"""The inventories of a program and its variants, as the YAML that lies under `tests/inventory`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import yaml

from components.settings.secrets import MarkedSecret
from scripts.changes.mocked import Mocked, mocked_with
from scripts.inventory.sections import Inventory, inventory
from scripts.inventory.variants import VARIANTS
from stacks import HERE

FOLDER = HERE.parent / "tests" / "inventory"
_HEADER = """\
# What the stack of `{program}` makes, of what a reviewer has to see. Do not edit: after a change
# `scripts/test --update-inventory` writes it anew, and the diff is for the reviewer to read.
# A variant lists only what differs from the program as it is.
"""


def file_of(program: str, folder: Path = FOLDER) -> Path:
    """Return the file that holds the inventories of `program`."""
    return folder / f"{program}.yaml"


def text_of(program: str) -> str:
    """Return the text of the inventories of `program`, run as the stack of its own name."""
    found = _mocked(program, {})
    plain = inventory(found.run, program)
    variants: dict[str, object] = {}
    for name, given in VARIANTS[program].items():
        other = inventory(_mocked(program, given).run, program)
        variants[name] = {"given": _shown(given), **differences(plain, other)}
    content = {
        "made up": dict(found.made_up),
        **{section: list(lines) for section, lines in plain.items()},
        "variants": variants,
    }
    shown = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10**6, indent=2)
    return f"{_HEADER.format(program=program)}{shown}"


def _mocked(program: str, given: Mapping[str, str]) -> Mocked:
    # What a configuration is warned of is not what it makes.
    with patch("pulumi.log.warn"), patch("pulumi.log.info"):
        return mocked_with(given, program)


def _shown(given: Mapping[str, str]) -> dict[str, str]:
    return {
        key: "(secret)" if isinstance(value, MarkedSecret) else value
        for key, value in given.items()
    }


def differences(plain: Inventory, other: Inventory) -> Mapping[str, Mapping[str, list[str]]]:
    """Return what `other` has and has not beside `plain`, by section."""
    told: dict[str, dict[str, list[str]]] = {}
    for section, lines in plain.items():
        parts = {
            "more": [line for line in other[section] if line not in lines],
            "less": [line for line in lines if line not in other[section]],
        }
        changed = {word: part for word, part in parts.items() if part}
        if changed:
            told[section] = changed
    return told
