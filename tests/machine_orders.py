"""Orders that the stand-in for the gcp plugin gives for machines, passed on to a test.

Run as a program, `python machine_orders.py SOCKET ACTION` with the instance as JSON on stdin, it
sends one order and prints the answer.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Obey = Callable[[str, Mapping[str, object]], str]


class Orders:
    """Takes orders at the socket `path`; `obey` carries one out and returns what it says.

    Its actions are those of `emulator.gcp.cloud`; what it raises fails the order.
    """

    def __init__(self, path: Path, obey: Obey) -> None:
        self._path = path
        self._server = socketserver.ThreadingUnixStreamServer(str(path), _handler(obey))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def program(self) -> list[str]:
        """The program that the plugin runs machines by."""
        return [sys.executable, str(Path(__file__).resolve()), str(self._path)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(obey: Obey) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            order = json.loads(self.rfile.read())
            try:
                said, failed = obey(order["action"], order["instance"]), False
            except Exception as error:
                said, failed = repr(error), True
            # Who gave the order may have been killed.
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(json.dumps({"said": said, "failed": failed}).encode())

    return Handler


def main(path: str, action: str) -> int:
    """Send one order; return 0 where it was carried out."""
    order = {"action": action, "instance": json.load(sys.stdin)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(json.dumps(order).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.read())
    print(answer["said"], file=sys.stderr if answer["failed"] else sys.stdout)
    return int(answer["failed"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
