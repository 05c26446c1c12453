"""The system programs that guests need, from Debian's own packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time

_PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
}
_APT_SECONDS = 600


def need() -> None:
    """Install what is missing; skips the test where this machine can't have guests."""
    if os.geteuid() != 0:
        pytest.skip("a guest needs root: run scripts/test --real as root")
    if not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("a guest needs Debian or Ubuntu with apt")
    missing = sorted({package for name, package in _PACKAGES.items() if not shutil.which(name)})
    if missing:
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *missing)


def apt(*words: str) -> None:
    """Run apt-get with `words`, asking nobody."""
    variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with one_at_a_time(cache_root(os.environ) / "apt.lock", "installing Debian's packages"):
        run(["apt-get", "--quiet", *words], seconds=_APT_SECONDS, environment=variables)


def run(
    command: Sequence[str | Path],
    *,
    seconds: float = 60,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Return what `command` wrote to stdout; an `AssertionError` with all it said if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        cwd=folder,
        check=False,
    )
    shown = " ".join(str(word) for word in command[:6])
    assert done.returncode == 0, f"{shown} came to {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
