"""What the idle watchdog goes by."""

import json
from pathlib import Path

import pytest

from machine.gateway.activity import Activity


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def content(path: Path) -> object:
    return json.loads(path.read_text())


def test_a_request_counts_while_it_runs_and_its_end_is_the_last(tmp_path: Path):
    path = tmp_path / "run" / "activity.json"
    activity = Activity(path, Clock())
    assert content(path) == {"ready_since": None, "last_request": None, "active": 0}
    with pytest.raises(RuntimeError), activity.request():
        assert content(path) == {"ready_since": None, "last_request": 1002.0, "active": 1}
        raise RuntimeError
    assert content(path) == {"ready_since": None, "last_request": 1003.0, "active": 0}


def test_the_endpoint_is_ready_once(tmp_path: Path):
    path = tmp_path / "activity.json"
    activity = Activity(path, Clock())
    activity.is_ready()
    activity.is_ready()
    assert content(path) == {"ready_since": 1002.0, "last_request": None, "active": 0}


def test_a_restart_forgets_only_the_requests_that_it_ended(tmp_path: Path):
    path = tmp_path / "activity.json"
    path.write_text('{"ready_since": 5, "last_request": 7.5, "active": 3}')
    Activity(path)
    assert content(path) == {"ready_since": 5, "last_request": 7.5, "active": 0}


def test_a_damaged_file_is_begun_anew(tmp_path: Path):
    path = tmp_path / "activity.json"
    for damaged in ("", "[]", '{"ready_since": true, "last_request": "x"}'):
        path.write_text(damaged)
        Activity(path)
        assert content(path) == {"ready_since": None, "last_request": None, "active": 0}


def test_a_note_that_cannot_be_written_ends_no_request_and_is_told(tmp_path: Path, capsys):
    folder = tmp_path / "run"
    activity = Activity(folder / "activity.json")
    (folder / "activity.json").unlink()
    folder.rmdir()
    folder.write_text("a file")
    activity.is_ready()
    with activity.request():
        assert activity.active == 1
    assert "the file of the activity can't be written" in capsys.readouterr().err
