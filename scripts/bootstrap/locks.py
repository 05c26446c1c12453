"""What an earlier `pulumi` left in a backend: locks, and the mark of a state that has moved."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.backend import held
from scripts.backend.held import Lock, Move
from scripts.backend.objects import Folder
from scripts.bootstrap import stack
from scripts.bootstrap.console import BootstrapError, note

if TYPE_CHECKING:
    from scripts.bootstrap.environment import Prepared

_MOVER = "scripts/bootstrap"
"""How the command line of a process ends in which this project's scripts move a state."""


def settle(ready: Prepared, name: str) -> bool:
    """Remove what a dead pulumi left locked of the stack `name`; whether there was one.

    Raises `BootstrapError` where a living one holds the stack, where its state has moved elsewhere,
    and where it has another one that Pulumi.yaml's backend would leave behind.
    """
    _refuse_left_behind(ready, name)
    locks = _locks(ready, name)
    # Machines that share a bucket may be called the same.
    user = held.this_user() if ready.backend.folder is None else None
    if not stale(locks, name, is_running_pulumi, this_host(), user):
        return False
    try:
        _remove(ready, name, [lock.name for lock in locks])
    except BootstrapError as error:
        raise BootstrapError(
            f"the lock of a pulumi that is gone can't be removed: {error.problem}",
            f"scripts/pulumi cancel --stack {name}",
        ) from None
    for lock in locks:
        note(
            f"Removed the lock of a pulumi that is gone (pid {lock.pid}, since {lock.timestamp}): "
            "going on from what it did."
        )
    return True


def refuse_old_copy(ready: Prepared, name: str) -> None:
    """Raise `BootstrapError` where the stack's state moves, or has moved, elsewhere.

    It changes nothing, and is for who only looks: an old copy would be taken for the stack.
    """
    _refuse_left_behind(ready, name)
    for lock in _locks(ready, name):
        if lock.move is not None:
            raise _moved(lock.move, name)


def _locks(ready: Prepared, name: str) -> list[Lock]:
    """Return the locks of a stack; none where its backend is no folder and no known bucket."""
    from scripts.backend import asking, place

    if ready.backend.folder is not None:
        return read(ready.backend.folder, name)
    if not ready.backend.url.startswith(("gs://", "s3://")):
        return []
    try:
        where = place.parse(ready.backend.url, ready.variables)
        found = asking.ask(ready.checkout, ready.variables, "locks", name, where)
    except BootstrapError as error:
        note(f"note: the locks of {name} can't be looked at: {error.problem}")
        return []
    return asking.locks_of(found)


def _remove(ready: Prepared, name: str, locks: Sequence[str]) -> None:
    """Remove these locks alone: `pulumi cancel` would another's too that has come since."""
    from scripts.backend import asking, place

    if ready.backend.folder is not None:
        held.remove(Folder(ready.backend.folder), name, locks)
    else:
        where = place.parse(ready.backend.url, ready.variables)
        asking.ask(ready.checkout, ready.variables, "unlock", name, where, *locks)


def _refuse_left_behind(ready: Prepared, name: str) -> None:
    """Raise `BootstrapError` where the checkout's own folder has a living state of the stack."""
    own = ready.checkout.state / "backend"
    if ready.backend.why != "Pulumi.yaml" or ready.backend.folder == own:
        return
    if not stack.in_folder(own, name):
        return
    url = ready.backend.url
    move = _move_of(own, name)
    if move is not None:
        _refuse_elsewhere(ready, name, own, move)
        return
    # What runs on this machine is nothing to share.
    local = stack.is_local(ready.checkout, name)
    stays = f"keep it here: export PULUMI_BACKEND_URL='file://{own}'; or " if local else ""
    raise BootstrapError(
        f"{name} has its state in {own}, and Pulumi.yaml names {ready.backend.shown}",
        f"{stays}move it: PULUMI_BACKEND_URL='file://{own}' scripts/state move {name} '{url}'; or "
        f"take it away: PULUMI_BACKEND_URL='file://{own}' scripts/down {name} --remove",
    )


def left_behind(ready: Prepared, name: str) -> bool:
    """Whether the checkout's own folder, which is not the backend, has the stack's living state."""
    own = ready.checkout.state / "backend"
    if ready.backend.folder == own or not stack.in_folder(own, name):
        return False
    move = _move_of(own, name)
    return move is None or move.step != "moved"


def _move_of(own: Path, name: str) -> Move | None:
    return next((lock.move for lock in read(own, name) if lock.move is not None), None)


