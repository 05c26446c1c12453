"""Stage `packages`: Debian packages that the others need, and the folder of the stages' records."""

from __future__ import annotations

from collections.abc import Sequence

from machine.commands import Command, must
from machine.config import Config
from machine.errors import Temporary
from machine.world import World

GATEWAY_USER = "llm-gateway"
"""Caddy and the key checker; its group may write records too."""

_LOCK_SECONDS = 300
_APT = ("apt-get", "-q", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS}", "-o", "Acquire::Retries=3")
_QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
_NEXT = (
    "next: it is tried again by itself; if it stays, see whether the machine reaches the archives "
    "of its distribution"
)


def run(config: Config, world: World) -> str:
    """Have `config.packages` installed, and what apt knows of the optional ones.

    Raises `Temporary` where apt can't.
    """
    records = str(world.paths.run / "status")
    words = ("install", "--directory", "--mode=0775", f"--group={GATEWAY_USER}", records)
    must(world.run, Command("opening the folder of records", words))
    lacking = _lacking(config.packages, world) or _optional(config, world)
    if not lacking:
        return f"{len(config.packages)} packages are there"
    world.say(f"installing {' '.join(lacking)}")
    # A boot that was cut off may have left dpkg in the middle, which refuses all else until then.
    world.run(
        Command("finishing earlier installations", ("dpkg", "--configure", "-a"), 600, _QUIETLY)
    )
    _apt(world, "reading the package lists", "update")
    # What the archives have is known from now on.
    lacking = (*_lacking(config.packages, world), *_optional(config, world))
    names = " ".join(lacking)
    _apt(world, f"installing {names}", "install", "-y", "--no-install-recommends", *lacking)
    if still := _lacking(lacking, world):
        raise Temporary(f"apt-get installed all but {' '.join(still)}\n{_NEXT}")
    return f"installed {names}"


def _optional(config: Config, world: World) -> tuple[str, ...]:
    """Return which of `config.optional_packages` lack, and are known to apt."""
    return tuple(
        name
        for name in _lacking(config.optional_packages, world)
        if world.run(Command(f"asking apt for {name}", ("apt-cache", "show", name))).code == 0
    )


def _apt(world: World, what: str, *words: str) -> None:
    result = world.run(Command(what, (*_APT, *words), 1800, _QUIETLY))
    if result.code != 0:
        raise Temporary(f"{what} failed: apt-get ended with {result.code}\n{_NEXT}", result.log)


def _lacking(packages: Sequence[str], world: World) -> tuple[str, ...]:
    if not packages:
        return ()
    words = ("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\\n", *packages)
    # It ends with 1 where it does not know one of them, and lists the others all the same.
    listed = world.run(Command("listing packages", words)).output
    return lacking(packages, listed)


def lacking(packages: Sequence[str], listed: str) -> tuple[str, ...]:
    """Return which of `packages` are not installed, from dpkg's lines of name and state.

    The second letter of a state is `i` for what is installed whole, wanted (`ii`) or held (`hi`).
    """
    lines = (line.split() for line in listed.splitlines())
    installed = {words[0] for words in lines if len(words) > 1 and words[1][1:] == "i"}
    return tuple(name for name in packages if name not in installed)
