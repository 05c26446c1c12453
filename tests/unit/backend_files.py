"""Backends for tests of states that move: a stack's files, as the engine leaves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from scripts.backend.carrying import Mover, Side
from scripts.backend.objects import Folder
from scripts.backend.place import folder_url, parse

HOST = "here"
STACKS = ".pulumi/stacks/llm-endpoint"
HISTORY = ".pulumi/history/llm-endpoint"
BACKUPS = ".pulumi/backups/llm-endpoint"
LOCKS = ".pulumi/locks/organization/llm-endpoint"


def side(folder: Path) -> Side:
    return Side(parse(folder_url(folder), {}), Folder(folder))


def mover(pid: int = 10, *, lives: Callable[[object], bool] = lambda _: False) -> Mover:
    return Mover(pid, HOST, lives)


def checkpoint(resources: int = 2, pending: int = 0, note: str = "") -> bytes:
    latest = {
        "manifest": {"note": note},
        "secrets_providers": {"type": "passphrase", "state": {"salt": "v1:x"}},
        "resources": [{"urn": f"urn:{at}"} for at in range(resources)],
    }
    if pending:
        latest["pending_operations"] = [{"type": "creating"}] * pending
    return json.dumps({"version": 3, "checkpoint": {"latest": latest}}).encode()


def update(there: Side, stack: str, number: int, note: str = "") -> None:
    """Write what the update `number` of a stack leaves."""
    write = there.objects.write
    write(".pulumi/meta.yaml", b"version: 1\n")
    current = there.objects.read(f"{STACKS}/{stack}.json")
    if current is not None:
        write(f"{STACKS}/{stack}.json.bak", current)
    made = checkpoint(number + 1, note=note)
    write(f"{STACKS}/{stack}.json", made)
    write(f"{HISTORY}/{stack}/{stack}-{number}.history.json", f"{number}{note}".encode())
    write(f"{HISTORY}/{stack}/{stack}-{number}.checkpoint.json", made)
    write(f"{BACKUPS}/{stack}/{stack}.{number}.json", made)


def lock(there: Side, stack: str, pid: int = 7, host: str = HOST) -> None:
    content = {
        "pid": pid,
        "username": "ann",
        "hostname": host,
        "timestamp": "2026-11-21T11:01:59.676269692Z",
    }
    there.objects.write(f"{LOCKS}/{stack}/{pid}.json", json.dumps(content).encode())


def state_of(there: Side) -> dict[str, bytes]:
    """Return every object but the locks."""
    names = [name for name in there.objects.names(".pulumi/") if "/locks/" not in name]
    return {name: there.objects.read(name) or b"" for name in names}
