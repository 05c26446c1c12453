"""One stack's state copied to another backend: whole, and nobody goes on with the old one."""

import gzip
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from backend_files import (
    BACKUPS,
    HISTORY,
    HOST,
    LOCKS,
    STACKS,
    checkpoint,
    lock,
    mover,
    side,
    state_of,
    update,
)

from scripts.backend import held
from scripts.backend.carrying import Carried, Side, carry, leave
from scripts.backend.held import Move
from scripts.backend.objects import Objects
from scripts.bootstrap.console import BootstrapError


@pytest.fixture
def source(tmp_path: Path) -> Side:
    made = side(tmp_path / "source")
    update(made, "dev", 1)
    update(made, "dev", 2)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Side:
    (tmp_path / "target").mkdir()
    return side(tmp_path / "target")


class Failing:
    """Objects whose write number `at` breaks off, before it has written or after it."""

    def __init__(self, objects: Objects, at: int, *, after: bool = False) -> None:
        self._objects, self._at, self._after = objects, at, after
        self._writes = itertools.count(1)
        self.names, self.read, self.delete = objects.names, objects.read, objects.delete

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
        fails = next(self._writes) == self._at
        if fails and not self._after:
            raise BootstrapError("the network is gone", "wait")
        self._objects.write(name, content, only_new=only_new)
        if fails:
            raise BootstrapError("the network is gone", "wait")


class Killed:
    """Objects with which the process is gone before change number `at`."""

    def __init__(self, objects: Objects, at: int) -> None:
        self._objects, self._at = objects, at
        self._changes = itertools.count(1)
        self.names, self.read = objects.names, objects.read

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
        self._count()
        self._objects.write(name, content, only_new=only_new)

    def delete(self, name: str) -> None:
        self._count()
        self._objects.delete(name)

    def _count(self) -> None:
        if next(self._changes) == self._at:
            os._exit(9)


