"""One stack's state copied to another backend: whole, compared by digest, and with its history.

While it lasts the source is locked, as the engine locks it. It can be broken off at any moment:
the checkpoint, which makes the stack be there, is written last, and whoever runs it again goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from scripts.backend import held, layout
from scripts.backend.held import Lock, Move
from scripts.backend.layout import Files
from scripts.backend.objects import Objects, ObjectThere
from scripts.backend.place import Place
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import PROJECT

_AT_ONCE = 8

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Side:
    """A backend, opened."""

    place: Place
    objects: Objects


@dataclass(frozen=True)
class Mover:
    """The process that moves: its pid, its machine, and who of that machine's still lives."""

    pid: int
    hostname: str
    lives: Callable[[Lock], bool]


@dataclass(frozen=True)
class Carried:
    """How much of a stack lies at the target now: objects of any kind, updates of its history.

    `provider` is what its secrets are to be encrypted by there; None where that stays.
    """

    objects: int
    updates: int
    resources: int
    provider: str | None = None


def carry(
    source: Side, target: Side, stack: str, mover: Mover, provider: str | None = None
) -> Carried:
    """Copy the state of `stack` from `source` to `target` and leave the source locked.

    Where an earlier copy was broken off it goes on, with its `provider` unless one is given; where
    it was whole nothing is written again. Raises `BootstrapError`; the source is as it was then.
    """
    with _hold(source, target, stack, mover, provider) as move:
        if move.step == "copied":
            return _told(target, layout.files(target.objects, stack), move)
        layout.require_layout(
            source.objects.read(layout.META), source.place.shown, empty_will_do=False
        )
        layout.require_layout(
            target.objects.read(layout.META), target.place.shown, empty_will_do=True
        )
        files = layout.files(source.objects, stack)
        if files.current is None:
            raise BootstrapError(
                f"{source.place.shown} has no stack {layout.short(stack)}",
                "name one that it has: scripts/pulumi stack ls",
            )
        content = _read(source.objects, files.current)
        if layout.read_checkpoint(files.current, content).pending:
            raise BootstrapError(
                f"the last update of {stack} was cut off: its state has operations that were "
                "begun and not ended",
                f"scripts/up {stack}, which mends it, then the same again",
            )
        there = layout.files(target.objects, stack)
        if there.current is not None:
            _refuse_another(source, target, stack, files, there)
        if target.objects.read(layout.META) is None:
            target.objects.write(layout.META, _read(source.objects, layout.META))
        _copy(source.objects, target.objects, files.before_current)
        _put_current(target, stack, files.current, content, there)
        _require_unchanged(source, stack, files.current, content, mover)
        # What the target had become of an earlier move of this very stack. It goes before the copy
        # is told whole: who goes on from there looks for no mark.
        held.remove_move(target.objects, stack)
        held.write_move(
            source.objects, stack, replace(move, step="copied"), mover.pid, only_new=False
        )
    return _told(target, layout.files(target.objects, stack), move)


def leave(source: Side, target: Place, stack: str) -> None:
    """Mark the source: its copy is an old one, and the state is at `target`."""
    held.write_move(source.objects, stack, Move(target.url, "moved"), 0, only_new=False)


@contextmanager
def _hold(
    source: Side, target: Side, stack: str, mover: Mover, provider: str | None
) -> Generator[Move]:
    """Lock the stack at the source, as the engine does: look, write a lock, look again.

    Once something fails the lock is removed, unless the copy was whole before.
    """
    objects = source.objects
    before = held.locks(objects, stack)
    _refuse_held(before, stack)
    going = next((lock for lock in before if lock.move is not None), None)
    move = Move(target.place.url, "copying", provider)
    if going is not None and going.move is not None:
        _refuse_other_move(going, going.move, stack, target.place, mover)
        move = replace(going.move, provider=provider or going.move.provider)
    if not held.write_move(objects, stack, move, mover.pid, only_new=going is None):
        raise BootstrapError(
            f"another scripts/state has just begun to move {stack}", "wait for it, and try again"
        )
    try:
        _refuse_held(held.locks(objects, stack), stack)
        yield move
    except BaseException:
        if move.step == "copying":
            held.remove_move(objects, stack)
        raise


def _refuse_held(locks: Sequence[Lock], stack: str) -> None:
    """Raise `BootstrapError` where a pulumi holds the stack, or one that is gone has held it."""
    for lock in locks:
        if lock.move is None:
            raise BootstrapError(
                f"the stack {stack} is locked by {lock.username}@{lock.hostname} "
                f"(pid {lock.pid}, since {lock.timestamp})",
                f"wait for it; if that pulumi is gone: scripts/pulumi cancel --stack {stack}",
            )


