"""A TCP proxy on 127.0.0.1 that cuts connections after so many bytes, either way."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class CuttingProxy:
    """Passes bytes to a port.

    `answers` and `requests` say after how many more bytes, counted over all connections, the one
    that carries the last of them is cut; then the next number counts. Without one nothing is cut.
    """

    def __init__(self, port: int) -> None:
        self.answers: list[int] = []
        self.requests: list[int] = []
        self.cuts = 0
        self.refusing = False
        self._port = port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Pass everything again, and count from 0."""
        self.answers, self.requests, self.cuts, self.refusing = [], [], 0, False

    def go_away(self) -> None:
        """Cut every connection and take none."""
        self.refusing = True
        while self._open:
            _end(self._open.pop())

    def close(self) -> None:
        self.go_away()
        _end(self._listening)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self.refusing:
                _end(near)
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(end)
            for ends in ((near, far), (far, near)):
                threading.Thread(
                    target=self._pass, args=(*ends, ends[0] is near), daemon=True
                ).start()

    def _pass(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                allowed = self._allowed(self.requests if asking else self.answers, len(data))
                target.sendall(data[:allowed])
                if allowed < len(data):
                    break
        _end(source)
        _end(target)

    def _allowed(self, budgets: list[int], count: int) -> int:
        with self._lock:
            if not budgets:
                return count
            if count <= budgets[0]:
                budgets[0] -= count
                return count
            self.cuts += 1
            return budgets.pop(0)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
