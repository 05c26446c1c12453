"""Git repositories at one commit."""

from __future__ import annotations

from pathlib import Path

from machine.commands import Command, must
from machine.config import Source
from machine.errors import Permanent
from machine.world import World

_FETCH_SECONDS = 600


def fetch(source: Source, checkout: Path, world: World) -> Path:
    """Check `source` out into the empty folder `checkout`, and return its subdirectory there.

    Raises `Temporary` where it can't be had, and `Permanent` where another commit came.
    """
    from_origin = ("fetch", "--quiet", "--depth=1", source.url, source.commit)
    for words in (("init", "--quiet"), from_origin, ("checkout", "--quiet", "FETCH_HEAD")):
        command = Command(f"fetching {source.url}", ("git", *words), _FETCH_SECONDS, {}, checkout)
        must(world.run, command)
    head = Command("asking for the commit", ("git", "rev-parse", "HEAD"), folder=checkout)
    commit = must(world.run, head).output.strip()
    if commit != source.commit:
        raise Permanent(f"{source.url} gave commit {commit}, and {source.commit} is pinned")
    return checkout / source.subdirectory
