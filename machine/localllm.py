"""localllm's tool on a machine: its `pull` checked, its `run` kept in the foreground.

`python -m machine.localllm pull OWNER/REPO --filename FILE` ends with 0 once the file is there
whole, 75 where another try may do, 78 where it won't; the file's path is the last line of stdout,
the reason the last of stderr. A file that was pulled is not asked for again.

`python -m machine.localllm run OWNER/REPO PORT …` stays for as long as the server that the tool
starts: the tool itself returns once that listens, and nobody would notice its end. It ends the
server on SIGTERM. HF_HOME has to be set for both: the tool's cache of models.

It runs under the Python of the tool's own virtual environment, on Linux.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import cast

TEMPORARY = 75
PERMANENT = 78

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_STREAM_BYTES = 1024 * 1024
_RELAY_SECONDS = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PULLED = "Pulled to "
_THROWN = re.compile(r"'(?P<why>.+)' thrown while requesting (?P<request>\S+ \S+)")
"""How the hub's client logs what failed (huggingface_hub/utils/_http.py)."""

# What the hub's client raises for what another try would meet again (huggingface_hub/errors.py).
# LocalEntryNotFoundError is not among them: it says that the hub was not reached.
_LASTING = {
    r"\bGatedRepoError\b": "is gated: its licence has to be accepted by the owner of a token",
    r"\bRepositoryNotFoundError\b": "is not at the hub, or not open to everyone",
    r"\b(?:Remote)?EntryNotFoundError\b": "has no file {file}",
    r"\bHFValidationError\b": "is no name of a repository",
    r"\bNo space left on device\b": "does not fit on the disk: make cache_gb larger",
}


class LocalllmError(Exception):
    """Why it stopped: a message with the next step, and the exit status that says whether to retry.

    Holds no secret: it is shown on the console.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Model:
    """A file of a repository at the hub, and where the tool's cache has it."""

    repository: str
    file: str
    home: Path

    @property
    def folder(self) -> Path:
        """The repository's folder in the cache (`HF_HOME/hub/models--OWNER--REPO`)."""
        return self.home / "hub" / f"models--{self.repository.replace('/', '--')}"

    @property
    def record(self) -> Path:
        """What was pulled, as JSON: `path` within `folder`, `bytes`, `modified` (ns)."""
        name = hashlib.sha256(f"{self.repository}:{self.file}".encode()).hexdigest()
        return self.home / "pulled" / f"{name}.json"

    @staticmethod
    def named_by(words: Sequence[str]) -> Model:
        """Return what the tool's `words` name: `COMMAND OWNER/REPO … --filename FILE`."""
        home = os.environ.get("HF_HOME")
        if not home:
            raise LocalllmError("HF_HOME is not set; set it to the folder for models", PERMANENT)
        if "--filename" not in words[2:-1]:
            raise LocalllmError("no --filename; name the file of the repository", PERMANENT)
        return Model(words[1], words[words.index("--filename") + 1], Path(home))

    def pulled(self) -> Path | None:
        """Return the path of the file that was pulled whole, if it is still as it was."""
        try:
            record: object = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict):
            return None
        found = cast("dict[str, object]", record)
        path = self.folder / str(found.get("path"))
        return path if found and found == _as_it_is(self.folder, path) else None


