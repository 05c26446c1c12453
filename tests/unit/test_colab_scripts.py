"""What a runtime's backup scripts ask of restic, and when: with a restic that only takes notes."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.rendering.machine.places import FILES

SCRIPTS = FILES / "colab"
SECONDS = 20.0

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("flock", "ps", "timeout")),
    reason="the scripts take programs of Linux",
)

# `status/WORD` is what a command ends with, and while `hold/WORD` is there it goes on.
_RESTIC = """\
#!/bin/sh
shift
while [ "${1#--}" != "$1" ]; do shift; done
echo "$*" >>"$PLACE/calls"
if [ "$1" = snapshots ]; then cat "$PLACE/snapshots" 2>/dev/null; fi
if [ "$1" = backup ] && [ -e "$PLACE/missing" ]; then exit 10; fi
if [ "$1" = init ]; then rm -f "$PLACE/missing"; fi
while [ -e "$PLACE/hold/$1" ]; do sleep 0.02; done
exit "$(cat "$PLACE/status/$1" 2>/dev/null || echo 0)"
"""

# What a node that vanishes now would have kept.
_SYNC = """\
#!/bin/sh
mark=$PLACE/data/.llm-endpoint/restore
echo "sync with $(cat "$mark" 2>/dev/null || echo no mark)" >>"$PLACE/calls"
"""


class Scripts:
    """Runs the scripts below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("data", "libraries", "bin", "status", "hold", "run"):
            (folder / name).mkdir()
        for name, text in (("restic", _RESTIC), ("sync", _SYNC)):
            program = folder / "bin" / name
            program.write_text(text)
            program.chmod(0o755)
        self.running: list[subprocess.Popen[str]] = []

    def start(self, name: str, *words: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "PLACE": str(self.folder),
            "TMPDIR": str(self.folder / "run"),
            "LLM_ENDPOINT_DATA": str(self.folder / "data"),
            "LLM_ENDPOINT_LIBRARIES": str(self.folder / "libraries"),
            "LLM_ENDPOINT_BACKUP_SECONDS": "3600",
            "RESTIC_HOST": "colab-runtime",
            "RESTIC_REPOSITORY": "gs:the-bucket:/colab",
        }
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                ["sh", str(SCRIPTS / f"{name}.sh"), *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def run(self, name: str, *words: str) -> int:
        return self.start(name, *words).wait(SECONDS)

    def calls(self) -> list[str]:
        """Return the commands that restic has been given, without what is said to each."""
        place = self.folder / "calls"
        lines = place.read_text().splitlines() if place.exists() else []
        return [" ".join(line.split()[:2]) if "unlock" in line else line for line in lines]

    def words(self) -> list[str]:
        return [" ".join(call.split()[:1]) for call in self.calls()]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def ends_with(self, command: str, status: int) -> None:
        (self.folder / "status" / command).write_text(str(status))

    def hold(self, command: str) -> Path:
        place = self.folder / "hold" / command
        place.touch()
        return place


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    scripts = Scripts(tmp_path)
    yield scripts
    for place in (tmp_path / "hold").iterdir():
        place.unlink()
    for process in scripts.running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.01)


def test_the_first_backup_makes_the_repository(scripts: Scripts):
    (scripts.folder / "missing").touch()
    assert scripts.run("backup", "periodic") == 0
    assert scripts.words() == ["backup", "init", "backup"]


def test_what_can_be_had_again_and_the_scripts_own_marks_are_left_out(scripts: Scripts):
    assert scripts.run("backup", "periodic") == 0
    (call,) = scripts.calls()
    data, libraries = scripts.folder / "data", scripts.folder / "libraries"
    assert call.endswith(f" {data} {libraries}")
    for left_out in (f"{data}/.llm-endpoint", f"{libraries}/lost+found", ".cache"):
        assert f"--exclude {left_out} " in call


def test_a_backup_after_one_that_failed_takes_up_what_that_had_sent(scripts: Scripts):
    scripts.ends_with("backup", 1)
    assert scripts.run("backup", "periodic") == 1
    assert "not finished (status 1)" in scripts.log
    scripts.ends_with("backup", 0)
    assert scripts.run("backup", "periodic") == 0
    assert scripts.run("backup", "periodic") == 0
    assert scripts.words() == ["backup", "unlock", "repair", "backup", "backup"]
    assert "unlock --remove-all" in scripts.calls()


def test_a_lock_of_somebody_else_s_is_left_alone(scripts: Scripts):
    scripts.ends_with("backup", 11)
    for _ in range(2):
        assert scripts.run("backup", "periodic") == 11
    assert scripts.words() == ["backup", "backup"]
    assert "another program holds the repository" in scripts.log


def test_a_backup_without_some_unreadable_files_is_one(scripts: Scripts):
    scripts.ends_with("backup", 3)
    scripts.run("backup", "periodic")
    scripts.run("backup", "periodic")
    assert scripts.words() == ["backup", "backup"]
    assert "but those named above" in scripts.log