def _refuse_other_move(lock: Lock, move: Move, stack: str, target: Place, mover: Mover) -> None:
    """Raise `BootstrapError` unless the move in `lock` was this one's, broken off."""
    if move.step == "moved":
        raise BootstrapError(
            f"the state of {stack} is not here any more: it has been moved to {move.to}",
            f"go on from there: PULUMI_BACKEND_URL='{move.to}'",
        )
    whose = f"{lock.username}@{lock.hostname} (pid {lock.pid}, since {lock.timestamp})"
    if lock.hostname != mover.hostname or (lock.pid != mover.pid and mover.lives(lock)):
        raise BootstrapError(
            f"the state of {stack} is being moved to {move.to} by {whose}",
            "wait for it; if that one is gone, run the same there again, or give that move up: "
            f"scripts/pulumi cancel --stack {stack}",
        )
    if move.to != target.url:
        raise BootstrapError(
            f"a move of {stack} to {move.to} was broken off",
            f"end it: scripts/state move {stack} '{move.to}'; or give it up: scripts/pulumi cancel "
            f"--stack {stack}",
        )


def _refuse_another(source: Side, target: Side, stack: str, files: Files, there: Files) -> None:
    """Raise `BootstrapError` unless the target's stack is an old copy of the source's.

    It is one where nobody holds it and each update of its history is in the source's too.
    """
    _refuse_held(held.locks(target.objects, stack), stack)
    ours, theirs = _entries(files), _entries(there)
    same = bool(theirs) and theirs.keys() <= ours.keys()
    if same:
        pairs = [(ours[entry], theirs[entry]) for entry in theirs]
        same = all(_each(lambda pair: _same(source, target, *pair), pairs))
    elif files.current and there.current and not theirs:
        same = _same(source, target, files.current, there.current)
    if not same:
        name = layout.short(stack)
        raise BootstrapError(
            f"{target.place.shown} has a stack {name} already, and it is no old copy of this one",
            f"take another place, or remove it there: PULUMI_BACKEND_URL='{target.place.url}' "
            f"scripts/pulumi stack rm {name}",
        )


def _same(source: Side, target: Side, ours: str, theirs: str) -> bool:
    return source.objects.read(ours) == target.objects.read(theirs)


def _entries(files: Files) -> dict[str, str]:
    """Return the history's updates: the name of each without its folder, and its object."""
    return {name.rpartition("/")[2]: name for name in files.history if ".history.json" in name}


def _copy(source: Objects, target: Objects, names: Sequence[str]) -> None:
    """Copy objects; what is there already as it should be is not written again."""

    def one(name: str) -> None:
        content = _read(source, name)
        if target.read(name) != content:
            target.write(name, content)
            _compare(target, name, content)

    _each(one, names)


def _put_current(target: Side, stack: str, current: str, content: bytes, there: Files) -> None:
    """Write the checkpoint, and keep the one that it takes the place of."""
    if there.current is not None:
        old = _read(target.objects, there.current)
        if old != content:
            name = layout.short(stack)
            ending = there.current.rpartition(f"/{name}")[2]
            kept = f".pulumi/backups/{PROJECT}/{name}/{name}.{time.time_ns()}{ending}"
            target.objects.write(kept, old)
        if there.current != current:
            target.objects.delete(there.current)
    try:
        target.objects.write(current, content, only_new=there.current is None)
    except ObjectThere:
        raise BootstrapError(
            f"somebody has just made a stack {layout.short(stack)} in {target.place.shown}",
            "take another place, or have them remove it",
        ) from None
    _compare(target.objects, current, content)


def _require_unchanged(
    source: Side, stack: str, current: str, content: bytes, mover: Mover
) -> None:
    """Raise `BootstrapError` unless the source was held all the time: it says what was copied."""
    holding = [(lock.move is not None, lock.pid) for lock in held.locks(source.objects, stack)]
    if holding != [(True, mover.pid)] or source.objects.read(current) != content:
        raise BootstrapError(
            f"somebody took the lock of {stack} away while its state was copied, or works on it: "
            f"what is in {source.place.shown} counts",
            "wait for who works on it, then run the same again",
        )


def _compare(target: Objects, name: str, content: bytes) -> None:
    there = target.read(name)
    if there is None or _digest(there) != _digest(content):
        raise BootstrapError(
            f"{name} is not at the target as it was written there",
            "run the same again; if it stays, check that storage",
        )


def _read(objects: Objects, name: str) -> bytes:
    content = objects.read(name)
    if content is None:
        raise BootstrapError(f"{name} has just gone from the backend", "run the same again")
    return content


def _told(target: Side, files: Files, move: Move) -> Carried:
    if files.current is None:
        raise BootstrapError(
            f"{target.place.shown} has lost what was copied there",
            "see who removed it; to go on with what is at the source: scripts/pulumi cancel, there",
        )
    checkpoint = layout.read_checkpoint(files.current, _read(target.objects, files.current))
    objects = 1 + len(files.before_current)
    return Carried(objects, files.updates, checkpoint.resources, move.provider)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _each(job: Callable[[T], R], items: Sequence[T]) -> list[R]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(job, items))
