"""`python -m scripts.serve COMMAND`: what the local stack runs on this machine, also by hand.

Orders come in environment variables (`components.rendering.process.Variable`), results go to
stdout, progress and errors to stderr. Exit status 1: one message says why and what to do next.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from components.rendering.process import ProcessLaunch, Variable
from scripts.bootstrap.places import cache_root
from scripts.serve.errors import ServeError

if TYPE_CHECKING:
    from scripts.serve.process import ServerOrder


def _value(variable: Variable) -> str:
    try:
        return os.environ[variable]
    except KeyError:
        raise ServeError(f"{variable} is not set") from None


def _report(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _home() -> Path:
    return Path(_value(Variable.HOME))


def make_home() -> None:
    """Make the home; prints its path."""
    from scripts.serve import home, process

    if os.environ.get(Variable.PRINTED) == str(_home()):
        home.make(_home())
    else:
        process.claim(_home())
    print(_home())


def remove_home() -> None:
    """End what still runs for the home and remove it."""
    from scripts.serve import home, process

    if _home().exists():
        process.stop(_home(), "", _report)
        home.remove(_home())


def new_key() -> None:
    """Print a new API key."""
    print(f"sk-{secrets.token_urlsafe(32)}")


def pull() -> None:
    """Have the model's file on this machine; prints what it is as JSON."""
    from scripts.serve import pulled

    print(pulled.as_json(pulled.pull(_value(Variable.MODEL), _report)))


def _order(keys: tuple[str, ...], replaces: str) -> ServerOrder:
    from scripts.serve import llama_server, process, pulled

    launch = ProcessLaunch.from_json(_value(Variable.LAUNCH))
    port = _value(Variable.PORT)
    model = pulled.again(_value(Variable.MODEL_FILE), _report)
    build = _value(Variable.SERVER_BUILD)
    return process.ServerOrder(
        home=_home(),
        program=llama_server.program(build, cache_root(os.environ), _report),
        arguments=launch.arguments,
        environment=launch.environment,
        model=model.path,
        model_bytes=model.size_bytes,
        model_sha256=model.sha256,
        port=int(port) if port else None,
        keys=keys,
        replaces=replaces,
    )


def preflight() -> None:
    """Say whether the ordered server could be started; nothing that runs is touched."""
    from scripts.serve import process

    process.preflight(_order(keys=(), replaces=""))
    print("ready to start")


def start() -> None:
    """Make the ordered server run; prints its record as JSON."""
    from scripts.serve import process

    keys = tuple(json.loads(_value(Variable.KEYS)))
    order = _order(keys, replaces=_value(Variable.REPLACES))
    print(process.start(order, _report).as_json())


def stop() -> None:
    """End the server, known by its home and by what `start` printed."""
    from scripts.serve import process

    process.stop(_home(), os.environ.get(Variable.PRINTED, ""), _report)


COMMANDS: dict[str, Callable[[], None]] = {
    "home": make_home,
    "remove-home": remove_home,
    "new-key": new_key,
    "pull": pull,
    "preflight": preflight,
    "start": start,
    "stop": stop,
}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.serve", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = COMMANDS[parser.parse_args(arguments).command]
    try:
        command()
    except ServeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}\nnext: see that path's disk and permissions", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
