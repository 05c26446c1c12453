"""The checkout's virtual environment: made once, remade when broken, else left alone."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scripts.bootstrap import virtual_environment
from scripts.bootstrap.console import BootstrapError
from scripts.bootstrap.places import Checkout
from scripts.bootstrap.virtual_environment import (
    ANY_STACK,
    LOCAL_STACK,
    Found,
    Plan,
    Purpose,
    Stamp,
    fingerprint,
    look,
    plan,
)

FOLDER = Path("/some where/.venv")
STAMP = Stamp(str(FOLDER), "3.11", "python 1 2", {"requirements/local.txt": "aa"})
FOUND = Found(exists=True, unfinished=False, interpreter="python 1 2", python="3.11", stamp=STAMP)
LOCAL = {"requirements/local.txt": "aa", "requirements.txt": "bb"}
CLOUD = {"requirements.txt": "bb"}


@pytest.mark.parametrize(
    ("found", "wanted", "asked", "expected"),
    [
        (FOUND, LOCAL, None, Plan("nothing")),
        (FOUND, LOCAL, "3.11", Plan("nothing")),
        (FOUND, CLOUD, None, Plan("install")),
        (FOUND, {**LOCAL, "requirements/local.txt": "changed"}, None, Plan("install")),
        (replace(FOUND, exists=False), LOCAL, None, Plan("make")),
        (replace(FOUND, stamp=None), LOCAL, None, Plan("install")),
        (
            replace(FOUND, unfinished=True),
            LOCAL,
            None,
            Plan("make", "its installation was interrupted"),
        ),
        (
            replace(FOUND, interpreter=None, python=None),
            LOCAL,
            None,
            Plan("make", "its Python is gone"),
        ),
        (
            replace(FOUND, interpreter="python 3 4", python="3.12"),
            LOCAL,
            None,
            Plan("make", "its Python became 3.12 and was 3.11"),
        ),
        (FOUND, LOCAL, "3.13", Plan("make", "it has Python 3.11, and PYTHON is 3.13")),
        (
            replace(FOUND, stamp=replace(STAMP, folder="/old/.venv")),
            LOCAL,
            None,
            Plan("make", "it was made for /old/.venv"),
        ),
    ],
)
def test_the_plan_follows_from_what_is_there(
    found: Found, wanted: dict[str, str], asked: str | None, expected: Plan
):
    assert plan(found, FOLDER, wanted, asked) == expected


def test_everything_for_the_clouds_is_enough_for_the_local_stack():
    stamp = replace(STAMP, installed={"requirements.txt": "bb"})
    assert plan(replace(FOUND, stamp=stamp), FOLDER, LOCAL, None) == Plan("nothing")


def test_a_python_updated_in_place_keeps_its_packages():
    updated = replace(FOUND, interpreter="python 3 4")
    assert plan(updated, FOLDER, LOCAL, None) == Plan("install")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "ä check out"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "local.txt").write_text("one\n", encoding="utf-8")
    (root / "requirements.txt").write_text("two\n", encoding="utf-8")
    return Checkout(root)


class Pip:
    """Stands in for pip: notes what is installed, and fails when told to."""

    def __init__(self) -> None:
        self.installed: list[str] = []
        self.fails = False

    def __call__(self, command: Sequence[str], **_: object) -> None:
        if self.fails:
            raise BootstrapError("no network", "wait")
        self.installed.append(Path(command[-1]).name)


@pytest.fixture
def slow_pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(virtual_environment, "run_with_progress", pip)
    return pip


@pytest.fixture
def pip(slow_pip: Pip, monkeypatch: pytest.MonkeyPatch) -> Pip:
    def create(base: str, folder: Path) -> None:
        (folder / "bin").mkdir()
        (folder / "bin" / "python").symlink_to(base)
        (folder / "lib/python3/site-packages/pip").mkdir(parents=True)

    monkeypatch.setattr(virtual_environment, "_create", create)
    return slow_pip


def ensure(checkout: Checkout, purpose: Purpose = LOCAL_STACK) -> Path:
    return virtual_environment.ensure(checkout, purpose, {})


def test_it_is_made_and_filled_once(checkout: Checkout, slow_pip: Pip):
    python = ensure(checkout)
    assert os.access(python, os.X_OK)
    assert list(checkout.virtual_environment.glob("lib/python*/site-packages/pip"))
    assert ensure(checkout) == python
    assert slow_pip.installed == ["local.txt"]


def test_a_cloud_stack_adds_to_what_the_local_one_installed(checkout: Checkout, pip: Pip):
    ensure(checkout)
    ensure(checkout, ANY_STACK)
    ensure(checkout)
    assert pip.installed == ["local.txt", "requirements.txt"]


def test_a_failed_installation_is_made_anew(
    checkout: Checkout, pip: Pip, capsys: pytest.CaptureFixture[str]
):
    pip.fails = True
    with pytest.raises(BootstrapError, match="no network"):
        ensure(checkout)
    pip.fails = False
    ensure(checkout)
    assert "is made anew: its installation was interrupted." in capsys.readouterr().err
    assert not look(checkout.virtual_environment).unfinished


def test_an_interrupted_update_is_made_anew(checkout: Checkout, pip: Pip):
    ensure(checkout)
    (checkout.root / "requirements" / "local.txt").write_text("newer\n", encoding="utf-8")
    pip.fails = True
    with pytest.raises(BootstrapError):
        ensure(checkout)
    needed = virtual_environment.plan_for(checkout, LOCAL_STACK, None)
    assert needed == Plan("make", "its installation was interrupted")


def test_an_environment_that_a_person_made_is_added_to(checkout: Checkout, pip: Pip):
    bin_folder = checkout.virtual_environment / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").symlink_to(sys.executable)
    (checkout.virtual_environment / "lib/python3/site-packages/pip").mkdir(parents=True)
    theirs = checkout.virtual_environment / "theirs"
    theirs.touch()
    ensure(checkout)
    assert theirs.exists()
    assert pip.installed == ["local.txt"]


def test_a_python_that_is_gone_is_told_from_one_that_is_there(tmp_path: Path):
    gone = tmp_path / "python"
    gone.symlink_to(tmp_path / "nowhere")
    assert fingerprint(gone) is None
    assert fingerprint(Path(sys.executable)) == fingerprint(Path(sys.executable).resolve())


def test_a_known_python_is_not_started_to_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    interpreter = fingerprint(tmp_path / "bin" / "python")
    stamp = Stamp(str(tmp_path), "3.11", interpreter or "", {})
    stamp_file = tmp_path / virtual_environment.STAMP
    stamp_file.write_text(json.dumps(asdict(stamp)), encoding="utf-8")
    monkeypatch.setattr(virtual_environment, "_version_of", lambda _: pytest.fail("started"))
    assert look(tmp_path) == Found(True, False, interpreter, "3.11", stamp)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": 1}', '{"folder": "x"}'])
def test_a_broken_stamp_is_no_stamp(tmp_path: Path, text: str):
    (tmp_path / virtual_environment.STAMP).write_text(text, encoding="utf-8")
    assert look(tmp_path).stamp is None


def test_a_python_that_can_make_none_names_the_package(
    checkout: Checkout, pip: Pip, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "ensurepip" else object()
    )
    with pytest.raises(BootstrapError, match="it has no ensurepip module") as refused:
        ensure(checkout)
    assert f"apt install python3.{sys.version_info.minor}-venv" in refused.value.next_step


def test_settings_that_would_lead_pip_elsewhere_are_left_out():
    given = {"PIP_INDEX_URL": "kept", "PIP_USER": "1", "PIP_TARGET": "/x", "PATH": "/bin"}
    kept = virtual_environment.pip_environment(given)
    assert kept == {"PIP_INDEX_URL": "kept", "PATH": "/bin"}


def test_only_what_its_hash_was_pinned_for_is_installed():
    assert "--require-hashes" in virtual_environment.pip_install(Path("python"))


def test_requirements_that_are_gone_are_named(checkout: Checkout):
    (checkout.root / "requirements.txt").unlink()
    with pytest.raises(BootstrapError, match=r"requirements\.txt can't be read"):
        ensure(checkout)
