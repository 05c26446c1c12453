"""The guest's processes, as this machine sees and steers them."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import psutil

from guest.machine import Machine

_CURL_UNREACHED = (7, 28)
"""Exit statuses of curl: it could not connect, it waited too long."""


def long_running(machine: Machine) -> list[str]:
    """Return the services of ours that keep running, but for what they report by."""
    command = ("systemctl", "list-units", "--type=service", "--state=running", "--plain")
    listed = machine.good(*command, "--no-legend", "llm-endpoint-*").splitlines()
    return [line.split()[0] for line in listed]


def can_reach(machine: Machine, unit: str, address: str) -> bool:
    """Whether a process among those of the service `unit` gets an answer on `address`'s port 80."""
    group = machine.good("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
    assert group, f"{unit} does not run"
    return group_can_reach(machine, group, address)


def group_can_reach(machine: Machine, group: str, address: str) -> bool:
    """Whether a process in the control group `group` gets an answer on `address`'s port 80."""
    joined = 'echo $$ >"/sys/fs/cgroup$1/cgroup.procs" || exit 99'
    asked = 'exec curl --silent --max-time 3 --output /dev/null "http://$2/"'
    status = machine.run("sh", "-c", f"{joined}; {asked}", "sh", group, address).status
    assert status in (0, *_CURL_UNREACHED), f"curl came to {status}"
    return status == 0


def engine_of(machine: Machine, container: str | None = None) -> psutil.Process:
    """Return the process that serves the model; with a `container`, that one's."""
    if container is None:
        unit = "llm-endpoint-server-chat.service"
        pid = machine.good("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    else:
        pid = str(inspected(machine, container)["State"]["Pid"])
    for process in psutil.Process(machine.leader()).children(recursive=True):
        status = Path(f"/proc/{process.pid}/status").read_text()
        # A container has no pid 1 of its own in the middle: the guest's is the second number.
        ids = re.search(r"^NSpid:\s+\d+\s+(\d+)", status, re.MULTILINE)
        if ids is not None and ids[1] == pid:
            return process
    raise AssertionError(f"no process of the guest has the pid {pid} of the model's server")


def inspected(machine: Machine, container: str) -> dict[str, Any]:
    """Return what `docker inspect` says of a container."""
    (found,) = json.loads(machine.good("docker", "container", "inspect", container))
    return found


class Slowed:
    """Lets a process run for `seconds` and rest for `pause`, in turn, as a larger model answers.

    By default it runs for 2 % of the time.
    """

    def __init__(self, process: psutil.Process, seconds: float = 0.01, pause: float = 0.49) -> None:
        self._process = process
        self._seconds, self._pause = seconds, pause
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._slow, daemon=True)

    def _slow(self) -> None:
        while not self._ends.is_set():
            self._process.suspend()
            self._ends.wait(self._pause)
            self._process.resume()
            self._ends.wait(self._seconds)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._process.resume()
