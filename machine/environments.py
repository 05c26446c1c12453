"""Virtual environments of hashed locks: made once, made anew where something else is wanted."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from machine.commands import Command, must
from machine.errors import Permanent, Temporary
from machine.files import write_whole
from machine.world import World

PYTHON = "/usr/bin/python3"
STAMP = ".llm-endpoint"

_MAKE_SECONDS = 300
_INSTALL_SECONDS = 1800
_HASH_MISMATCH = "DO NOT MATCH THE HASHES"


def stamp_of(*parts: str) -> str:
    """Return what tells one content of an environment from another, as 64 hex digits."""
    return hashlib.sha256("\0".join((platform.python_version(), *parts)).encode()).hexdigest()


def is_current(folder: Path, stamp: str) -> bool:
    """Whether the environment in `folder` was finished, and with the content of `stamp`."""
    try:
        return (folder / STAMP).read_text(encoding="ascii") == stamp
    except (OSError, ValueError):
        return False


def make(world: World, folder: Path) -> Path:
    """Return the Python of a fresh, empty environment in `folder`; what was there is gone."""
    words = (PYTHON, "-I", "-m", "venv", "--clear", str(folder))
    must(world.run, Command(f"making the environment {folder.name}", words, _MAKE_SECONDS))
    return folder / "bin" / "python"


def finish(world: World, folder: Path, stamp: str) -> None:
    """Say that `folder` has all of the content of `stamp`: without it, it is made anew."""
    # A machine whose power is cut off would else find the stamp, and empty files beside it.
    world.sync()
    write_whole(folder / STAMP, stamp)


def read_lock(lock: Path) -> str:
    """Return the text of a hashed lock; raises `Permanent` where it was not placed."""
    try:
        return lock.read_text(encoding="utf-8")
    except OSError as error:
        raise Permanent(f"{lock} can't be read: {error.strerror}") from None


def pip_install(
    world: World,
    python: Path,
    what: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    seconds: float = _INSTALL_SECONDS,
) -> None:
    """Install by pip, without its cache.

    Raises `Permanent` for a package that has another hash than its lock, else `Temporary`.
    """
    options = ("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--progress-bar=off")
    words = (str(python), "-I", "-m", "pip", "install", *options, *arguments)
    result = world.run(Command(what, words, seconds, environment or {}))
    if result.code == 0:
        return
    if any(_HASH_MISMATCH in line for line in result.log):
        raise Permanent(
            f"{what} failed: the package index gave a package that has another hash than its lock\n"
            "next: find out who serves packages to the machine; nothing of it was installed",
            result.log,
        )
    raise Temporary(
        f"{what} failed: pip ended with {result.code}\n"
        "next: it is tried again by itself; if it stays, see whether the machine reaches the "
        "package index and its disk has room",
        result.log,
    )


def pinned_wheels(lock: Path) -> tuple[str, ...]:
    """Return pip's arguments for a lock of which nothing has to be built here."""
    return ("--require-hashes", "--only-binary=:all:", f"--requirement={lock}")
