"""The objects of a backend, in a folder and in buckets: read, written whole, told apart."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from backend_files import LOCKS, lock, side, update
from model_registry_storage import KEY_ID, SECRET, TOKEN, storage

from scripts.backend import asking, held
from scripts.backend.held import Lock, Move
from scripts.backend.objects import Cloud, Folder, Objects, ObjectThere, open_objects
from scripts.backend.place import folder_url, parse
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Kept:
    objects: Objects
    said: list[str]


@pytest.fixture(params=["folder", "s3", "gcs"])
def kept(request: pytest.FixtureRequest, tmp_path: Path):
    said: list[str] = []
    if request.param == "folder":
        yield Kept(Folder(tmp_path / "state"), said)
        return
    there = storage(request.param, tmp_path)
    query = f"?region=us-east-1&endpoint={there.url.endpoint}" if there.url.endpoint else ""
    environ = {**there.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    url = f"{there.url.scheme}://{there.url.bucket}/team{query}"
    yield Kept(open_objects(parse(url, environ), environ, said.append), said)
    there.close()


def test_what_is_written_is_read_again(kept: Kept):
    kept.objects.write("a/b.json", b"one")
    kept.objects.write("a/b.json", b"two")
    assert kept.objects.read("a/b.json") == b"two"
    assert kept.objects.read("a/c.json") is None
    assert kept.said == []


def test_names_are_those_below_the_backend_s_own_folder(kept: Kept):
    for name in ("a/dev.json", "a/dev2.json", "a/d/dev.json", "b/dev.json"):
        kept.objects.write(name, b"x")
    assert kept.objects.names("a/dev") == ["a/dev.json", "a/dev2.json"]
    assert kept.objects.names("a/") == ["a/d/dev.json", "a/dev.json", "a/dev2.json"]
    assert kept.objects.names("c/") == []


def test_only_one_can_write_what_is_new(kept: Kept):
    kept.objects.write("lock", b"one", only_new=True)
    with pytest.raises(ObjectThere):
        kept.objects.write("lock", b"two", only_new=True)
    assert kept.objects.read("lock") == b"one"


def test_what_is_deleted_is_gone_and_may_have_been(kept: Kept):
    kept.objects.write("a", b"x")
    for _ in range(2):
        kept.objects.delete("a")
    assert kept.objects.names("") == []


def test_a_lock_is_what_was_written(kept: Kept):
    assert held.locks(kept.objects, "dev") == []
    move = Move("gs://state", "copying")
    assert held.write_move(kept.objects, "dev", move, 7, only_new=True)
    assert not held.write_move(kept.objects, "dev", move, 8, only_new=True)
    (read,) = held.locks(kept.objects, "dev")
    assert (read.pid, read.move) == (7, move)


def test_what_lies_in_a_folder_is_its_owner_s_alone(tmp_path: Path):
    Folder(tmp_path / "state").write("a/b.json", b"x")
    file = tmp_path / "state" / "a" / "b.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path for path in (tmp_path / "state").rglob("*") if path.is_file()] == [file]


def test_the_engine_s_sidecars_are_no_objects_and_go_with_theirs(tmp_path: Path):
    (tmp_path / "a.json.attrs").write_text("{}", encoding="utf-8")
    folder = Folder(tmp_path)
    folder.write("a.json", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BootstrapError, match="file exists"):
        Folder(tmp_path / "file").write("a", b"x")


def test_a_bucket_that_is_not_there_is_told_with_the_next_step():
    place = parse("gs://not-there", {})
    other = storage("gcs", Path())
    try:
        environ = {**other.environ, "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN}
        with pytest.raises(BootstrapError, match="there is no bucket not-there") as refused:
            Cloud(place, environ, lambda _: None).names("")
    finally:
        other.close()
    assert TOKEN not in str(refused.value)
    assert "versioning" in refused.value.next_step


def test_what_keeps_no_files_can_not_be_opened():
    with pytest.raises(BootstrapError, match="keeps no files"):
        open_objects(parse("https://api.pulumi.com", {}), {}, lambda _: None)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-m", "scripts.backend", *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_folders_need_nothing_but_python(tmp_path: Path):
    update(side(tmp_path), "dev", 1)
    looked = run("look", "dev", folder_url(tmp_path))
    assert json.loads(looked.stdout) == {
        "locks": [],
        "updates": 1,
        "checkpoint": {"resources": 2, "pending": 0, "encrypted_by": "passphrase"},
    }
    refused = run("carry", "dev", folder_url(tmp_path / "none"), folder_url(tmp_path / "b"), "1")
    assert refused.returncode == 1
    assert set(json.loads(refused.stdout)) == {"problem", "next"}
    assert run("carry", "dev").returncode == 2


def test_what_is_asked_of_another_process_comes_back_as_it_was(tmp_path: Path):
    there = side(tmp_path)
    lock(there, "dev", pid=7)
    there.objects.write(
        f"{LOCKS}/dev/8.json",
        json.dumps({"pid": 8, "llm_endpoint_move": {"to": "gs://b", "step": "copied"}}).encode(),
    )
    found = asking.ask(Checkout(CHECKOUT), dict(os.environ), "locks", "dev", there.place)
    assert asking.locks_of(found) == [
        Lock(7, "ann", "here", "2026-11-21T11:01:59"),
        Lock(8, "?", "?", "?", Move("gs://b", "copied")),
    ]
    with pytest.raises(BootstrapError, match="locked by ann@here"):
        asking.ask(
            *(Checkout(CHECKOUT), dict(os.environ), "carry", "dev"), there.place, there.place, 1
        )