def moved_until_killed(source: Side, target: Side) -> bool:
    """Move in a process that is killed on the way; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            carry(source, target, "dev", mover(9))
            leave(source, target.place, "dev")
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def refusal(source: Side, target: Side, stack: str = "dev", **given: Any) -> str:
    with pytest.raises(BootstrapError) as refused:
        carry(source, target, stack, mover(**given))
    return str(refused.value)


def moves(there: Side) -> list[Move | None]:
    return [lock.move for lock in held.locks(there.objects, "dev")]


def test_all_of_a_stack_is_copied_and_nothing_of_another(source: Side, target: Side):
    before = state_of(source)
    update(source, "dev2", 1)
    update(source, "d", 1)
    assert carry(source, target, "dev", mover()) == Carried(8, 2, 3)
    assert state_of(target) == before
    assert held.locks(target.objects, "dev") == []


def test_a_stack_may_be_named_with_its_project(source: Side, target: Side):
    carry(source, target, "organization/llm-endpoint/dev", mover())
    assert state_of(target) == state_of(source)


def test_the_source_stays_locked_until_it_is_marked(source: Side, target: Side):
    carry(source, target, "dev", mover())
    (lock,) = held.locks(source.objects, "dev")
    assert lock.pid == 10
    assert lock.move == Move(target.place.url, "copied")
    leave(source, target.place, "dev")
    assert moves(source) == [Move(target.place.url, "moved")]
    assert "has been moved to" in refusal(source, target)


def test_what_is_compressed_is_copied_so(source: Side, target: Side):
    objects = source.objects
    objects.delete(f"{STACKS}/dev.json")
    objects.write(f"{STACKS}/dev.json.gz", gzip.compress(checkpoint(5)))
    assert carry(source, target, "dev", mover()).resources == 5
    assert state_of(target) == state_of(source)


def test_a_stack_with_half_done_operations_is_refused(source: Side, target: Side):
    source.objects.write(f"{STACKS}/dev.json", checkpoint(pending=1))
    assert "scripts/up dev, which mends it" in refusal(source, target)
    assert (moves(source), state_of(target)) == ([], {})


def test_a_stack_that_is_not_there_is_refused(source: Side, target: Side):
    with pytest.raises(BootstrapError, match="has no stack other"):
        carry(source, target, "other", mover())
    assert held.locks(source.objects, "other") == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 3', b"\x80"])
def test_a_state_that_can_not_be_read_is_refused(source: Side, target: Side, content: bytes):
    source.objects.write(f"{STACKS}/dev.json", content)
    assert "no state that can be read" in refusal(source, target)
    assert moves(source) == []


def test_a_layout_of_before_projects_is_refused(source: Side, target: Side):
    source.objects.write(".pulumi/meta.yaml", b"version: 0\n")
    assert "scripts/pulumi state upgrade" in refusal(source, target)


def test_a_target_of_another_layout_is_refused(source: Side, target: Side):
    target.objects.write(".pulumi/meta.yaml", b"version: 0\n")
    assert "scripts/pulumi state upgrade" in refusal(source, target)


def test_a_stack_that_somebody_works_on_is_refused(source: Side, target: Side):
    lock(source, "dev")
    said = refusal(source, target)
    assert f"locked by ann@{HOST} (pid 7, since 2026-11-21T11:01:59)" in said
    assert moves(source) == [None]


def test_who_locks_at_the_same_moment_wins(source: Side, target: Side):
    class Raced(Failing):
        def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
            if name.startswith(LOCKS) and only_new:
                lock(side_of_source, "dev")
            super().write(name, content, only_new=only_new)

    side_of_source = source
    raced = Side(source.place, Raced(source.objects, 0))
    assert "locked by ann" in refusal(raced, target)
    assert (moves(source), state_of(target)) == ([None], {})


def test_two_moves_at_once_are_one(source: Side, target: Side, tmp_path: Path):
    carry(source, target, "dev", mover(10))
    said = refusal(source, target, pid=11, lives=lambda _: True)
    assert "is being moved to" in said
    assert "(pid 10" in said


def test_a_move_of_another_machine_is_left_to_the_person(source: Side, target: Side):
    held.write_move(source.objects, "dev", Move(target.place.url, "copying"), 10, only_new=True)
    said = refusal(source, target)
    assert "scripts/pulumi cancel --stack dev" in said


def test_a_move_elsewhere_that_was_broken_off_is_named(
    source: Side, target: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    carry(source, target, "dev", mover())
    said = refusal(source, side(tmp_path / "third"))
    assert f"scripts/state move dev '{target.place.url}'" in said


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_copy_that_fails_leaves_the_source_free_and_is_made_again(
    source: Side, target: Side, at: int, after: bool
):
    failing = Side(target.place, Failing(target.objects, at, after=after))
    assert "the network is gone" in refusal(source, failing)
    assert held.locks(source.objects, "dev") == []
    carry(source, target, "dev", mover())
    assert state_of(target) == state_of(source)


def test_a_copy_that_was_killed_is_gone_on_with(
    source: Side, target: Side, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    held.write_move(source.objects, "dev", Move(target.place.url, "copying"), 9, only_new=True)
    target.objects.write(f"{HISTORY}/dev/dev-1.history.json", b"half")
    carry(source, target, "dev", mover())
    assert state_of(target) == state_of(source)
    assert moves(source) == [Move(target.place.url, "copied")]


def test_once_it_is_copied_the_target_counts(
    source: Side, target: Side, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    carry(source, target, "dev", mover())
    target.objects.write(f"{STACKS}/dev.json", checkpoint(9, note="encrypted anew"))
    assert carry(source, target, "dev", mover(11)).resources == 9


def test_a_copy_that_does_not_arrive_as_it_was_sent_is_found_out(source: Side, target: Side):
    class Damaging(Failing):
        def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
            damaged = content[:-1] if name.startswith(BACKUPS) else content
            super().write(name, damaged, only_new=only_new)

    said = refusal(source, Side(target.place, Damaging(target.objects, 0)))
    assert "is not at the target as it was written there" in said
    assert target.objects.read(f"{STACKS}/dev.json") is None


def test_another_stack_of_the_name_is_left_alone(source: Side, target: Side):
    update(target, "dev", 1, note="another")
    before = state_of(target)
    assert "is no old copy of this one" in refusal(source, target)
    assert (state_of(target), moves(source)) == (before, [])


def test_a_copy_that_went_its_own_way_is_left_alone(source: Side, target: Side):
    carry(source, target, "dev", mover())
    update(target, "dev", 3)
    held.remove_move(source.objects, "dev")
    assert "is no old copy of this one" in refusal(source, target)


def test_a_stack_that_was_only_made_is_left_alone(source: Side, target: Side):
    target.objects.write(f"{STACKS}/dev.json", checkpoint(0))
    assert "is no old copy of this one" in refusal(source, target)


def test_a_stack_goes_there_and_back(source: Side, target: Side):
    carry(source, target, "dev", mover())
    leave(source, target.place, "dev")
    update(target, "dev", 3)
    before = state_of(source)[f"{STACKS}/dev.json"]
    carry(target, source, "dev", mover())
    leave(target, source.place, "dev")
    assert (moves(source), moves(target)) == ([], [Move(source.place.url, "moved")])
    found = state_of(source)
    kept = set(found.items()) - set(state_of(target).items())
    assert [content for name, content in kept if name.startswith(BACKUPS)] == [before]
    assert len(kept) == 1


@pytest.mark.parametrize("killed", ["source", "target"])
def test_a_way_back_that_was_killed_anywhere_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
):
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    for at in itertools.count(1):
        home, away = side(tmp_path / f"{at}" / "home"), side(tmp_path / f"{at}" / "away")
        update(home, "dev", 1)
        carry(home, away, "dev", mover())
        leave(home, away.place, "dev")
        update(away, "dev", 2)
        source, target = (
            Side(one.place, Killed(one.objects, at) if killed == name else one.objects)
            for name, one in (("source", away), ("target", home))
        )
        if not moved_until_killed(source, target):
            assert at > 2
            return
        assert moves(away) or moves(home), "nobody may go on with both"
        carry(away, home, "dev", mover(11))
        leave(away, home.place, "dev")
        assert (moves(home), moves(away)) == ([], [Move(home.place.url, "moved")])
        assert state_of(home)[f"{STACKS}/dev.json"] == state_of(away)[f"{STACKS}/dev.json"]


def test_a_source_that_somebody_works_on_meanwhile_is_what_counts(source: Side, target: Side):
    class Taken(Failing):
        def write(self, name: str, content: bytes, *, only_new: bool = False) -> None:
            super().write(name, content, only_new=only_new)
            if name == f"{STACKS}/dev.json":
                held.remove_move(side_of_source.objects, "dev")
                update(side_of_source, "dev", 3)

    side_of_source = source
    said = refusal(source, Side(target.place, Taken(target.objects, 0)))
    assert "took the lock of dev away" in said
    assert moves(source) == []
    carry(source, target, "dev", mover())
    assert state_of(target)[f"{STACKS}/dev.json"] == checkpoint(4)


def test_an_old_copy_that_somebody_works_on_is_left_alone(source: Side, target: Side):
    carry(source, target, "dev", mover())
    leave(source, target.place, "dev")
    lock(source, "dev")
    assert "locked by ann" in refusal(target, source)
