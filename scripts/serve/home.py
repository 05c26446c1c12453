"""The folder that holds one server's record, log and keys, and the lock that guards it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from components.rendering.process import LOG_NAME, RECORD_NAME
from scripts.serve.errors import ServeError

KEYS_NAME = "keys"
PORT_NAME = "port"
OLD_LOG_NAME = f"{LOG_NAME}.1"
LOCK_NAME = "lock"
LOCK_SECONDS = 60.0

_WRITTEN_WHOLE = (RECORD_NAME, KEYS_NAME, PORT_NAME)
_OURS = (
    *_WRITTEN_WHOLE,
    *(f"{name}.new" for name in _WRITTEN_WHOLE),
    *(LOG_NAME, OLD_LOG_NAME, LOCK_NAME),
)


def make(home: Path) -> None:
    """Make the folder, readable by its owner alone."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)


def remove(home: Path) -> None:
    """Remove what we put there, and the folder unless it holds something else."""
    for name in _OURS:
        (home / name).unlink(missing_ok=True)
    try:
        home.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        kept = ", ".join(sorted(entry.name for entry in home.iterdir()))
        raise ServeError(
            f"{home} is kept, since it holds files that are not ours: {kept}\n"
            "next: move them away and try again"
        ) from None


@contextmanager
def locked(home: Path) -> Generator[None]:
    """Hold the folder's lock; raises `ServeError` after 60 s in which another holds it."""
    make(home)
    deadline = time.monotonic() + LOCK_SECONDS
    with (home / LOCK_NAME).open("w", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServeError(
                        f"another program has worked on {home} for {LOCK_SECONDS:.0f} s\n"
                        "next: wait for it, or end it, and try again"
                    ) from None
                time.sleep(0.1)
        yield


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` whole or not at all, readable by its owner alone."""
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)
