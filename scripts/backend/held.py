"""Who holds a stack: the locks of a backend, the engine's own and that of a state that moves.

A state that has moved leaves a lock that stays. Every engine honours it, also one of an older
checkout or of another machine: nobody goes on with the old copy by mistake.
"""

from __future__ import annotations

import getpass
import json
import os
import pwd
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias, cast, get_args

from scripts.backend.layout import lock_folder
from scripts.backend.objects import Objects, ObjectThere

Step: TypeAlias = Literal["copying", "copied", "moved"]
"""How far a move is. From `copied` on the target is what counts."""

_NAME = "llm-endpoint-move.json"
_KEY = "llm_endpoint_move"


@dataclass(frozen=True)
class Move:
    """Where a state goes, or has gone: the backend's URL, and how far it is.

    `provider` is what its secrets are to be encrypted by there, None where that stays: whoever goes
    on with a move that was broken off goes on with it.
    """

    to: str
    step: Step
    provider: str | None = None


@dataclass(frozen=True)
class Lock:
    """One lock of a stack, as Pulumi writes it; `timestamp` to the second.

    `move` is None unless it is the lock of a state that moves; `name` is the lock's object.
    """

    pid: int
    username: str
    hostname: str
    timestamp: str
    move: Move | None = None
    name: str = field(default="", compare=False)


def parse(content: bytes | str) -> Lock | None:
    """Read a lock; None where it is none, such as one that is just being written."""
    try:
        read: object = json.loads(content)
    except ValueError:
        return None
    return _lock(cast("dict[str, object]", read)) if isinstance(read, dict) else None


def _lock(lock: dict[str, object]) -> Lock | None:
    pid = lock.get("pid")
    if not isinstance(pid, int):
        return None
    username, hostname, timestamp = (
        str(lock.get(name, "?")) for name in ("username", "hostname", "timestamp")
    )
    return Lock(pid, username, hostname, timestamp.partition(".")[0], _move(lock.get(_KEY)))


def _move(value: object) -> Move | None:
    if not isinstance(value, dict):
        return None
    read = cast("dict[str, object]", value)
    step, provider = read.get("step"), read.get("provider")
    if step not in get_args(Step):
        return None
    return Move(str(read.get("to", "")), cast("Step", step), str(provider) if provider else None)


def locks(objects: Objects, stack: str) -> list[Lock]:
    """Return the locks of a stack, in the order of their names. Raises `BootstrapError`."""
    names = objects.names(lock_folder(stack))
    found = ((name, objects.read(name)) for name in names)
    read = ((name, parse(content)) for name, content in found if content is not None)
    return [replace(lock, name=name) for name, lock in read if lock is not None]


def write_move(objects: Objects, stack: str, move: Move, pid: int, *, only_new: bool) -> bool:
    """Write the lock of a move that the process `pid` does; False where there was one.

    The engine's message says who made a lock as NAME@HOST: of one that stays, where the state is.
    """
    moved = move.step == "moved"
    content = {
        "pid": 0 if moved else pid,
        "username": "scripts/state" if moved else this_user(),
        "hostname": f"moved to {move.to}" if moved else socket.gethostname(),
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        _KEY: {"to": move.to, "step": move.step, "provider": move.provider},
    }
    data = json.dumps(content).encode()
    try:
        objects.write(lock_folder(stack) + _NAME, data, only_new=only_new)
    except ObjectThere:
        return False
    return True


def remove(objects: Objects, stack: str, names: Iterable[str]) -> list[str]:
    """Remove the stack's locks in the objects `names` and no other; which those were."""
    own = [name for name in names if name.startswith(lock_folder(stack))]
    for name in own:
        objects.delete(name)
    return own


def remove_move(objects: Objects, stack: str) -> None:
    """Remove the lock of a move."""
    objects.delete(lock_folder(stack) + _NAME)


def this_user() -> str:
    """Return the user's name as the engine's locks have it; `?` where there is none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        pass
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "?"
