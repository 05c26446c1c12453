"""Connections passed on between network namespaces."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_PIECE_BYTES = 64 * 1024


class Relay:
    """Takes connections to `listening` on by `connect`, until `close`.

    A connection for which `connect` raises `OSError` is closed.
    """

    def __init__(self, listening: socket.socket, connect: Callable[[], socket.socket]) -> None:
        self._listening = listening
        self._connect = connect
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                other = self._connect()
            except OSError:
                return
            with other:
                pump(connection, other)


def pump(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes both ways until both sides have ended."""
    one.settimeout(None)
    other.settimeout(None)
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE_BYTES):
            target.sendall(data)
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            end.shutdown(how)
