"""The configuration file of a stack, read without Pulumi."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import yaml

from components.settings import NAMESPACE, ConfigurationError
from components.settings.loading import PROVIDER_KEYS
from components.settings.secrets import ENCRYPTED, secret_keys
from stacks import HERE, PROGRAMS


def file_of(stack: str, folder: Path = HERE) -> Path:
    """Return the file of the stack's own configuration, which need not exist."""
    return folder / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def raw_values(file: Path) -> dict[str, str]:
    """Return the values in a stack's file as the engine hands them on: bare key -> raw value.

    The provider's keys stand there under their full names. Of what is encrypted a program's
    secrets are `ENCRYPTED`, and the rest is left out: nothing that reads this needs a secret.
    Raises `ConfigurationError` where the file can't be read.
    """
    try:
        content: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = str(error).splitlines()[0]
        raise ConfigurationError(f"{file} can't be read: {what}") from None
    config = _object(_object(content).get("config"))
    secrets = frozenset[str]().union(*(secret_keys(one.schema) for one in PROGRAMS.values()))
    values: dict[str, str] = {}
    for full, value in config.items():
        key = full.removeprefix(f"{NAMESPACE}:")
        if key == full and full not in PROVIDER_KEYS:
            continue
        if "secure" not in _object(value):
            values[key] = _raw(value)
        elif key in secrets:
            values[key] = ENCRYPTED
    return values


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _raw(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
