"""Stage `tools`: the virtual environment of the `model` stage and of the gateway."""

from __future__ import annotations

from machine import environments
from machine.config import Config
from machine.world import World

LOCK = "machine"


def run(_config: Config, world: World) -> str:
    """Have the lock `machine` installed."""
    folder, lock = world.paths.tools, world.paths.requirements(LOCK)
    stamp = environments.stamp_of(environments.read_lock(lock))
    if environments.is_current(folder, stamp):
        return "the tools are there"
    world.say("installing the tools")
    python = environments.make(world, folder)
    environments.pip_install(
        world, python, "installing the tools", *environments.pinned_wheels(lock)
    )
    environments.finish(world, folder, stamp)
    return "installed the tools"
