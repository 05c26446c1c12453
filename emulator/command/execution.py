"""Runs one command and captures what it prints.

A command's process is a plain child of the plugin, in its process group: the engine ends the
group when it closes the plugin. Cancelling and time limits kill that one process; the call
still waits until every process that has inherited its output has closed it. So a daemon must
leave none of its descriptors on these pipes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import CommandCancelled, CommandFailed

_CHUNK_BYTES = 32 * 1024
_LOG_LINE_BYTES = 64 * 1024
_LAST_NAMED_SIGNAL = 31


@dataclass(frozen=True)
class Command:
    """What to run: `words` is the interpreter with its arguments and the command as the last."""

    words: tuple[str, ...]
    directory: str | None
    environment: Mapping[str, str]
    """Added to the plugin's own environment."""
    stdin: str
    limit_seconds: float | None = None


@dataclass(frozen=True)
class Printed:
    """What a command has printed, as it came."""

    stdout: bytes
    stderr: bytes


class Processes:
    """The commands that are running, so that all of them can be ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """Kills every command and lets none start any more. May be called again."""
        with self._lock:
            self._cancelled = True
            for process in self._running:
                process.kill()

    @contextlib.contextmanager
    def started(
        self, start: Callable[[], subprocess.Popen[bytes]]
    ) -> Generator[subprocess.Popen[bytes]]:
        """The process that START starts, under the reach of `cancel` until it has ended.

        Raises:
            CommandCancelled: `cancel` came first.
        """
        with self._lock:
            if self._cancelled:
                raise CommandCancelled("context canceled")
            process = start()
            self._running.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._running.discard(process)


def run(
    command: Command,
    processes: Processes,
    log: Callable[[str], None],
    *,
    log_stdout: bool = True,
    log_stderr: bool = True,
) -> Printed:
    """Runs COMMAND to its end, its output's included, and passes each line to LOG.

    Raises:
        CommandFailed: it could not start, or ended otherwise than with status 0; the text has
            the reason, the command and all that it printed.
        CommandCancelled: PROCESSES no longer takes commands.
    """
    lines = _Lines(log)
    both = _Collector()
    stdout = _Collector(both, lines if log_stdout else None)
    stderr = _Collector(both, lines if log_stderr else None)
    try:
        with processes.started(lambda: _start(command)) as process:
            status = _attend(process, command, stdout, stderr)
    except (CommandFailed, CommandCancelled) as error:
        raise type(error)(f"{error}: running {quoted(command.words[-1])}:\n") from error
    finally:
        lines.close()
    if status != 0:
        printed = both.content().decode(errors="replace")
        raise CommandFailed(f"{_ending(status)}: running {quoted(command.words[-1])}:\n{printed}")
    return Printed(stdout.content(), stderr.content())


def _attend(
    process: subprocess.Popen[bytes],
    command: Command,
    stdout: _Collector,
    stderr: _Collector,
) -> int:
    """Feeds and drains PROCESS until it and its pipes have ended; returns its status."""
    streams = ((process.stdout, stdout), (process.stderr, stderr))
    workers = [
        threading.Thread(target=_drain, args=(pipe, into), daemon=True) for pipe, into in streams
    ]
    if process.stdin is not None:
        text = command.stdin.encode()
        workers.append(threading.Thread(target=_feed, args=(process.stdin, text), daemon=True))
    limit = None
    if command.limit_seconds:
        limit = threading.Timer(command.limit_seconds, process.kill)
        limit.daemon = True
        limit.start()
    for worker in workers:
        worker.start()
    status = process.wait()
    if limit is not None:
        limit.cancel()
    for worker in workers:
        worker.join()
    return status


def _drain(pipe: IO[bytes], into: _Collector) -> None:
    with pipe:
        while chunk := os.read(pipe.fileno(), _CHUNK_BYTES):
            into.add(chunk)


def _feed(pipe: IO[bytes], text: bytes) -> None:
    # A command need not read its standard input.
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(text)


class _Collector:
    """Gathers one stream, and passes it on to where both streams meet and to the log."""

    def __init__(self, both: _Collector | None = None, lines: _Lines | None = None) -> None:
        self._lock = threading.Lock()
        self._chunks: list[bytes] = []
        self._both = both
        self._lines = lines

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._chunks.append(chunk)
        if self._both is not None:
            self._both.add(chunk)
        if self._lines is not None:
            self._lines.add(chunk)

    def content(self) -> bytes:
        with self._lock:
            return b"".join(self._chunks)


class _Lines:
    """Cuts chunks of output into lines. Of a line, no more than 64 KiB are passed on.

    The streams share one: what comes without an end of line is joined to what comes next.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._lock = threading.Lock()
        self._emit = emit
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        with self._lock:
            *complete, rest = chunk.split(b"\n")
            for piece in complete:
                self._emit_line(self._rest + piece)
                self._rest = b""
            self._rest = (self._rest + rest)[:_LOG_LINE_BYTES]

    def close(self) -> None:
        with self._lock:
            if self._rest:
                self._emit_line(self._rest)
            self._rest = b""

    def _emit_line(self, line: bytes) -> None:
        self._emit(line[:_LOG_LINE_BYTES].removesuffix(b"\r").decode(errors="replace"))


