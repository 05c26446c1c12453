"""Packages that are run for real, apart from those that run the tests; once made, in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from machine.pod.packages import stamp_of
from scripts.bootstrap import virtual_environment
from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "real.txt"
_SECONDS = 1500


def python() -> Path:
    """Return the Python of a virtual environment with requirements/real.txt.

    That is Jupyter's server and OpenVINO. Made once, in a minute or two.
    """
    base = (
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    )
    digest = hashlib.sha256(f"{virtual_environment.fingerprint(base)}\0".encode())
    digest.update(LOCK.read_bytes())
    home = cache_root(os.environ) / "real-packages"
    # Not staged: a virtual environment's programs name its folder.
    folder = home / digest.hexdigest()[:12]
    whole = folder / "whole"
    with one_at_a_time(home / "lock", "installing requirements/real.txt (a minute or two)"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([str(base), "-I", "-m", "venv", str(folder)])
            install = virtual_environment.pip_install(folder / "bin" / "python")
            _run([*install, "--no-deps", "--requirement", str(LOCK)])
            whole.touch()
    return folder / "bin" / "python"


def _run(command: list[str]) -> None:
    variables = virtual_environment.pip_environment(os.environ)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def as_in_pods(lock: Path) -> Path:
    """Return a folder with the packages of `lock` as the pods' own program installs them.

    Made once for each lock, by the Python that runs the tests.
    """
    home = cache_root(os.environ) / "pod-packages"
    folder = home / stamp_of(lock.read_bytes())[:16]
    with one_at_a_time(home / "lock", f"installing {lock.name} (a minute)"):
        # It leaves alone what is whole.
        command = [sys.executable, "-m", "machine.pod.packages"]
        _run([*command, "--lock", str(lock), "--into", str(folder)])
    return folder
