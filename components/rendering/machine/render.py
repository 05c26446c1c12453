"""A plan made what a machine is given: the same bytes for the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.rendering.machine.engines import check, containers, installations, packages
from components.rendering.machine.modules import closure
from components.rendering.machine.places import (
    CADDY_BUILD,
    CADDYFILE,
    CHECKOUT,
    DOCKER_DAEMON,
    FILES,
    KEPT_DRIVER,
    LIB,
    NVIDIA_ARCHIVE,
    NVIDIA_KEY,
    REQUIREMENTS,
    SETTINGS,
)
from components.rendering.machine.plan import MachinePlan, Tls
from components.rendering.machine.rendered import MachineFile, RenderedMachine
from components.rendering.machine.settings import machine_json
from components.rendering.machine.units import units
from components.rendering.machine.user_data import user_data

_CADDYFILES = {Tls.OWN_CA: "Caddyfile.own-ca", Tls.ACME: "Caddyfile.acme"}
_LOCKS_OF_EVERY_MACHINE = ("go", "machine")


def render(plan: MachinePlan) -> RenderedMachine:
    """Return everything that the machine of `plan` is handed.

    Raises ValueError for a plan that no machine can carry out: a launch with a word that no unit
    can hold, or that wants keys in a file, engines that it can't have (`engines.check`), and a lock
    or module that this project lacks.
    """
    check(plan)
    files = (
        MachineFile(SETTINGS, machine_json(plan)),
        MachineFile(CADDYFILE, _read(FILES / _CADDYFILES[plan.tls])),
        *_docker(plan),
        *units(plan),
        *_caddy_build(),
        *_locks(plan),
        *_modules(plan),
    )
    return RenderedMachine(
        files=files,
        user_data=user_data(files, packages(plan)),
        startup_script=_read(FILES / "startup-script.sh"),
    )


def _docker(plan: MachinePlan) -> Iterable[MachineFile]:
    """Yield what has to be there before Docker's package comes, whose first start reads it."""
    if not containers(plan):
        return
    yield MachineFile(DOCKER_DAEMON, _read(FILES / "docker-daemon.json"))
    if plan.gpus is not None:
        yield MachineFile(NVIDIA_KEY, _read(FILES / "nvidia-container-toolkit.asc"))
        yield MachineFile(NVIDIA_ARCHIVE, _read(FILES / "nvidia-container-toolkit.list"))
        yield MachineFile(KEPT_DRIVER, _read(FILES / "apt-keep-driver.conf"))


def _caddy_build() -> Iterable[MachineFile]:
    for path in sorted((FILES / "caddy-build").iterdir()):
        yield MachineFile(f"{CADDY_BUILD}/{path.name}", _read(path))


def _locks(plan: MachinePlan) -> Iterable[MachineFile]:
    """Yield the locks by name, and for those that are built the lock of what builds them."""
    for name in sorted({*_LOCKS_OF_EVERY_MACHINE, *(i.requirements for i in installations(plan))}):
        lock = CHECKOUT / "requirements" / f"{name}.txt"
        if not lock.is_file():
            raise ValueError(
                f"requirements/{name}.txt, which an engine is installed from, is not there: "
                "write its .in and run scripts/lock"
            )
        for path in (lock, lock.with_name(f"{name}-build.txt")):
            if path.is_file():
                yield MachineFile(f"{REQUIREMENTS}/{path.name}", _read(path))


def _modules(plan: MachinePlan) -> Iterable[MachineFile]:
    named = {module for installation in installations(plan) for module in installation.modules}
    for name, path in sorted(closure(sorted(named)).items()):
        yield MachineFile(f"{LIB}/{name}", _read(path))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
