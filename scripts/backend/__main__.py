"""`python -m scripts.backend VERB …`: what scripts/state does to the objects of backends.

    carry STACK SOURCE TARGET PID [PROVIDER]    copies the state, and leaves the source locked for
        PID, which is to encrypt the secrets by PROVIDER
    archive STACK SOURCE TARGET PID FOLDER [PROVIDER]    does so with FOLDER's URL, for a TARGET
        without files
    leave STACK SOURCE TARGET        marks the source: its copy is an old one now
    look STACK PLACE                 says what lies there
    locks STACK PLACE                says who holds it
    unlock STACK PLACE LOCK …        removes these locks, by the names of their objects

Places are backends' URLs. Prints one JSON object on stdout, {"problem", "next"} where it ends
with 1, and what it waits for on stderr. It is run by the Python that has the storage's clients.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from scripts.backend import held, layout
from scripts.backend.carrying import Mover, Side, carry, leave
from scripts.backend.objects import open_objects
from scripts.backend.place import parse
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.locks import lives, this_host

USAGE = "usage: python -m scripts.backend carry|archive|leave|look|locks|unlock STACK PLACE …"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do one thing, print what came of it, and return the exit status."""
    try:
        done = do(arguments, environ)
    except BootstrapError as error:
        print(json.dumps({"problem": error.problem, "next": error.next_step}))
        return 1
    if done is None:
        note(USAGE)
        return 2
    print(json.dumps(done))
    return 0


def do(arguments: Sequence[str], environ: Mapping[str, str]) -> Mapping[str, object] | None:
    """Do what the arguments say and return what was found; None where they say nothing known.

    Raises `BootstrapError`.
    """

    def side(url: str) -> Side:
        place = parse(url, environ)
        return Side(place, open_objects(place, environ, note))

    match arguments:
        case ["carry", stack, source, target, pid, *given] if pid.isdecimal():
            mover = Mover(int(pid), this_host(), lives)
            return asdict(carry(side(source), side(target), stack, mover, next(iter(given), None)))
        case ["archive", stack, source, target, pid, folder, *given] if pid.isdecimal():
            mover = Mover(int(pid), this_host(), lives)
            kept = Side(parse(target, environ), side(folder).objects)
            return asdict(carry(side(source), kept, stack, mover, next(iter(given), None)))
        case ["leave", stack, source, target]:
            leave(side(source), parse(target, environ), stack)
            return {}
        case ["unlock", stack, place, *names]:
            return {"removed": held.remove(side(place).objects, stack, names)}
        case ["look" | "locks" as verb, stack, place]:
            return look(side(place), stack, locks_alone=verb == "locks")
        case _:
            return None


def look(side: Side, stack: str, *, locks_alone: bool) -> dict[str, object]:
    """Return what a backend has of a stack: `locks`, and its `checkpoint` where it is there."""
    locks = [asdict(lock) for lock in held.locks(side.objects, stack)]
    if locks_alone:
        return {"locks": locks}
    files = layout.files(side.objects, stack)
    content = None if files.current is None else side.objects.read(files.current)
    checkpoint = (
        None
        if files.current is None or content is None
        else asdict(layout.read_checkpoint(files.current, content))
    )
    return {
        "locks": locks,
        "updates": files.updates,
        "checkpoint": checkpoint,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
