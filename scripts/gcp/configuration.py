"""What a stack is configured to be, read without Pulumi: its own file over the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import yaml

from components.rendering.machine.plan import MachinePlan
from components.settings import NAMESPACE, ConfigurationError, CpuVmSettings, Settings
from stacks import choose

STACKS = Path(__file__).resolve().parents[2] / "stacks"
PROVIDER = "gcp:"


class _Module(Protocol):
    """The part of a stack's program that says what machine it makes."""

    def plan(self, settings: Settings, stack: str) -> MachinePlan: ...


@dataclass(frozen=True)
class Configuration:
    """A stack's configuration as far as it can be read.

    `problem` says what is wrong with it; `settings` is None then, and where the program is not one
    of machines in Google Cloud. `project` and `zone` are as they stand there. `base_name` begins
    the names of the stack's resources.
    """

    stack: str
    project: str | None
    zone: str | None
    settings: CpuVmSettings | None = None
    base_name: str | None = None
    problem: str | None = None


def file_of(stack: str, folder: Path = STACKS) -> Path:
    """Return the file of the stack's own configuration, which need not exist."""
    return folder / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def raw_values(file: Path) -> dict[str, str]:
    """Return the values in a stack's file as the engine hands them on: bare key -> raw value.

    The provider's keys stand there under their full names. What is encrypted is left out: none of
    what is asked here is a secret. Raises `ConfigurationError` where the file can't be read.
    """
    try:
        content: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = str(error).splitlines()[0]
        raise ConfigurationError(f"{file} can't be read: {what}") from None
    config = _object(_object(content).get("config"))
    return {
        key.removeprefix(f"{NAMESPACE}:"): _raw(value)
        for key, value in config.items()
        if key.startswith((f"{NAMESPACE}:", PROVIDER)) and not _is_secret(value)
    }


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _is_secret(value: object) -> bool:
    return "secure" in _object(value)


def _raw(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def read(stack: str, folder: Path = STACKS) -> Configuration:
    """Return the configuration of `stack`, whose file lies in `folder`."""
    raw: Mapping[str, str] = {}
    settings: Settings | None = None
    base_name = problem = None
    try:
        raw = raw_values(file_of(stack, folder))
        program = choose(raw, stack.rsplit("/", 1)[-1])
        settings = program.settings(raw)
        if isinstance(settings, CpuVmSettings):
            module = cast("_Module", import_module(f"stacks.{program.module}"))
            base_name = module.plan(settings, stack.rsplit("/", 1)[-1]).base_name
    except ConfigurationError as error:
        problem = str(error.for_stack(stack))
    return Configuration(
        stack=stack,
        project=raw.get(f"{PROVIDER}project") or None,
        zone=raw.get(f"{PROVIDER}zone") or None,
        settings=settings if isinstance(settings, CpuVmSettings) else None,
        base_name=base_name,
        problem=problem,
    )
