"""Who a running server is: a process is known by a token in its environment, not by its pid alone.

Pids are reused, clocks are set, machines restart; a random token that the process carries in its
environment survives none of these by accident.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from components.rendering.process import RECORD_NAME

TOKEN_VARIABLE = "LLM_ENDPOINT_SERVER"  # noqa: S105
HOME_VARIABLE = "LLM_ENDPOINT_SERVER_HOME"


@dataclass(frozen=True)
class ServerRecord:
    """What is known of the server that was last started in a home.

    `digest` names the launch, model and place it was started with; `replaces` is the value of
    `replacement_trigger` that led to it.
    """

    pid: int
    token: str
    port: int
    digest: str
    replaces: str

    def as_json(self) -> str:
        """One line of JSON, as in the record file."""
        return json.dumps(asdict(self))


def parse_record(text: str) -> ServerRecord | None:
    """Return the record in `text`, or None where it holds none (empty, torn, of another form)."""
    try:
        return ServerRecord(**json.loads(text))
    except (ValueError, TypeError):
        return None


def read_record(path: Path) -> ServerRecord | None:
    """Return the record in the file `path`, or None where there is none or it is torn."""
    try:
        return parse_record(path.read_text(encoding="utf-8"))
    except OSError:
        return None


def is_alive(record: ServerRecord) -> bool:
    """Whether the very process that `record` names runs (a zombie does not)."""
    try:
        process = psutil.Process(record.pid)
        return process.environ().get(TOKEN_VARIABLE) == record.token
    except (psutil.Error, OSError):
        return False


def servers_of(home: Path) -> Iterator[psutil.Process]:
    """Yield every server process on this machine that was started for `home`."""
    wanted = str(home.resolve())
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if environment.get(HOME_VARIABLE) == wanted and TOKEN_VARIABLE in environment:
            yield process


def replacement_trigger(home: Path) -> str:
    """Return a value that changes exactly when the server of `home` must be started anew.

    It stays the same while the server lives. It names the dead server once that has died, and is
    new each time where the record is gone, so that nothing unknown is taken for alive.
    """
    record = read_record(home / RECORD_NAME)
    if record is None:
        return f"no-record-{secrets.token_hex(8)}"
    if is_alive(record):
        return record.replaces
    return f"died-{record.token}"
