"""The control plane's programs: built once from Go modules, some minutes on two cores.

The build may begin long before it is needed, in the background and with the lowest priority:
`start_building`; `built_control_plane` waits for it, or builds. What is there is whole, or is not
there: a build that was cut off is begun again, from the packages that it had compiled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway_caddy import go_program

from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time, run_with_progress
from scripts.bootstrap.staging import staged

CHECKOUT = Path(__file__).resolve().parents[3]
SOURCES = CHECKOUT / "tests/real/control_plane_build"
_PROGRAM = "control-plane"
_GATEWAY_API = "sigs.k8s.io/gateway-api"
_VERSION = "k8s.io/component-base/version"
# Without inlining and debug information the compiler has less to do.
_COMPILER = "all=-l -dwarf=false"
# Memory for time: the compiler's own garbage collector runs more rarely.
_COLLECTOR = {"GOGC": "400"}
_DOWNLOAD_SECONDS = 300


@dataclass(frozen=True)
class Built:
    """What `built_control_plane` leaves: one program, and the Gateway API's definitions."""

    folder: Path

    @property
    def program(self) -> Path:
        """Its first argument says which part of Kubernetes it is."""
        return self.folder / _PROGRAM

    @property
    def gateway_api(self) -> Path:
        """The folder of the standard channel's CustomResourceDefinitions."""
        return self.folder / "gateway-api"


def start_building() -> subprocess.Popen[bytes] | None:
    """Begin to build in the background, at the lowest priority; None where all is there.

    The process ends by itself, and may be terminated. What it says goes to `build.log` beside the
    built folder.
    """
    if _target().is_dir():
        return None
    _home().mkdir(parents=True, exist_ok=True)
    # A program of its own has no test runner to say where modules lie.
    places = os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "tests/real")))
    with (_home() / "build.log").open("wb") as log:
        return subprocess.Popen(
            ["nice", "-n", "19", sys.executable, "-m", "cluster.build"],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": places},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def built_control_plane() -> Built:
    """Return the built programs; waits for a build in progress, or builds.

    Raises `BootstrapError` where another build holds the lock for 30 min, or the build fails.
    """
    target = _target()
    if target.is_dir():
        return Built(target)
    with one_at_a_time(_home() / "lock", "building Kubernetes (some minutes)") as lock:
        if not target.is_dir():
            _build(target, lock)
    return Built(target)


def _home() -> Path:
    return cache_root(os.environ) / "control-plane"


def _target() -> Path:
    digest = hashlib.sha256(f"{_COMPILER} {_COLLECTOR}".encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        digest.update(f"\0{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return _home() / digest.hexdigest()[:12]


def _build(target: Path, lock: int) -> None:
    cache = cache_root(os.environ)
    compiled = _home() / "compiled"
    with one_at_a_time(cache / "gateway-tests" / "lock", "getting Go"):
        # It may install Go, which the gateway's tests do as well.
        go = go_program(SOURCES, cache)
    variables = {
        **{name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH")},
        **{"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
        **{"GOFLAGS": "-mod=readonly", "GOCACHE": str(compiled)},
        **_COLLECTOR,
    }
    with staged(target) as partial:
        _download_definitions(go, variables, partial / "gateway-api")
        command = [go, "build", "-v", "-buildvcs=false", f"-gcflags={_COMPILER}"]
        command += [f"-ldflags=-s -w {_stamps()}", "-o", str(partial / _PROGRAM), "."]
        run_with_progress(
            command,
            what="Building Kubernetes from Go modules",
            log=_home() / "go-build.log",
            environment=variables,
            folder=SOURCES,
            lock=lock,
            next_step="check that the Go module proxy is reached (GOPROXY applies)",
        )
    shutil.rmtree(compiled, ignore_errors=True)


def _stamps() -> str:
    """Return the linker's words that make the programs tell their version."""
    lines = (SOURCES / "go.mod").read_text(encoding="utf-8").splitlines()
    (version,) = (line.split()[1] for line in lines if line.startswith("\tk8s.io/kubernetes "))
    major, minor, _ = version.removeprefix("v").split(".")
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return " ".join(f"-X {_VERSION}.{name}={value}" for name, value in told.items())


def _download_definitions(go: str, variables: Mapping[str, str], into: Path) -> None:
    done = subprocess.run(
        [go, "mod", "download", "-json", _GATEWAY_API],
        cwd=SOURCES / "gateway_api",
        env=dict(variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=_DOWNLOAD_SECONDS,
    )
    standard = Path(json.loads(done.stdout)["Dir"]) / "config/crd/standard"
    into.mkdir()
    for path in standard.glob("gateway.networking.k8s.io_*.yaml"):
        # The module's own files are read-only.
        (into / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    # Terminated, it ends the compiler as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        print(built_control_plane().program)
