"""What an earlier `pulumi` left in a backend in a folder: locks, and operations half done."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import PROJECT, read_object


@dataclass(frozen=True)
class Lock:
    """One lock of a stack, as Pulumi writes it; `timestamp` to the second."""

    pid: int
    username: str
    hostname: str
    timestamp: str


def read(backend: Path, stack: str) -> list[Lock]:
    """Return the stack's locks in the backend in the folder `backend`.

    The layout is that of Pulumi's diy backend: a JSON file each, under the organization
    `organization`.
    """
    folder = backend / ".pulumi" / "locks" / "organization" / PROJECT / stack.rsplit("/", 1)[-1]
    locks: list[Lock] = []
    for file in sorted(folder.glob("*.json")):
        content = read_object(file)
        pid = content.get("pid")
        if isinstance(pid, int):
            username, hostname, timestamp = (
                str(content.get(name, "?")) for name in ("username", "hostname", "timestamp")
            )
            locks.append(Lock(pid, username, hostname, timestamp.partition(".")[0]))
    return locks


def stale(locks: Sequence[Lock], stack: str, runs: Callable[[int], bool], hostname: str) -> bool:
    """Whether the stack has locks and nobody holds them any more: all are to be removed.

    `runs` tells whether a process of this machine, called `hostname`, is a living `pulumi`.
    Raises `BootstrapError` where one is held, or by another machine and so not known.
    """
    for lock in locks:
        if lock.hostname != hostname:
            raise BootstrapError(
                f"the stack {stack} is locked by {lock.username}@{lock.hostname} "
                f"(pid {lock.pid}, since {lock.timestamp})",
                "wait for it; if that pulumi is gone (also when this machine was called so "
                f"then): scripts/pulumi cancel --stack {stack}",
            )
        if runs(lock.pid):
            raise BootstrapError(
                f"another pulumi (pid {lock.pid}, since {lock.timestamp}) is working on the "
                f"stack {stack}",
                f"wait for it, or end it (kill -INT {lock.pid}), and try again",
            )
    return bool(locks)


def is_running_pulumi(pid: int) -> bool:
    """Whether the process `pid` lives and is a `pulumi`; pids are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        program = (
            Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0", 1)[0].decode(errors="replace")
        )
    except OSError:
        asked = subprocess.run(
            ["ps", "-p", str(pid), "-o", "comm="], capture_output=True, text=True, check=False
        )
        program = asked.stdout.strip()
    return Path(program).name == "pulumi"


def this_host() -> str:
    """Return this machine's name as locks have it."""
    return socket.gethostname()