def _start(command: Command) -> subprocess.Popen[bytes]:
    """Starts COMMAND; the failures' texts are those that Go's os/exec gives to users."""
    program = _program(command.words[0])
    environment = _environment(command.environment)
    if command.directory:
        try:
            Path(command.directory).stat()
        except (OSError, ValueError) as error:
            raise CommandFailed(f"chdir {command.directory}: {_reason(error)}") from error
    # Bytes all through: the locale of whoever starts the engine must not change a command.
    try:
        return subprocess.Popen(
            [word.encode() for word in command.words],
            executable=program.encode(),
            cwd=command.directory.encode() if command.directory else None,
            env=environment,
            stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"fork/exec {program}: {_reason(error)}") from error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "invalid argument"  # a zero byte in a word or path


def _program(name: str) -> str:
    """Where the program NAME is: as it is with a slash in it, else by the plugin's PATH."""
    if not name:
        raise CommandFailed("exec: no command")
    if "/" in name:
        return name
    for folder in os.environ.get("PATH", "").split(":"):
        candidate = Path(folder) / name
        if _runs(candidate):
            if not candidate.is_absolute():
                raise CommandFailed(
                    f'exec: "{name}": cannot run executable found relative to current directory'
                )
            return str(candidate)
    raise CommandFailed(f'exec: "{name}": executable file not found in $PATH')


def _runs(candidate: Path) -> bool:
    try:
        mode = candidate.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISDIR(mode) and os.access(candidate, os.X_OK)


def _environment(added: Mapping[str, str]) -> dict[bytes, bytes]:
    environment = _inherited_environment()
    for name, value in added.items():
        entry = f"{name}={value}".encode()
        if b"\0" in entry:
            raise CommandFailed("exec: environment variable contains NUL")
        # A name may hold "=": what counts is what the command's process sees.
        seen_name, _, seen_value = entry.partition(b"=")
        environment[seen_name] = seen_value
    return environment


def _inherited_environment() -> dict[bytes, bytes]:
    """The environment with which the plugin was started.

    In a C locale Python adds LC_CTYPE to its own, which would change what commands print.
    """
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:  # not Linux
        return dict(os.environb)
    entries = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return {name: value for name, _, value in entries}


def _ending(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    name = signal.strsignal(-status)
    if name is None or -status > _LAST_NAMED_SIGNAL:
        return f"signal: signal {-status}"
    # "Killed" is written small, "I/O possible" is not.
    return f"signal: {name[0].lower() if name[1].islower() else name[0]}{name[1:]}"


_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
    '"': '\\"', "\\": "\\\\",
}  # fmt: skip


def quoted(text: str) -> str:
    """TEXT in double quotes, with escapes for what can't be seen, as failures quote a command."""
    return '"' + "".join(_ESCAPES.get(char) or _visible(char) for char in text) + '"'


def _visible(char: str) -> str:
    code = ord(char)
    if char.isprintable():
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
