"""Starting and stopping the server process: detached, known by its token, never two of one home."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from components.launch import Slot
from components.rendering.process import LOG_NAME, RECORD_NAME
from scripts.serve import home as homes
from scripts.serve import memory, ports
from scripts.serve.errors import ServeError
from scripts.serve.identity import (
    HOME_VARIABLE,
    TOKEN_VARIABLE,
    ServerRecord,
    is_alive,
    parse_record,
    read_record,
    servers_of,
)

CHECKOUT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 10.0
KILL_SECONDS = 10.0
KNOWN_SECONDS = 5.0

_PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
)
_PASSED_ON_BEGINNINGS = ("LC_", "DYLD_", "OMP_", "GOMP_", "KMP_", "GGML_")
"""What a server inherits. The rest of a deployer's environment holds secrets, and variables that
llama.cpp takes for flags and keys (`LLAMA_ARG_*`, `LLAMA_API_KEY`)."""


@dataclass(frozen=True)
class ServerOrder:
    """What is to run in a home.

    `program` is the command that stands for the launch's program; `arguments` may hold `Slot`s.
    `port` is the one to use, or None for the one that the home's server had, else a free one.
    `keys` are secret. `replaces` is the trigger that the record then carries.
    """

    home: Path
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    model: Path
    model_bytes: int
    model_sha256: str
    port: int | None
    keys: tuple[str, ...]
    replaces: str

    def command(self, port: int) -> list[str]:
        """Return the process's argument vector, every slot filled."""
        values = {
            Slot.MODEL: str(self.model),
            Slot.KEY_FILE: str(self.home / homes.KEYS_NAME),
            Slot.HOST: ports.LOOPBACK,
            Slot.PORT: str(port),
        }
        filled = [values[Slot(word)] if word in set(Slot) else word for word in self.arguments]
        return [*self.program, *filled]

    def digest(self, port: int) -> str:
        """Sha256 of what the server is; holds of the keys nothing that could be told from it."""
        content = json.dumps(
            [self.command(port), dict(sorted(self.environment.items())), self.model_sha256]
        )
        return hashlib.sha256(content.encode()).hexdigest()


def start(order: ServerOrder, report: Callable[[str], None]) -> ServerRecord:
    """Make `order` run in its home and return the record of the process that does.

    A server that already runs exactly this is kept; any other of the same home is stopped first.
    It does not wait for the model to load. Raises `ServeError` where the model does not fit into
    memory or the port is taken; then nothing of the home runs.
    """
    with homes.locked(order.home):
        running = _running(order)
        if running is not None:
            kept = replace(running, replaces=order.replaces)
            _write_record(order.home, kept)
            report(f"the server runs already (pid {kept.pid})")
            return kept
        _end(servers_of(order.home), report)
        _require_room(order, memory.available_bytes())
        port = ports.choose(order.port, _last_port(order.home))
        homes.write_private(order.home / homes.PORT_NAME, f"{port}\n")
        homes.write_private(order.home / homes.KEYS_NAME, "".join(f"{k}\n" for k in order.keys))
        record = _spawn(order, port)
        _write_record(order.home, record)
        report(f"started pid {record.pid} on {ports.LOOPBACK}:{record.port}")
        return record


def preflight(order: ServerOrder) -> None:
    """Raise `ServeError` where `order` could not be started, while what runs now still runs.

    What the servers of its home hold would be free by then: their memory, and their port.
    """
    record = read_record(order.home / RECORD_NAME)
    held = sum(_private_bytes(process) for process in servers_of(order.home))
    _require_room(order, memory.available_bytes() + held)
    own = record.port if record is not None and is_alive(record) else None
    if order.port is not None and order.port != own:
        ports.choose(order.port, last=None)


def stop(home: Path, started: str, report: Callable[[str], None]) -> None:
    """End every server of `home`, and the one that `started` (a record's JSON) names.

    Returns only when they are gone: SIGTERM, then SIGKILL after 10 s. Raises `ServeError` for a
    process that survives both.
    """
    if not home.exists():
        _end(_known(home, started), report)
        return
    with homes.locked(home):
        _end(_known(home, started), report)
        (home / RECORD_NAME).unlink(missing_ok=True)


