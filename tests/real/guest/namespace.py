"""Two network namespaces joined by a cable: the machine's, and the internet beyond it.

The machine has an internal and an external address on one interface; all others are the
internet's. This machine's own network sees neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from guest.tools import run

METADATA = "169.254.169.254"
EXTERNAL = "203.0.113.10"
INTERNET = "198.51.100.1"
_INTERNAL, _ROUTER = "10.128.0.2", "10.128.0.1"
_CLONE_NEWNET = 0x40000000

Result = TypeVar("Result")


class Network:
    """The two namespaces, made at once and gone after `close`."""

    def __init__(self) -> None:
        self.machine, self.internet = (f"llm-{side}-{os.getpid()}" for side in ("vm", "net"))
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    @property
    def machine_path(self) -> Path:
        """The file that systemd-nspawn takes the machine's namespace from."""
        return Path("/run/netns") / self.machine

    def _make(self) -> None:
        run(["ip", "netns", "add", self.internet])
        for address in (METADATA, INTERNET):
            self._ip(self.internet, f"address add {address}/32 dev lo")
        self._ip(self.internet, "link set lo up")
        self.plug_in()

    def plug_in(self) -> None:
        """Give the machine a network without what an earlier boot did to its own."""
        if self.machine_path.exists():
            # With the cable goes its other end, at once.
            self._ip(self.machine, "link delete ens4")
            run(["ip", "netns", "delete", self.machine])
        run(["ip", "netns", "add", self.machine])
        cable = f"{self.machine} type veth peer name net0 netns {self.internet}".split()
        run(["ip", "link", "add", "ens4", "netns", *cable])
        self._ip(self.internet, f"address add {_ROUTER}/24 dev net0")
        self._ip(self.internet, "link set net0 up")
        self._ip(self.machine, "link set lo up")
        self._ip(self.machine, f"address add {_INTERNAL}/24 dev ens4")
        self._ip(self.machine, f"address add {EXTERNAL}/32 dev ens4")
        self._ip(self.machine, "link set ens4 up")
        self._ip(self.machine, f"route add default via {_ROUTER}")
        self._ip(self.internet, f"route add {EXTERNAL}/32 via {_INTERNAL}")

    def _ip(self, namespace: str, words: str) -> None:
        run(["ip", "-n", namespace, *words.split()])

    def close(self) -> None:
        for name in (self.machine, self.internet):
            with contextlib.suppress(AssertionError):
                run(["ip", "netns", "delete", name])

    def command(self, *words: str) -> list[str]:
        """Return `words` as a command that runs on the internet, where the deployer sits."""
        return ["nsenter", f"--net=/run/netns/{self.internet}", "--", *words]

    def listen(self, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
        """Return a socket at `address` of the internet, which any thread may use."""

        def bound() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if kind == socket.SOCK_STREAM:
                made.listen(128)
            return made

        return self.on_internet(bound)

    def on_internet(self, function: Callable[[], Result]) -> Result:
        """Call `function` in a thread that is on the internet, and return what it returns.

        Threads that it starts are there too.
        """
        results: list[Result] = []
        errors: list[BaseException] = []

        def entered() -> None:
            try:
                _enter(Path("/run/netns") / self.internet)
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=entered)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def _enter(namespace: Path) -> None:
    """Move the calling thread, and it alone, into `namespace` (setns(2))."""
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")
    finally:
        os.close(descriptor)
