"""Pods as processes: a network namespace each, and for each container a root of its own.

A container sees its image's files, its mounts at their paths, and no other file of this machine;
its root is read-only, and it runs as its pod's user without any of root's powers.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
_STOP_SECONDS = 10.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_SYSTEM = ("/usr", "/etc/ssl", "/etc/ld.so.cache", "/etc/passwd", "/etc/group", "/etc/pip.conf")
_DEVICES = ("null", "zero", "random", "urandom")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Image:
    """What an image has beside the system's libraries: files of this machine, by where they are."""

    files: Mapping[str, Path]


@dataclass(frozen=True)
class Bind:
    """A folder of this machine at `path` of a container."""

    path: str
    folder: Path
    writable: bool


class Network:
    """A network namespace with nothing but a loopback interface, until `close`."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n", "no network namespace can be made here"

    @property
    def path(self) -> str:
        return f"/proc/{self._holder.pid}/ns/net"

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def inside(self, function: Callable[[], Result]) -> Result:
        """Call `function` in a thread that is in the namespace, and return what it returns.

        A socket that it makes stays there, whichever thread uses it.
        """
        results: list[Result] = []
        errors: list[BaseException] = []

        def entered() -> None:
            try:
                descriptor = os.open(self.path, os.O_RDONLY)
                try:
                    library = ctypes.CDLL(None, use_errno=True)
                    if library.setns(descriptor, _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns to {self.path}")
                finally:
                    os.close(descriptor)
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=entered)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def connect(self, port: int, seconds: float = 10.0) -> socket.socket:
        """Return a connection to `port` of the pod. Raises `OSError`."""
        return self.inside(lambda: socket.create_connection(("127.0.0.1", port), seconds))

    def listen(self, address: str, port: int) -> socket.socket:
        return self.inside(lambda: socket.create_server((address, port), backlog=64))


class Process:
    """A container that runs; its output goes to `log`.

    `names` are further lines of its /etc/hosts. With `outside` it is on this machine's own network.
    """

    def __init__(
        self,
        network: Network,
        image: Image,
        root: Path,
        command: Sequence[str],
        variables: Mapping[str, str],
        binds: Sequence[Bind],
        names: Mapping[str, str],
        user: int,
        log: Path,
        *,
        outside: bool,
    ) -> None:
        root.mkdir(parents=True)
        hosts = root.with_name(f"{root.name}.hosts")
        own = [f"{where} {name}" for name, where in names.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *own, ""]))
        resolver = Path("/etc/resolv.conf")
        files = {"/etc/hosts": hosts, **image.files}
        if outside and resolver.exists():
            # A copy: it may be mounted there itself, which can't be bound.
            copied = root.with_name(f"{root.name}.resolv")
            shutil.copyfile(resolver, copied)
            files[str(resolver)] = copied
        script = _script(root, files, binds, command, user)
        entered = [] if outside else ["nsenter", f"--net={network.path}", "--"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*entered, "unshare", "--mount", "--propagation=private", "sh", "-euc", script],
                env={"PATH": _PATH, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it as the kubelet does: told to, and after ten seconds by force."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


def _script(
    root: Path,
    files: Mapping[str, Path],
    binds: Sequence[Bind],
    command: Sequence[str],
    user: int,
) -> str:
    """Return the shell script that makes the root and becomes the container's program."""
    lines = [f"mount -t tmpfs -o mode=755 tmpfs {_quoted(root)}", f"cd {_quoted(root)}"]
    for name in _LINKS:
        place = Path("/") / name
        if place.is_symlink():
            lines.append(f"ln -s {_quoted(place.readlink())} {name}")
        elif place.is_dir():
            lines += _bind(f"/{name}", place, writable=False)
    for place in map(Path, _SYSTEM):
        if place.exists():
            lines += _bind(str(place), place, writable=False)
    for device in _DEVICES:
        lines += _bind(f"/dev/{device}", Path("/dev") / device, writable=True)
    lines += ["mkdir proc", "mount --rbind /proc proc"]
    for path, place in files.items():
        lines += _bind(path, place, writable=False)
    for bind in sorted(binds, key=lambda bind: bind.path):
        lines += _bind(bind.path, bind.folder, writable=bind.writable)
    lines += [
        "mount -o remount,bind,ro .",
        f"exec chroot . /usr/bin/setpriv --reuid={user} --regid={user} --clear-groups "
        f"--no-new-privs --inh-caps=-all --bounding-set=-all {shlex.join(command)}",
    ]
    return "\n".join(lines)


def _bind(path: str, place: Path, *, writable: bool) -> list[str]:
    inner = shlex.quote(f".{path}")
    made = (
        [f"mkdir -p {inner}"]
        if place.is_dir()
        else [f"mkdir -p {shlex.quote(str(Path(f'.{path}').parent))}", f"touch {inner}"]
    )
    lines = [*made, f"mount --bind {_quoted(place)} {inner}"]
    return lines if writable else [*lines, f"mount -o remount,bind,ro {inner}"]


def _quoted(path: str | Path) -> str:
    return shlex.quote(str(path))
