"""Everything around a machine: its network, the internet's sites, Google Cloud, a hub."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from fake_hub import FakeHub

from guest import hub, registries, rootfs, tools
from guest.disk import Disk
from guest.google import Google
from guest.internet import Internet, Site
from guest.machine import Machine
from guest.namespace import EXTERNAL, Network
from scripts.bootstrap.places import this_checkout

URL = f"https://{EXTERNAL}"
_VERIFY_SECONDS = 400


class Cloud:
    """A cloud and an internet for machines that are made here, one at a time.

    `locks` are the hashed locks whose packages PyPI has; `go_module` is the folder of the Go
    module that the Go proxy has all of; `more` are further sites, by their hosts. All that is kept
    between tests is what registries sent, and what `Machine`s put on their disks, if a test says
    so.
    """

    def __init__(
        self, locks: Sequence[Path], go_module: Path, more: Mapping[str, Site] | None = None
    ) -> None:
        tools.need()
        wheels = registries.python_packages(locks)
        pypi = registries.pypi(wheels)
        self.hub = FakeHub()
        self.google = Google()
        self.folder = rootfs.folder() / "runs" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.callback(self.hub.close)
        with contextlib.ExitStack() as undone:
            undone.push(self._stack)
            self.network = Network()
            self._stack.callback(self.network.close)
            sites = {
                "deb.debian.org": registries.debian(),
                "pypi.org": pypi,
                "files.pythonhosted.org": pypi,
                "proxy.golang.org": registries.go_proxy(registries.go_modules(go_module, wheels)),
                **hub.sites(self.hub),
                **self.google.sites,
                **(more or {}),
            }
            self.internet = Internet(self.network, sites, self.google.metadata, self.folder)
            self._stack.callback(self.internet.close)
            undone.pop_all()

    def close(self) -> None:
        """End all of it, the last made first."""
        self._stack.close()

    def machine(
        self,
        user_data: str,
        startup_script: str,
        disk_name: str | None,
        disk_content: Path | None = None,
    ) -> Machine:
        """Return a machine that is off, with a new disk of 8 GB under `disk_name`.

        The disk is empty, or was formatted by a machine that left `disk_content` on it.
        """
        self.google.attributes.update(
            {"user-data": user_data, "startup-script": startup_script, "enable-oslogin": "TRUE"}
        )
        name = uuid.uuid4().hex[:8]
        disk = None
        if disk_name is not None:
            disk = Disk(self.folder / f"{name}.disk", 8)
            self._stack.callback(disk.close)
            if disk_content is not None:
                disk.fill(disk_content)
        root = rootfs.copy(self.folder / f"{name}.root", self.internet.authority.certificate)
        console = self.folder / f"{name}.console"
        made = Machine(root, self.network, console, disk, disk_name or "")
        self._stack.callback(made.close)
        return made

    def deployer(
        self, *words: str, environment: Mapping[str, str], seconds: float = _VERIFY_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m` with `words` where the deployer sits, with `environment` beside PATH."""
        return subprocess.run(
            self.network.command(sys.executable, "-m", *words),
            cwd=this_checkout().root,
            env={"PATH": os.environ["PATH"], **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
