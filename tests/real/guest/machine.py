"""One virtual machine: a systemd guest that boots, is watched, talked to, and ends."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import psutil

from guest.disk import Disk
from guest.namespace import Network
from guest.tools import run

Seen = TypeVar("Seen")
_RECORD = "llm-endpoint: "
_NAME = "llm-endpoint-guest"
_REBOOT = 133
_REMOVAL_SECONDS = 300
_HALT_SECONDS = 60
_LOOK_SECONDS = 0.5
# A virtual machine's kernel would let its systemd filter packets of a unit (IPAddressDeny=).
_CAPABILITIES = "CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON"
# And its containers would each get a keyring of their own, which Docker insists on.
_SYSTEM_CALLS = "bpf @keyring"


@dataclass(frozen=True)
class Done:
    """What a command in the guest came to."""

    status: int
    output: str


class Machine:
    """A guest on the root file system `root`. `console` is the file that its console goes to.

    `disk` appears under the name that Google Cloud gives a disk called `disk_name`.
    """

    def __init__(
        self, root: Path, network: Network, console: Path, disk: Disk | None, disk_name: str
    ) -> None:
        self.root = root
        self.console = console
        self._network = network
        self._devices: list[str] = []
        if disk is not None:
            by_id = f"/dev/disk/by-id/google-{disk_name}"
            self._devices = [f"--bind={disk.device}", f"--bind={disk.device}:{by_id}"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Turn the machine on; returns at once."""
        assert self._process is None, "it is on"
        self._network.plug_in()
        command = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}"),
            *(f"--machine={_NAME}", "--hostname=guest"),
            *("--keep-unit", "--register=no", "--resolv-conf=off", "--timezone=off"),
            f"--network-namespace-path={self._network.machine_path}",
            *("--console=read-only", "--link-journal=no"),
            *(f"--capability={_CAPABILITIES}", f"--system-call-filter={_SYSTEM_CALLS}"),
            *self._devices,
        ]
        variables = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "SYSTEMD_COLORS": "0",
        }
        output: BinaryIO
        with self.console.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                start_new_session=True,
            )

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def reboot(self, seconds: float = 120) -> None:
        """Let the machine reboot itself; returns when it is up again, its services starting."""
        self.run("systemctl", "--no-block", "reboot")
        status = self.wait_for_end(seconds)
        assert status == _REBOOT, f"systemd-nspawn ended with {status}, not as for a reboot"
        self.start()

    def wait_for_end(self, seconds: float) -> int:
        """Return systemd-nspawn's exit status: 0 after a power-off, 133 for a reboot."""
        assert self._process is not None
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it was still on after {seconds} s\n{self.tail()}") from None
        self._process = None
        return status

    def cut_off(self) -> None:
        """Take the power away: everything in it ends at once."""
        assert self._process is not None
        for left in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        self._process.kill()
        self._process.wait(_HALT_SECONDS)
        self._process = None

    def close(self) -> None:
        """Turn it off, by its power button first, and remove its root file system."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_HALT_SECONDS)
            except subprocess.TimeoutExpired:
                self.cut_off()
        self._process = None
        # systemd-nspawn leaves its lock and what it hands new mounts over by.
        lock = self.root.with_name(f".#{self.root.name}.lck")
        run(
            ["rm", "-rf", self.root, lock, Path("/run/systemd/nspawn/propagate") / _NAME],
            seconds=_REMOVAL_SECONDS,
        )

    def leader(self) -> int | None:
        """Return the pid, on this machine, of the guest's pid 1; None while there is none."""
        if self._process is None:
            return None
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                status = Path(f"/proc/{child.pid}/status").read_text()
                ids = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if ids.split()[2:] == ["1"] and child.name() == "systemd":
                    return child.pid
        return None

    def run(
        self, *words: str, seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> Done:
        """Run a command in the guest as root; its output is stdout and stderr as they came."""
        leader = self.leader()
        assert leader is not None, f"the guest is not up\n{self.tail()}"
        enter = ["nsenter", f"--target={leader}", "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        done = subprocess.run(
            [*enter, "--", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "SYSTEMD_COLORS": "0",
                **(environment or {}),
            },
            check=False,
        )
        return Done(done.returncode, done.stdout)

    def good(self, *words: str, seconds: float = 60) -> str:
        """Return the output of a command in the guest that has to succeed."""
        done = self.run(*words, seconds=seconds)
        assert done.status == 0, f"{' '.join(words)} came to {done.status}:\n{done.output}"
        return done.output

    def records(self, since: int = 0) -> list[dict[str, object]]:
        """Return the stage records on the console after its first `since` characters."""
        found: list[dict[str, object]] = []
        for line in self.text()[since:].splitlines():
            _, mark, record = line.partition(_RECORD)
            if mark:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(record))
        return found

    def text(self) -> str:
        """Return the whole console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def wait_for_stage(
        self, stage: str, state: str, seconds: float, since: int = 0
    ) -> dict[str, object]:
        """Return the console's first record of `stage` in `state`; another's failure ends it."""

        def found() -> dict[str, object] | None:
            for record in self.records(since):
                if (record["stage"], record["state"]) == (stage, state):
                    return record
                assert record["state"] != "failed", f"it failed: {record}\n{self.tail()}"
            assert self.is_on, f"it went off\n{self.tail()}"
            return None

        return self.wait_for(found, seconds, f"the stage {stage} to be {state}")

    def wait_for(self, look: Callable[[], Seen | None], seconds: float, what: str) -> Seen:
        """Return what `look` first gives that is not None or false, or fail with the console."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if seen := look():
                return seen
            time.sleep(_LOOK_SECONDS)
        raise AssertionError(f"waited {seconds} s for {what}\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of the console and of the journal."""
        lines = self.text().splitlines()[-40:]
        journal = "the guest is off"
        if self.leader() is not None:
            command = ("journalctl", "--no-pager", "--lines=80", "--output=short-monotonic")
            journal = self.run(*command).output
        return "\n".join(["--- console", *lines, "--- journal", journal])