def claim(home: Path) -> None:
    """Make `home` for a stack that has none yet.

    Raises `ServeError` where a server runs in it: it is another stack's of the same name, in
    another backend, and its owner alone may end it.
    """
    for process in servers_of(home):
        raise ServeError(
            f"a server of another stack runs in {home} already (pid {process.pid}): one of the "
            "same name in another backend, or one whose state was lost\n"
            "next: scripts/down with that stack's backend, or end it and forget it: "
            f"kill {process.pid}; or give this stack another name"
        )
    homes.make(home)


def _require_room(order: ServerOrder, available: int) -> None:
    refused = memory.why_not(order.model, order.model_bytes, order.arguments, available)
    if refused is not None:
        raise ServeError(refused)


def _private_bytes(process: psutil.Process) -> int:
    """Return what ends with `process`: its resident memory less the files that it maps."""
    try:
        used = process.memory_info()
    except psutil.Error:
        return 0
    return max(0, used.rss - getattr(used, "shared", 0))


def _known(home: Path, started: str) -> list[psutil.Process]:
    """Return every server of `home`, and the living one that `started` names."""
    found = {process.pid: process for process in servers_of(home)}
    for record in (parse_record(started), read_record(home / RECORD_NAME)):
        if record is not None and is_alive(record):
            found[record.pid] = psutil.Process(record.pid)
    return list(found.values())


def _last_port(home: Path) -> int | None:
    try:
        return int((home / homes.PORT_NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _running(order: ServerOrder) -> ServerRecord | None:
    record = read_record(order.home / RECORD_NAME)
    if record is None or not is_alive(record):
        return None
    if order.port not in (None, record.port) or record.digest != order.digest(record.port):
        return None
    try:
        keys = (order.home / homes.KEYS_NAME).read_text(encoding="utf-8").split()
    except OSError:
        return None
    return record if tuple(keys) == order.keys else None


def _spawn(order: ServerOrder, port: int) -> ServerRecord:
    token = secrets.token_hex(16)
    log = order.home / LOG_NAME
    if log.exists():
        log.replace(order.home / homes.OLD_LOG_NAME)
    environment = {
        **{name: value for name, value in os.environ.items() if _is_passed_on(name)},
        **order.environment,
        TOKEN_VARIABLE: token,
        HOME_VARIABLE: str(order.home.resolve()),
    }
    with log.open("wb") as output:
        try:
            # Every descriptor is redirected: the caller's pipes must close when the caller ends.
            process = subprocess.Popen(
                order.command(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ServeError(f"can't start {order.program[0]}: {error}") from None
    record = ServerRecord(process.pid, token, port, order.digest(port), order.replaces)
    # The kernel shows a new program's environment a moment after it has started it.
    deadline = time.monotonic() + KNOWN_SECONDS
    while process.poll() is None and not is_alive(record) and time.monotonic() < deadline:
        time.sleep(0.005)
    return record


def _is_passed_on(name: str) -> bool:
    return name in _PASSED_ON or name.startswith(_PASSED_ON_BEGINNINGS)


def _write_record(home: Path, record: ServerRecord) -> None:
    homes.write_private(home / RECORD_NAME, record.as_json() + "\n")


def _end(processes: Iterable[psutil.Process], report: Callable[[str], None]) -> None:
    ours = list(processes)
    for process in ours:
        report(f"stopping pid {process.pid}")
    _signal(ours, psutil.Process.terminate)
    survivors = _wait(ours, STOP_SECONDS)
    _signal(survivors, psutil.Process.kill)
    survivors = _wait(survivors, KILL_SECONDS)
    if survivors:
        pids = ", ".join(str(process.pid) for process in survivors)
        raise ServeError(
            f"pid {pids} did not end within {KILL_SECONDS:.0f} s of SIGKILL\n"
            "next: see what it waits for (ps -o stat,wchan -p PID) and try again"
        )


def _signal(processes: Sequence[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue


def _wait(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those that still run after `seconds`; a zombie does not run, though it has a pid."""
    deadline = time.monotonic() + seconds
    left = list(processes)
    while left and time.monotonic() < deadline:
        left = [process for process in left if _runs(process)]
        if left:
            time.sleep(0.05)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def python_module(name: str) -> tuple[str, ...]:
    """Return the command that runs the module `name` of this checkout with this interpreter."""
    return (sys.executable, "-m", name)