def pull(words: Sequence[str]) -> Path:
    """Have the tool fetch a file; returns its path once its checksum is right.

    Raises `LocalllmError`.
    """
    model = Model.named_by(words)
    if there := model.pulled():
        return there
    # Plain HTTP begins again where it was broken off; the hub's other protocol would not.
    environment = _environment({"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    status, lines = _told(_tool(words), environment)
    if status != 0:
        raise _failure(model, lines)
    path = next((line.removeprefix(_PULLED) for line in lines if line.startswith(_PULLED)), None)
    if path is None:
        raise LocalllmError("local-llm said no path of what it pulled", PERMANENT)
    found = Path(path)
    _check(found)
    model.record.parent.mkdir(parents=True, exist_ok=True)
    fresh = model.record.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(_as_it_is(model.folder, found)), encoding="utf-8")
    fresh.replace(model.record)
    return found


def run(words: Sequence[str]) -> int:
    """Serve by the tool until the server ends; returns 0 where it was asked to end by a signal.

    Raises `LocalllmError`.
    """
    model = Model.named_by(words)
    path = model.pulled()
    if path is None:
        raise LocalllmError(
            f"{model.repository} has no pulled file {model.file} in {model.home}; pull it first, "
            "by the same words",
            1,
        )
    # The tool takes the first file whose path ends so: only with the commit is that one file.
    exact = list(words)
    exact[words.index("--filename") + 1] = str(path.relative_to(model.folder))
    _adopt_orphans()
    return _Serving(_tool(exact)).wait()


def main(words: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    command = words[0] if words else ""
    try:
        if command == "pull":
            print(pull(words))
            return 0
        if command == "run":
            return run(words)
    except LocalllmError as error:
        print(error, file=sys.stderr)
        return error.status
    print("it takes pull or run, as local-llm does", file=sys.stderr)
    return PERMANENT


class _Serving:
    """The tool, and the server that it leaves behind: one process group, ended together."""

    def __init__(self, command: Sequence[str]) -> None:
        self._ending = False
        self._tool: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        # What is pulled is there: nothing is asked of the hub, which the unit could not reach.
        environment = _environment({"HF_HUB_OFFLINE": "1"})
        self._tool = subprocess.Popen(command, env=environment, start_new_session=True)
        if self._ending:
            self._signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return 0 once the server was ended; raises `LocalllmError` where it ended by itself."""
        tool = cast("subprocess.Popen[bytes]", self._tool)
        try:
            status = tool.wait()
            if status == 0 and (server := _member_of(tool.pid)):
                relay = threading.Thread(target=_relay, args=(_output_of(server),), daemon=True)
                relay.start()
                subprocess.run(_tool(["ps"]), env=_environment({}), check=False)
                _, status = os.waitpid(server, 0)
                relay.join(_RELAY_SECONDS)
                why = f"localllm's server ended ({_said(os.waitstatus_to_exitcode(status))})"
            else:
                why = f"localllm did not start its server (local-llm: {_said(status)})"
        finally:
            self._signal(signal.SIGKILL)
        if self._ending:
            return 0
        raise LocalllmError(why, 1)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self._tool is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._tool.pid, number)


def _tool(words: Sequence[str]) -> list[str]:
    return [str(Path(sys.executable).parent / "local-llm"), *words]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the tool, which looks for uvicorn on PATH."""
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join((programs, os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **more}


def _told(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run a command that ends by itself, showing what it says; returns its status and lines."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(line.rstrip())
    return process.returncode, lines


def _failure(model: Model, lines: Sequence[str]) -> LocalllmError:
    text = "\n".join(lines)
    for pattern, why in _LASTING.items():
        if re.search(pattern, text):
            reason = why.format(file=model.file)
            return LocalllmError(f"{model.repository} {reason}; change model", PERMANENT)
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    # The hub's client says there what went wrong; its last error hides it.
    thrown = [match for line in lines if (match := _THROWN.match(line))]
    why = f"{thrown[-1]['why']} ({thrown[-1]['request']})" if thrown else last
    return LocalllmError(f"{model.repository}:{model.file} was not pulled: {why}", TEMPORARY)


def _check(path: Path) -> None:
    """Compare a file with its checksum: what the cache names a large file's content by."""
    content = path.resolve()
    if not _SHA256.fullmatch(content.name):
        raise LocalllmError(f"the hub told no sha256 of {path.name}; choose another", PERMANENT)
    digest = hashlib.sha256()
    with content.open("rb") as file:
        while block := file.read(_STREAM_BYTES):
            digest.update(block)
    if digest.hexdigest() != content.name:
        content.unlink()
        raise LocalllmError(
            f"what came as {path.name} has another sha256 than the hub's; it was "
            "deleted and is fetched again",
            TEMPORARY,
        )


def _as_it_is(folder: Path, path: Path) -> dict[str, object]:
    try:
        status = path.stat()
        name = str(path.relative_to(folder))
    except (OSError, ValueError):
        return {}
    return {"path": name, "bytes": status.st_size, "modified": status.st_mtime_ns}


def _adopt_orphans() -> None:
    """Become the parent of what the tool leaves behind: only a parent is told of an end."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise LocalllmError(f"prctl: {os.strerror(ctypes.get_errno())}", 1)


def _member_of(group: int) -> int | None:
    """Return the process that this one has adopted in process group `group`."""
    return next(
        (pid for pid, parent, of in _processes() if (parent, of) == (os.getpid(), group)), None
    )


def _processes() -> Iterator[tuple[int, int, int]]:
    """Yield each process with its parent and its process group (proc(5), `stat`)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                _, parent, group = stat.rpartition(") ")[2].split()[:3]
                yield int(entry.name), int(parent), int(group)


def _output_of(server: int) -> int | None:
    """Return a descriptor that reads what the server writes; None where it is gone already.

    The tool closed the pipe that the server writes to; without a reader whatever the server says
    fails the request that it says it of. Opening a process's pipe by /proc reads it again.
    """
    try:
        return os.open(f"/proc/{server}/fd/1", os.O_RDONLY)
    except OSError:
        return None


def _relay(pipe: int | None) -> None:
    """Pass on what comes through `pipe`, to its end."""
    while pipe is not None and (block := os.read(pipe, _STREAM_BYTES)):
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _said(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