def _refuse_elsewhere(ready: Prepared, name: str, own: Path, move: Move) -> None:
    """Raise `BootstrapError` where a stack that left the own folder would be made a second time."""
    if move.step != "moved":
        raise BootstrapError(
            f"the state of {name} is being moved from {own} to {move.to}, or that was broken off",
            f"wait for it; if nobody does it any more: PULUMI_BACKEND_URL='file://{own}' "
            f"scripts/state move {name} '{move.to}', which goes on",
        )
    # It may have moved on from there since.
    if not _one_place(ready, move.to) and not stack.exists(
        ready.checkout, name, ready.backend, ready.cli, ready.variables
    ):
        raise BootstrapError(
            f"{name} has moved to {move.to}, and Pulumi.yaml names {ready.backend.shown}, which "
            "has no such stack",
            f"have Pulumi.yaml name that one; or move it: PULUMI_BACKEND_URL='{move.to}' "
            f"scripts/state move {name} '{ready.backend.url}'; or, if it is gone for good: "
            f"PULUMI_BACKEND_URL='file://{own}' scripts/pulumi cancel --stack {name}, and likewise "
            f"stack rm {name} --force --preserve-config",
        )


def _one_place(ready: Prepared, url: str) -> bool:
    """Whether `url` names the backend, however it is written."""
    from scripts.backend import place

    try:
        here, there = (place.parse(one, ready.variables) for one in (ready.backend.url, url))
    except BootstrapError:
        return ready.backend.url == url
    return here.identity == there.identity


def read(backend: Path, stack_name: str) -> list[Lock]:
    """Return the stack's locks in the backend in the folder `backend`."""
    return held.locks(Folder(backend), stack_name)


def stale(
    locks: Sequence[Lock],
    stack_name: str,
    runs: Callable[[int], bool],
    hostname: str,
    username: str | None = None,
) -> bool:
    """Whether the stack has locks and nobody holds them any more: all are to be removed.

    `runs` tells whether a process of this machine, called `hostname`, is a living `pulumi`. With
    `username` a lock is this machine's only if that user made it.
    Raises `BootstrapError` where one is held, or by another machine and so not known; and where
    the state moves, or has moved, elsewhere.
    """
    for lock in locks:
        if lock.move is not None:
            raise _moved(lock.move, stack_name)
        if lock.hostname != hostname or username not in (None, lock.username):
            raise BootstrapError(
                f"the stack {stack_name} is locked by {lock.username}@{lock.hostname} "
                f"(pid {lock.pid}, since {lock.timestamp})",
                "wait for it; if that pulumi is gone (also when this machine was called so "
                f"then): scripts/pulumi cancel --stack {stack_name}",
            )
        if runs(lock.pid):
            raise BootstrapError(
                f"another pulumi (pid {lock.pid}, since {lock.timestamp}) is working on the "
                f"stack {stack_name}",
                f"wait for it, or end it (kill -INT {lock.pid}), and try again",
            )
    return bool(locks)


def _moved(move: Move, name: str) -> BootstrapError:
    if move.step == "moved":
        return BootstrapError(
            f"the state of {name} is not here any more: it has been moved to {move.to}",
            f"put `backend: {{url: '{move.to}'}}` into Pulumi.yaml, or set "
            f"PULUMI_BACKEND_URL='{move.to}'",
        )
    return BootstrapError(
        f"the state of {name} is being moved to {move.to}, or that was broken off",
        f"wait for it; if nobody does it any more: scripts/state move {name} '{move.to}' goes on, "
        f"and scripts/pulumi cancel --stack {name} gives it up",
    )


def is_running_pulumi(pid: int) -> bool:
    """Whether the process `pid` lives and is a `pulumi`; pids are used again."""
    return any(Path(word).name == "pulumi" for word in _command_line(pid)[:1])


def lives(lock: Lock) -> bool:
    """Whether what holds a lock of this machine lives: a pulumi, or what moves the state."""
    if lock.move is None:
        return is_running_pulumi(lock.pid)
    return any(word.endswith(_MOVER) for word in _command_line(lock.pid)[:3])


def _command_line(pid: int) -> list[str]:
    """Return the words with which a process was started; none where there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return []
    except PermissionError:
        pass
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        asked = subprocess.run(
            ["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
        )
        words = asked.stdout.split()
    return words


def this_host() -> str:
    """Return this machine's name as locks have it."""
    return socket.gethostname()
