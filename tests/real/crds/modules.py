"""Definitions that come with Go modules: fetched once, held to the modules' checksums.

`go mod download` asks the module proxy (GOPROXY applies), and compares what comes with the public
checksum database and, here, with what is written down. KServe's module is of 64 MB, 500 MB once
unpacked, of which two files are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.build import SOURCES
from gateway_caddy import go_program

from scripts.bootstrap.places import cache_root
from scripts.bootstrap.processes import one_at_a_time
from scripts.bootstrap.staging import staged

_SECONDS = 600


@dataclass(frozen=True)
class Module:
    """A Go module: `checksum` is that of `go.sum`, `files` are what is kept of it."""

    path: str
    version: str
    checksum: str
    files: tuple[str, ...]


KSERVE = Module(
    "github.com/kserve/kserve",
    "v0.20.0",
    "h1:Bs7HxmGV4KFqqptDcWseKv+mwD4YOYHJWcuVgPG2Gug=",
    (
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        "config/crd/full/serving.kserve.io_servingruntimes.yaml",
    ),
)
"""With its full schemas: those of `config/crd/minimal` say nothing of what is in a resource."""
OPERATOR_LIFECYCLE_MANAGER = Module(
    "github.com/operator-framework/api",
    "v0.27.0",
    "h1:OrVaGKZJvbZo58HTv2guz7aURkhVKYhFqZ/6VpifiXI=",
    ("crds/operators.coreos.com_subscriptions.yaml",),
)


class DefinitionsError(Exception):
    """Definitions that can't be had; the message says of which module, and what to do."""


def definitions(module: Module) -> list[Path]:
    """Return the files of `module`, fetched before. Raises `DefinitionsError`."""
    home = cache_root(os.environ) / "definitions"
    digest = hashlib.sha256(repr(module).encode()).hexdigest()[:8]
    target = home / f"{module.path.replace('/', '-')}-{module.version}-{digest}"
    with one_at_a_time(home / "lock", f"fetching {module.path}"):
        if not target.is_dir():
            with staged(target) as partial:
                _fetch(module, partial)
    return [target / Path(name).name for name in module.files]


def _fetch(module: Module, into: Path) -> None:
    cache = cache_root(os.environ)
    with TemporaryDirectory(dir=into.parent, prefix="modules-") as modules:
        variables = {
            **os.environ,
            **{"GOMODCACHE": modules, "GOFLAGS": "-modcacherw"},
            **{"GOTOOLCHAIN": "local", "GOWORK": "off"},
        }
        told = _downloaded(module, go_program(SOURCES, cache), variables, modules)
        if told.get("Sum") != module.checksum:
            raise DefinitionsError(
                f"{module.path}@{module.version} has the checksum {told.get('Sum')}, and "
                f"{module.checksum} is written down in {__file__}: somebody has changed one of them"
            )
        for name in module.files:
            (into / Path(name).name).write_bytes((Path(told["Dir"]) / name).read_bytes())


def _downloaded(
    module: Module, go: str, variables: Mapping[str, str], folder: str
) -> dict[str, str]:
    wanted = f"{module.path}@{module.version}"
    next_step = "check that the Go module proxy is reached (GOPROXY applies), and run it again"
    try:
        done = subprocess.run(
            [go, "mod", "download", "-json", wanted],
            # Outside of any module, whose requirements it would read first.
            cwd=folder,
            env=dict(variables),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DefinitionsError(f"{wanted} did not come in {_SECONDS} s: {next_step}") from None
    told: dict[str, str] = json.loads(done.stdout) if done.stdout else {}
    if done.returncode != 0:
        said = told.get("Error") or done.stderr.strip()[-500:]
        raise DefinitionsError(f"{wanted} can't be had: {said}: {next_step}")
    return told