def test_one_backup_waits_for_another(scripts: Scripts):
    held = scripts.hold("backup")
    first = scripts.start("backup", "the first")
    until(lambda: scripts.words() == ["backup"])
    second = scripts.start("backup", "the second")
    until(lambda: _waits_for_a_lock(second.pid))
    assert scripts.words() == ["backup"]
    held.unlink()
    assert (first.wait(SECONDS), second.wait(SECONDS)) == (0, 0)
    assert scripts.words() == ["backup", "backup"]


def _waits_for_a_lock(pid: int) -> bool:
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return "flock 9" in children.stdout


def test_the_check_comes_once_a_day_and_again_where_it_failed(scripts: Scripts):
    scripts.ends_with("check", 1)
    assert scripts.run("check") == 1
    assert "was not found sound" in scripts.log
    scripts.ends_with("check", 0)
    assert scripts.run("check") == 0
    assert scripts.run("check") == 0
    assert scripts.words() == ["forget", "check", "unlock", "repair", "forget", "check"]
    assert "forget --group-by host --keep-last 12 --keep-daily 14 --prune" in scripts.calls()


def test_a_failed_backup_never_ends_the_loop_and_its_end_makes_one_more(scripts: Scripts):
    scripts.ends_with("backup", 1)
    keep = scripts.start("keep")
    until(lambda: '"stage": "check", "state": "done"' in scripts.log)
    assert keep.poll() is None
    scripts.ends_with("backup", 0)
    keep.terminate()
    assert keep.wait(SECONDS) == 0
    assert scripts.words()[-1] == "backup"
    assert "the last one, since the notebook server has ended: all files" in scripts.log


def test_a_backup_that_is_at_it_goes_on_when_the_pod_ends_and_one_more_follows(scripts: Scripts):
    held = scripts.hold("backup")
    keep = scripts.start("keep")
    until(lambda: scripts.words() == ["backup"])
    keep.terminate()
    hook = scripts.start("last", "the pod is to end")
    until(lambda: _waits_for_a_lock(hook.pid))
    held.unlink()
    assert (hook.wait(SECONDS), keep.wait(SECONDS)) == (0, 0)
    assert scripts.words() == ["backup", "backup", "backup"]


def test_a_check_that_is_at_it_gives_way_to_the_last_backup(scripts: Scripts):
    scripts.hold("check")
    keep = scripts.start("keep")
    until(lambda: scripts.words()[-1:] == ["check"])
    assert scripts.run("last", "the pod is to end") == 0
    assert scripts.words()[-3:] == ["unlock", "repair", "backup"]
    # What the hook says is in the container's log.
    assert "the pod is to end: all files are in the backup" in scripts.log
    keep.terminate()
    assert keep.wait(SECONDS) == 0
    assert scripts.words()[-1] == "backup"


def test_the_last_backup_is_made_where_its_words_have_nowhere_to_go(scripts: Scripts):
    (scripts.folder / "run/keep.pid").write_text("0\n")
    assert scripts.run("last", "the pod is to end") == 0
    assert scripts.words() == ["backup"]


def test_a_check_gives_way_where_there_was_no_hook(scripts: Scripts):
    scripts.hold("check")
    keep = scripts.start("keep")
    until(lambda: scripts.words()[-1:] == ["check"])
    keep.terminate()
    assert keep.wait(SECONDS) == 0
    assert "it gave way to the last backup" in scripts.log
    assert scripts.words()[-1] == "backup"


def test_no_check_begins_once_the_pod_is_to_end(scripts: Scripts):
    assert scripts.run("last", "the pod is to end") == 0
    assert scripts.run("check") == 0
    assert scripts.words() == ["backup"]


def test_a_disk_is_said_to_be_restored_once_its_files_are_on_it(scripts: Scripts):
    (scripts.folder / "snapshots").write_text('[{"id": "1"}]')
    assert scripts.run("restore") == 0
    found = [call for call in scripts.calls() if str(scripts.folder / "libraries") not in call]
    assert [call.partition(":")[0] for call in found[:4]] == [
        "snapshots --json --host colab-runtime",
        "sync with no mark",
        "restore latest",
        "sync with begun",
    ]
    assert (scripts.folder / "data/.llm-endpoint/restore").read_text() == "restored\n"


def test_no_power_of_a_file_is_restored_that_the_container_has_not(scripts: Scripts):
    (scripts.folder / "snapshots").write_text('[{"id": "1"}]')
    assert scripts.run("restore") == 0
    restores = [call for call in scripts.calls() if call.startswith("restore")]
    assert len(restores) == 2
    assert all(call.endswith("--verify --exclude-xattr security.*") for call in restores)


def test_a_damaged_backup_is_never_given_up_with_its_bucket(scripts: Scripts):
    (scripts.folder / "snapshots").write_text('[{"id": "1"}]')
    scripts.ends_with("restore", 1)
    assert scripts.run("restore") == 1
    assert (scripts.folder / "data/.llm-endpoint/restore").read_text() == "begun\n"
    assert "repair snapshots --forget (each restic" in scripts.log
    assert "-r gs:the-bucket:/colab" in scripts.log
    assert "runtime_backup none" not in scripts.log
