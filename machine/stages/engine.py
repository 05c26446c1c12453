"""Stage `engine`: the program of each engine, in a virtual environment or a container image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from machine import environments, sources
from machine.config import Config, Container, Engine, Environment, Source
from machine.errors import Permanent, Temporary
from machine.stages import images
from machine.world import World
from scripts.serve import llama_build
from scripts.serve.errors import ServeError

NATIVE = "native"
"""The lock of llama.cpp's sources: `bin/llama-server` is built from them."""

_COMPILER_BYTES = 1_500_000_000
_BUILD_SECONDS = 60 * 60

BuildServer = Callable[[llama_build.Build, Callable[[str], None]], None]


def run(config: Config, world: World, build_server: BuildServer = llama_build.build) -> str:
    """Have every engine installed from its lock or image; raises `Temporary` or `Permanent`."""
    return "; ".join(
        _have(name, engine, world, build_server) for name, engine in config.engines.items()
    )


def _have(name: str, engine: Engine, world: World, build_server: BuildServer) -> str:
    match engine:
        case Environment():
            return _install(name, engine, world, build_server)
        case Container():
            return images.have(name, engine, world)


def _install(name: str, engine: Environment, world: World, build_server: BuildServer) -> str:
    folder = world.paths.engine(name)
    lock = world.paths.requirements(engine.requirements)
    builders = world.paths.requirements(f"{engine.requirements}-build")
    locks = [environments.read_lock(each) for each in (lock, builders) if each.exists()]
    compiled = builders.exists() or engine.requirements == NATIVE
    # A stopped machine may start again on another processor, for which the build would be wrong.
    processor = processor_features(world) if compiled else ""
    stamp = environments.stamp_of(*locks, processor, repr(engine.source))
    if not locks or not lock.exists():
        raise Permanent(f"{lock} was not placed on the machine")
    if environments.is_current(folder, stamp):
        return f"{name} is there"
    world.say(f"installing {name}")
    python = environments.make(world, folder)
    if engine.requirements == NATIVE:
        _build_native(folder, python, lock, world, build_server)
    elif compiled:
        _compile(name, python, lock, builders, world)
    else:
        environments.pip_install(
            world, python, f"installing {name}", *environments.pinned_wheels(lock)
        )
    if engine.source is not None:
        _install_source(name, folder, python, engine.source, world)
    environments.finish(world, folder, stamp)
    return f"installed {name}"


def processor_features(world: World) -> str:
    """Return what this processor can do, as the kernel lists it; empty where it does not."""
    place = world.paths.root / "proc/cpuinfo"
    try:
        lines = place.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _jobs(world: World) -> int:
    return max(1, min(world.processors, world.memory_bytes() // _COMPILER_BYTES))


def _compile(name: str, python: Path, lock: Path, builders: Path, world: World) -> None:
    """Install a lock of which some is compiled here, with the pinned tools that do it."""
    environments.pip_install(
        world,
        python,
        f"installing what builds {name}",
        *environments.pinned_wheels(builders),
        "--no-deps",
    )
    environments.pip_install(
        world,
        python,
        f"building {name}",
        *("--require-hashes", "--no-deps", "--no-build-isolation", f"--requirement={lock}"),
        environment={
            "CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF",
            "CMAKE_BUILD_PARALLEL_LEVEL": str(_jobs(world)),
            # The tools are programs of the environment, which is not activated.
            "PATH": f"{python.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        },
        seconds=_BUILD_SECONDS,
    )


def _build_native(
    folder: Path, python: Path, lock: Path, world: World, build_server: BuildServer
) -> None:
    try:
        build_server(
            llama_build.Build(folder / "bin" / "llama-server", str(python), lock, _jobs(world)),
            world.say,
        )
    except ServeError as error:
        first, *log = str(error).splitlines()
        raise Temporary(first, log) from None


def _install_source(name: str, folder: Path, python: Path, source: Source, world: World) -> None:
    checkout = folder / "source"
    checkout.mkdir()
    tree = sources.fetch(source, checkout, world)
    environments.pip_install(
        world,
        python,
        f"installing {name}'s own source",
        *("--no-deps", "--no-build-isolation", "--use-pep517"),
        str(tree),
    )
