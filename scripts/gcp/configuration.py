"""What a stack is configured to be, read without Pulumi: its own file over the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from components.settings import (
    CiSettings,
    ConfigurationError,
    GcpSettings,
    GkeSettings,
    ModelRegistrySettings,
    Settings,
)
from scripts.stack_file import file_of, raw_values
from stacks import HERE, choose
from stacks.planning import google_bucket


class _Plan(Protocol):
    """The part of a plan that is read here."""

    @property
    def base_name(self) -> str: ...


class _Module(Protocol):
    """The part of a stack's program that says what it makes."""

    def plan(self, settings: Settings, stack: str) -> _Plan: ...


@dataclass(frozen=True)
class Configuration:
    """A stack's configuration as far as it can be read.

    `problem` says what is wrong with it; `settings` is None then, and where the program is not one
    in Google Cloud. `project` and `zone` are as they stand there. `base_name` begins the names of
    the stack's resources. `in_cluster`: the program is one of clusters. `of_bucket`: it makes a
    bucket and no machine; `registry` is set then in place of `settings`, and `bucket` is the name
    of a bucket of Google's. `of_ci`: it makes what workflows need; `ci` is set then in place of
    `settings`.
    """

    stack: str
    project: str | None
    zone: str | None
    settings: GcpSettings | None = None
    base_name: str | None = None
    problem: str | None = None
    in_cluster: bool = False
    of_bucket: bool = False
    registry: ModelRegistrySettings | None = None
    bucket: str = ""
    of_ci: bool = False
    ci: CiSettings | None = None


def read(stack: str, folder: Path = HERE) -> Configuration:
    """Return the configuration of `stack`, whose file lies in `folder`."""
    raw: Mapping[str, str] = {}
    settings: Settings | None = None
    base_name = problem = None
    in_cluster = of_bucket = of_ci = False
    bucket = ""
    try:
        raw = raw_values(file_of(stack, folder))
        program = choose(raw, stack.rsplit("/", 1)[-1])
        in_cluster = issubclass(program.schema, GkeSettings)
        of_bucket = issubclass(program.schema, ModelRegistrySettings)
        of_ci = issubclass(program.schema, CiSettings)
        settings = program.settings(raw)
        if isinstance(settings, GcpSettings):
            module = cast("_Module", import_module(f"stacks.{program.module}"))
            base_name = module.plan(settings, stack.rsplit("/", 1)[-1]).base_name
        elif isinstance(settings, ModelRegistrySettings):
            bucket = google_bucket(settings, stack.rsplit("/", 1)[-1])
    except ConfigurationError as error:
        problem = str(error.for_stack(stack))
    return Configuration(
        stack=stack,
        project=raw.get("gcp:project") or None,
        zone=raw.get("gcp:zone") or None,
        settings=settings if isinstance(settings, GcpSettings) else None,
        base_name=base_name,
        problem=problem,
        in_cluster=in_cluster,
        of_bucket=of_bucket,
        registry=settings if isinstance(settings, ModelRegistrySettings) else None,
        bucket=bucket,
        of_ci=of_ci,
        ci=settings if isinstance(settings, CiSettings) else None,
    )
