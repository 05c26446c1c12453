"""The packages that our programs in pods import, from a hashed lock into a folder of a volume.

`python -m machine.pod.packages --lock FILE --into DIR`. Of the standard library alone, since it
runs before there is anything else. Exit status 0: they are there. 75: another try may do. 78: it
stays as it is until a person changes something.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from machine.commands import Command, Run, runner
from machine.errors import Permanent, Temporary
from machine.files import write_whole
from machine.pod.ending import run_stage, stop_on_sigterm
from machine.pod.told import Told, to_log

STAGE = "packages"
STAMP = ".llm-endpoint"
PAUSES_SECONDS = (5.0, 20.0, 60.0)
"""Between the tries of one run."""

_FRESH = ".fresh"
_INSTALL_SECONDS = 900
_HASH_MISMATCH = "DO NOT MATCH THE HASHES"
_NO_ROOM = ("No space left on device", "Disk quota exceeded")


def stamp_of(lock: bytes) -> str:
    """Return what tells one content of the folder from another: of the lock, and of this Python."""
    python = f"{sys.implementation.cache_tag} {platform.machine()} {'/'.join(platform.libc_ver())}"
    return hashlib.sha256(python.encode() + b"\0" + lock).hexdigest()


def ensure_packages(
    lock: Path,
    into: Path,
    say: Callable[[str], None],
    run: Run,
    *,
    sync: Callable[[], None] = os.sync,
) -> str:
    """Have what `lock` pins in the folder `into`, and return in words what was done.

    Needs no network where they are there. What an earlier run left half done is made anew. Raises
    `Permanent` for a package of another hash, a lock that can't be read and a volume without room,
    else `Temporary`.
    """
    try:
        stamp = stamp_of(lock.read_bytes())
    except OSError as error:
        raise Permanent(f"{lock} can't be read: {error.strerror}") from None
    if _is_current(into, stamp):
        return "the packages are there"
    say("installing the packages")
    fresh = into / _FRESH
    try:
        _empty(into)
        _install(lock, fresh, run)
        for path in sorted(fresh.iterdir()):
            path.rename(into / path.name)
        fresh.rmdir()
        # A node that is lost would else leave the stamp, and empty files beside it.
        sync()
        write_whole(into / STAMP, stamp)
    except OSError as error:
        raise Temporary(f"{error.filename or into}: {error.strerror}") from None
    return "installed the packages"


def _is_current(folder: Path, stamp: str) -> bool:
    try:
        return (folder / STAMP).read_text(encoding="ascii") == stamp
    except (OSError, ValueError):
        return False


def _empty(folder: Path) -> None:
    """Empty `folder`, the stamp first: it may be a volume's own, which can't be replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _install(lock: Path, target: Path, run: Run) -> None:
    words = (
        *(sys.executable, "-I", "-m", "pip", "install", "--no-input", "--no-cache-dir"),
        *("--disable-pip-version-check", "--progress-bar=off", "--no-deps"),
        *("--require-hashes", "--only-binary=:all:", f"--requirement={lock}", f"--target={target}"),
    )
    result = run(Command("installing the packages", words, _INSTALL_SECONDS))
    if result.code == 0:
        return
    if any(_HASH_MISMATCH in line for line in result.log):
        raise Permanent(
            "the package index gave a package that has another hash than its lock\n"
            "next: find out who serves packages to the cluster; nothing of it was installed",
            result.log,
        )
    if any(text in line for line in result.log for text in _NO_ROOM):
        raise Permanent(
            "the volume has no room for the packages\n"
            "next: set cache_gb higher, which makes larger volumes",
            result.log,
        )
    raise Temporary(
        f"pip ended with {result.code}\n"
        "next: it is tried again by itself; if it stays, see whether the pods reach the package "
        "index: private nodes need Cloud NAT",
        result.log,
    )


def ensure_with_patience(
    lock: Path,
    into: Path,
    say: Callable[[str], None],
    run: Run,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Have the packages as `ensure_packages` does, trying again after `PAUSES_SECONDS`."""
    for pause in PAUSES_SECONDS:
        try:
            return ensure_packages(lock, into, say, run)
        except Temporary as error:
            say(f"{error.message.splitlines()[0]}; trying again in {pause:.0f} s")
            sleep(pause)
    return ensure_packages(lock, into, say, run)


def main(arguments: Sequence[str]) -> int:
    """Have the packages, and return the exit status."""
    parser = argparse.ArgumentParser(prog="machine.pod.packages", description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="the hashed lock")
    parser.add_argument("--into", type=Path, required=True, help="the folder, for PYTHONPATH")
    options = parser.parse_args(arguments)
    stop_on_sigterm()
    told = Told(to_log)
    return run_stage(
        STAGE,
        lambda say: ensure_with_patience(options.lock, options.into, say, runner(say)),
        told,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
