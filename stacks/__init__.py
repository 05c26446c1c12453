"""What can be deployed: each program beside its documented defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import pulumi
import yaml

from components.compose import UnsupportedCombinationError
from components.settings import (
    NAMESPACE,
    CiSettings,
    ConfigurationError,
    CpuVmSettings,
    GkeColabSettings,
    GkeOvmsSettings,
    GpuVmSettings,
    LocalSettings,
    ModelRegistrySettings,
    Settings,
    load,
)

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Program:
    """One thing that can be deployed: its settings' schema, and the module that deploys it."""

    name: str
    schema: type[Settings]
    module: str

    def defaults(self) -> dict[str, object]:
        """Return the program's documented defaults, bare key -> value."""
        text = (HERE / f"{self.module}.yaml").read_text(encoding="utf-8")
        return yaml.safe_load(text) or {}

    def settings(self, raw: Mapping[str, object]) -> Settings:
        """Return the settings of `raw` over the defaults; raises `ConfigurationError`."""
        return load(self.schema, raw, self.defaults())

    def deploy(self, settings: Settings) -> Mapping[str, object]:
        """Register the program's resources and return the stack's outputs.

        What the configuration says that nobody here can judge is a warning.
        """
        for warning in settings.warnings():
            pulumi.log.warn(warning)
        deploy: Callable[[Settings], Mapping[str, object]]
        deploy = import_module(f"stacks.{self.module}").deploy
        try:
            return deploy(settings)
        except UnsupportedCombinationError as refused:
            raise ConfigurationError(str(refused)) from None


PROGRAMS = {
    program.name: program
    for program in (
        Program("local", LocalSettings, "local"),
        Program("cpu-vm", CpuVmSettings, "cpu_vm"),
        Program("gpu-vm", GpuVmSettings, "gpu_vm"),
        Program("gke-ovms", GkeOvmsSettings, "gke_ovms"),
        Program("gke-colab", GkeColabSettings, "gke_colab"),
        Program("model-registry", ModelRegistrySettings, "model_registry"),
        Program("ci", CiSettings, "ci"),
    )
}


def choose(raw: Mapping[str, object], stack: str) -> Program:
    """Return the program that the key `program` names, or else the one of the stack's own name.

    Raises `ConfigurationError` that lists the programs where neither is one.
    """
    named = raw.get("program")
    name = stack if named is None else str(named)
    program = PROGRAMS.get(name)
    if program is not None:
        return program
    what = (
        f"{NAMESPACE}:program is {name!r}, which is no program"
        if named is not None
        else f"{NAMESPACE}:program is not set, and the stack's name {name!r} is no program's"
    )
    near = get_close_matches(name, PROGRAMS, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ConfigurationError(
        f"{what}{hint}: the programs are {', '.join(sorted(PROGRAMS))}\n"
        f"    next: scripts/pulumi config set program {near[0] if near else 'local'}"
    )
