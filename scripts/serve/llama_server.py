"""Which llama.cpp server runs here: the wheel's, the one on PATH, or one built for this CPU."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.serve import llama_build
from scripts.serve.errors import ServeError
from scripts.serve.process import python_module

PACKAGE = llama_build.PACKAGE
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "native.txt"


def program(build: str, cache: Path, report: Callable[[str], None]) -> tuple[str, ...]:
    """Return the command that stands for `llama-server`.

    `build` is `wheel`, `path` or `native`; the last one is built at its first use. Raises
    `ServeError` where there is none.
    """
    if build == "wheel":
        return python_module("scripts.serve.wheel_server")
    if build == "path":
        found = shutil.which("llama-server")
        if found is None:
            raise ServeError(
                "llama_server is 'path', and there is no llama-server on PATH\n"
                "next: install llama.cpp, or scripts/pulumi config set llama_server wheel"
            )
        return (found,)
    return (str(_native(cache, report)),)


def package_version() -> str:
    """Return the pinned version of the package that `native` is built from, such as 11434.0.0."""
    return llama_build.package_version(REQUIREMENTS)


def _native(cache: Path, report: Callable[[str], None]) -> Path:
    """Return the built server; what another build at the same time has finished first is kept."""
    binary = cache / "llama-server" / _build_name() / "llama-server"
    if not binary.exists():
        jobs = os.cpu_count() or 1
        llama_build.build(llama_build.Build(binary, sys.executable, REQUIREMENTS, jobs), report)
    return binary


def _build_name() -> str:
    """Name what decides the build: the pinned package, the flags, and this CPU's features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line for line in lines if line.startswith("flags")), platform.processor())
    except OSError:
        cpu = platform.processor()
    parts = "\n".join([package_version(), *llama_build.BUILD_FLAGS, platform.machine(), cpu])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]
