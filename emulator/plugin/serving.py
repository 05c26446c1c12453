"""A plugin's process: its port, its signals, its end."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

import grpc
from pulumi.runtime.proto.provider_pb2_grpc import (
    ResourceProviderServicer,
    add_ResourceProviderServicer_to_server,
)

from .engine import Engine

_MESSAGE_BYTES = 400 * 1024 * 1024
"""The largest message that the engine sends or takes."""

_CALLS = 1000
"""Calls at once: more than the engine makes, as each running command takes one and `Cancel` must
still get through."""


def serve(
    arguments: Sequence[str],
    package: str,
    provider: Callable[[str, Engine], ResourceProviderServicer],
    cancel: Callable[[], None],
) -> NoReturn:
    """Serves the engine whose address is the last of ARGUMENTS until it is lost, or a signal.

    PROVIDER gets the version of the plugin that the installed Python package PACKAGE asks for;
    CANCEL ends all that it runs.
    """
    # Logging flags of the engine come before the address; there may be no address (debugging).
    address = arguments[-1] if arguments and not arguments[-1].startswith("-") else None
    # An Event would not do: setting it in a handler hangs where the wait for it just begins.
    stop = SimpleQueue[int]()

    def stop_serving(signum: int, frame: FrameType | None) -> None:
        stop.put(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop_serving)
    try:
        version = published_version(package)
    except FileNotFoundError as missing:
        sys.exit(str(missing))
    engine = Engine(address)
    server = grpc.server(
        ThreadPoolExecutor(_CALLS),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
        ],
    )
    add_ResourceProviderServicer_to_server(provider(version, engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    if address:
        threading.Thread(target=_end_with, args=(engine, cancel), daemon=True).start()
    stop.get()
    _end(cancel)


def published_version(package: str) -> str:
    """The version of the plugin that the installed Python package PACKAGE asks for.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found else ():
        described = Path(folder) / "pulumi-plugin.json"
        if described.is_file():
            return str(json.loads(described.read_text(encoding="utf-8"))["version"])
    raise FileNotFoundError(
        f"{sys.executable} has no package {package} with a pulumi-plugin.json, which says what "
        f"version of the plugin to stand in for; install {package.replace('_', '-')} into it"
    )


def _end_with(engine: Engine, cancel: Callable[[], None]) -> NoReturn:
    """Ends the plugin, and all that it runs, when ENGINE is lost (killed, most likely)."""
    engine.wait_until_lost()
    if os.getpgrp() == os.getpid():
        # The engine starts a plugin as the leader of a group and ends the group with it. Nobody
        # is left to do so; a daemon that has detached has left the group.
        os.killpg(0, signal.SIGKILL)
    _end(cancel)


def _end(cancel: Callable[[], None]) -> NoReturn:
    cancel()
    # At once: a call that waits for a process's pipes would hold up an orderly end.
    os._exit(0)
