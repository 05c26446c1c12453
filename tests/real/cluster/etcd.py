"""Debian's etcd, fetched without installing it: a package that is installed starts a service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guest.tools import apt, run

from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.staging import staged

_PACKAGE = "etcd-server"
_PROGRAM = Path("usr/bin/etcd")


def etcd_program() -> Path:
    """Return the program; skips the test where there is no apt to fetch it with."""
    home = cache_root(os.environ) / "control-plane"
    target = home / "etcd"
    if target.is_dir():
        return target / _PROGRAM
    if not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("a control plane needs Debian's etcd, and so Debian or Ubuntu with apt")
    with one_at_a_time(home / "etcd.lock", "fetching etcd"):
        if not target.is_dir():
            with staged(target) as partial:
                _fetch(partial)
    return target / _PROGRAM


def _fetch(folder: Path) -> None:
    if os.geteuid() == 0:
        apt("update")
    command = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", _PACKAGE]
    run(command, seconds=300, folder=folder)
    (package,) = folder.glob("*.deb")
    run(["dpkg-deb", "--extract", package, folder])
    package.unlink()
