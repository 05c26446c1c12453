"""Packages on a volume: installed once, made anew for another lock, never by halves."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest

from machine.commands import Command, Result
from machine.errors import Permanent, Temporary
from machine.pod import packages
from machine.pod.packages import ensure_packages, ensure_with_patience, main


class Pip:
    """What pip would do: it puts a file, or what `fails` says; `asked` has its words."""

    def __init__(self, *fails: Result) -> None:
        self.fails = list(fails)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, command: Command) -> Result:
        self.asked.append(command.words)
        (target,) = (word for word in command.words if word.startswith("--target="))
        folder = Path(target.removeprefix("--target="))
        folder.mkdir(parents=True)
        (folder / "requests").mkdir()
        (folder / "requests" / "__init__.py").touch()
        return self.fails.pop(0) if self.fails else Result(0)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "machine.txt"
    path.write_text("requests==2.0 --hash=sha256:00\n")
    return path


def quiet(_line: str) -> None:
    pass


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_packages_are_installed_once(tmp_path: Path, lock: Path):
    into, pip, synced = tmp_path / "into", Pip(), list[Path]()
    said = ensure_packages(lock, into, quiet, pip, sync=lambda: synced.append(into))
    assert said == "installed the packages"
    assert names(into) == {"requests", ".llm-endpoint"}
    assert synced == [into]
    assert ensure_packages(lock, into, quiet, pip) == "the packages are there"
    assert len(pip.asked) == 1
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(pip.asked[0])


def test_another_lock_makes_them_anew(tmp_path: Path, lock: Path):
    into, pip = tmp_path / "into", Pip()
    ensure_packages(lock, into, quiet, pip)
    (into / "old").mkdir()
    lock.write_text("requests==3.0 --hash=sha256:00\n")
    ensure_packages(lock, into, quiet, pip)
    assert names(into) == {"requests", ".llm-endpoint"}
    assert len(pip.asked) == 2


def test_what_was_broken_off_is_made_anew(tmp_path: Path, lock: Path):
    into = tmp_path / "into"

    class Killed(BaseException):
        pass

    def killed(command: Command) -> Result:
        Pip()(command)
        raise Killed

    with pytest.raises(Killed):
        ensure_packages(lock, into, quiet, killed)
    pip = Pip()
    assert ensure_packages(lock, into, quiet, pip) == "installed the packages"
    assert names(into) == {"requests", ".llm-endpoint"}


def test_what_was_only_half_removed_is_not_taken_for_installed(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
):
    into = tmp_path / "into"
    ensure_packages(lock, into, quiet, Pip())
    current = lock.read_text()
    lock.write_text("requests==3.0 --hash=sha256:00\n")

    def breaks(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(packages.shutil, "rmtree", breaks)
        with pytest.raises(Temporary, match="Input/output error"):
            ensure_packages(lock, into, quiet, Pip())
    lock.write_text(current)
    assert ensure_packages(lock, into, quiet, Pip()) == "installed the packages"


def test_without_the_stamp_nothing_is_taken_for_installed(tmp_path: Path, lock: Path):
    into = tmp_path / "into"
    ensure_packages(lock, into, quiet, Pip())
    (into / ".llm-endpoint").unlink()
    pip = Pip()
    ensure_packages(lock, into, quiet, pip)
    assert len(pip.asked) == 1


def test_a_network_that_is_away_for_a_while_is_waited_for(tmp_path: Path, lock: Path):
    pip, slept, said = Pip(Result(1), Result(1)), list[float](), list[str]()
    ensure_with_patience(lock, tmp_path / "into", said.append, pip, sleep=slept.append)
    assert slept == [5.0, 20.0]
    assert said[1] == "pip ended with 1; trying again in 5 s"


def test_a_network_that_stays_away_is_given_up_for_this_run(tmp_path: Path, lock: Path):
    pip, slept = Pip(*[Result(1)] * 9), list[float]()
    with pytest.raises(Temporary, match="private nodes need Cloud NAT"):
        ensure_with_patience(lock, tmp_path / "into", quiet, pip, sleep=slept.append)
    assert len(pip.asked) == 1 + len(slept) == 1 + len(packages.PAUSES_SECONDS)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM …", "another hash than its lock"),
        ("OSError: [Errno 28] No space left on device", "set cache_gb higher"),
    ],
)
def test_what_stays_as_it_is_is_not_tried_again(tmp_path: Path, lock: Path, log: str, told: str):
    pip, slept = Pip(Result(1, errors=log)), list[float]()
    with pytest.raises(Permanent, match=told) as caught:
        ensure_with_patience(lock, tmp_path / "into", quiet, pip, sleep=slept.append)
    assert caught.value.log == (log,)
    assert slept == []


def test_a_lock_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(Permanent, match=r"machine\.txt can't be read"):
        ensure_packages(tmp_path / "machine.txt", tmp_path / "into", quiet, Pip())


def wheel(folder: Path) -> str:
    """Make a package `tiny` in `folder`, and return its sha256."""
    folder.mkdir()
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny.py", "ANSWER = 42\n")
        about = "tiny-1.0.dist-info"
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("right", [True, False])
def test_pip_takes_the_words_and_holds_packages_to_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, right: bool
):
    digest = wheel(tmp_path / "wheels")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(packages, "stop_on_sigterm", lambda: None)
    lock, into = tmp_path / "lock.txt", tmp_path / "into"
    lock.write_text(f"tiny==1.0 --hash=sha256:{digest if right else '0' * 64}\n")
    status = main(["--lock", str(lock), "--into", str(into)])
    last = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("llm-endpoint: "))
    assert last["stage"] == "packages"
    if right:
        assert (status, last["state"]) == (0, "done")
        assert (into / "tiny.py").read_text() == "ANSWER = 42\n"
    else:
        assert (status, last["state"]) == (78, "failed")
        assert "another hash than its lock" in last["message"]
        assert names(into) <= {".fresh"}
